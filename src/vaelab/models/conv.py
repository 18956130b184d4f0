"""The convolutional VAE: stride-2 convolutions with batch norm, mirrored by transposed convolutions."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from vaelab.models import VAE, ImageShape, models


@models.register("conv")
class Conv(VAE):
    """Stride-2 convolutions to the given channels, then a linear layer to means and log-variances.

    `kernel` is the encoder's. The decoder's is 4: 2, its stride, divides it, so that every pixel gets the
    same number of terms and no checkerboard appears (Odena et al. 2016).
    """

    def __init__(
        self,
        image_shape: ImageShape,
        parameters_per_pixel: int = 1,
        latent_dim: int = 2,
        channels: Sequence[int] = (32, 64),
        kernel: int = 3,
    ) -> None:
        image_channels, height, width = image_shape
        halvings = 2 ** len(channels)
        deepest = (channels[-1], height // halvings, width // halvings)
        features = math.prod(deepest)
        # With this padding, stride 2 halves an even size exactly, whatever the kernel, or doubles it.
        halving: dict[str, Any] = {"kernel_size": kernel, "stride": 2, "padding": (kernel - 1) // 2}
        doubling: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}

        encoder: list[nn.Module] = []
        for before, after in pairwise([image_channels, *channels]):
            encoder += [nn.Conv2d(before, after, **halving), nn.BatchNorm2d(after), nn.ReLU()]
        encoder += [nn.Flatten(), nn.Linear(features, 2 * latent_dim)]

        decoder: list[nn.Module] = [nn.Linear(latent_dim, features), nn.Unflatten(1, deepest)]
        for before, after in pairwise([*channels[::-1], parameters_per_pixel * image_channels]):
            decoder += [nn.ConvTranspose2d(before, after, **doubling), nn.BatchNorm2d(after), nn.ReLU()]
        del decoder[-2:]  # the last layer gives the likelihood's parameters
        super().__init__(image_shape, latent_dim, nn.Sequential(*encoder), nn.Sequential(*decoder))
