"""The convolutional VAE: stride-2 convolutions with batch norm, mirrored by transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from vaelab.config import ConfigError, check_count, check_counts, show
from vaelab.models.vae import VAE, ImageShape

# Kernel 4 with stride 2 halves an even size exactly and doubles it back exactly, and since 2 divides 4,
# every pixel of a transposed convolution gets the same number of terms: no checkerboard (Odena et al. 2016).
HALVING: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}


class Conv(VAE):
    """Stride-2 convolutions to the given channels, then a linear layer to means and log-variances."""

    def __init__(
        self, image_shape: ImageShape, latent_dim: int = 2, channels: Sequence[int] = (32, 64)
    ) -> None:
        check_count("model.latent_dim", latent_dim)
        check_counts("model.channels", channels, "[32,64]")
        image_channels, height, width = image_shape
        halvings = 2 ** len(channels)
        if height % halvings or width % halvings:
            raise ConfigError(
                f"model.channels={show(channels)} halves images of {height}x{width} pixels {len(channels)} "
                "times, which doesn't come out even: type fewer channels, such as [32,64]."
            )
        deepest = (channels[-1], height // halvings, width // halvings)
        features = deepest[0] * deepest[1] * deepest[2]
        inwards = [image_channels, *channels]
        outwards = inwards[::-1]

        encoder: list[nn.Module] = []
        for before, after in pairwise(inwards):
            encoder += [nn.Conv2d(before, after, **HALVING), nn.BatchNorm2d(after), nn.ReLU()]
        encoder += [nn.Flatten(), nn.Linear(features, 2 * latent_dim)]

        decoder: list[nn.Module] = [nn.Linear(latent_dim, features), nn.Unflatten(1, deepest)]
        for before, after in pairwise(outwards):
            decoder += [nn.ConvTranspose2d(before, after, **HALVING), nn.BatchNorm2d(after), nn.ReLU()]
        del decoder[-2:]  # the last layer gives logits
        super().__init__(image_shape, latent_dim, nn.Sequential(*encoder), nn.Sequential(*decoder))
