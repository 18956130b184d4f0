"""The fully connected VAE, 784-400-L-400-784 by default: one hidden layer, as in Kingma & Welling (2014)."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaelab.models import VAE, ImageShape, models

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "gated": lambda: nn.GLU(dim=1),
}  # fmt: skip


@models.register("mlp")
class MLP(VAE):
    """Fully connected layers of the given hidden sizes in the encoder, in reverse order in the decoder.

    If class-conditional, the one-hot label is appended to the pixels and to z.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        parameters_per_pixel: int = 1,
        latent_dim: int = 2,
        hidden: Sequence[int] = (400,),
        activation: str = "relu",
        classes: Sequence[int] = (),
    ) -> None:
        channels, height, width = image_shape
        output_shape = (parameters_per_pixel * channels, height, width)
        sizes_in = [math.prod(image_shape) + len(classes), *hidden, 2 * latent_dim]
        sizes_out = [latent_dim + len(classes), *reversed(hidden), math.prod(output_shape)]
        encoder = nn.Sequential(nn.Flatten(), *layers(sizes_in, activation))
        decoder = nn.Sequential(*layers(sizes_out, activation), nn.Unflatten(1, output_shape))
        super().__init__(image_shape, latent_dim, encoder, decoder, classes)

    def with_labels(self, x_BCHW: Tensor, one_hot_BY: Tensor) -> Tensor:
        return torch.cat([x_BCHW.flatten(1), one_hot_BY], dim=1)


def layers(sizes: Sequence[int], activation: str) -> list[nn.Module]:
    """Linear layers from each size to the next, with the activation between them.

    With the "gated" activation, a layer has twice as many outputs, h and g, and passes on h · σ(g) (Dauphin
    et al. 2017).
    """
    outputs = 2 if activation == "gated" else 1
    found: list[nn.Module] = []
    for before, after in pairwise(sizes[:-1]):
        found += [nn.Linear(before, outputs * after), ACTIVATIONS[activation]()]
    return [*found, nn.Linear(sizes[-2], sizes[-1])]
