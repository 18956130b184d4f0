"""The fully connected VAE of Kingma & Welling (2014): 784-400-L-400-784 by default."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from vaelab.models import VAE, ImageShape, models

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


@models.register("mlp")
class MLP(VAE):
    """Hidden layers of the given sizes on the way in, the same in reverse on the way out."""

    def __init__(
        self,
        image_shape: ImageShape,
        parameters_per_pixel: int = 1,
        latent_dim: int = 2,
        hidden: Sequence[int] = (400,),
        activation: str = "relu",
    ) -> None:
        channels, height, width = image_shape
        output_shape = (parameters_per_pixel * channels, height, width)
        sizes_in = [math.prod(image_shape), *hidden, 2 * latent_dim]
        sizes_out = [latent_dim, *reversed(hidden), math.prod(output_shape)]
        encoder = nn.Sequential(nn.Flatten(), *layers(sizes_in, activation))
        decoder = nn.Sequential(*layers(sizes_out, activation), nn.Unflatten(1, output_shape))
        super().__init__(image_shape, latent_dim, encoder, decoder)


def layers(sizes: Sequence[int], activation: str) -> list[nn.Module]:
    """Linear layers from each size to the next, the activation between them."""
    linear = [nn.Linear(before, after) for before, after in pairwise(sizes)]
    between = [[layer, ACTIVATIONS[activation]()] for layer in linear[:-1]]
    return [*(module for pair in between for module in pair), linear[-1]]
