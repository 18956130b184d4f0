"""The residual convolutional VAE: residual blocks with group norm between strided convolutions."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from vaelab.models import VAE, ImageShape, models
from vaelab.models.conv import ToPixels, deepest_shape


class ResidualBlock(nn.Module):
    """x + f(x), where f is two convolutions, each after a norm and an activation (He et al. 2016, ECCV)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        halves = [[*normed(channels), nn.Conv2d(channels, channels, 3, padding=1)] for _ in range(2)]
        self.body = nn.Sequential(*halves[0], *halves[1])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.body(x_BCHW)


def normed(channels: int) -> list[nn.Module]:
    """Group norm (Wu & He 2018), which is the same in training and evaluation, followed by SiLU.

    There are eight groups if the channels divide evenly into eight of two or more, else one.
    """
    groups = 8 if channels >= 16 and channels % 8 == 0 else 1
    return [nn.GroupNorm(groups, channels), nn.SiLU()]


@models.register("resnet")
class ResNet(VAE):
    """Stride-2 convolutions with the given numbers of channels, then residual blocks, then a linear layer.

    The decoder mirrors the encoder. All residual blocks are at the lowest resolution: at twice its height and
    width they would take twice the time.

    If class-conditional, the image has one further channel per class, constant 1 or 0, and the one-hot label
    is appended to z.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        parameters_per_pixel: int = 1,
        latent_dim: int = 2,
        channels: Sequence[int] = (32, 64),
        blocks: int = 1,
        classes: Sequence[int] = (),
    ) -> None:
        image_channels, deepest = image_shape[0], deepest_shape(image_shape, channels)
        features, last = math.prod(deepest), channels[-1]

        encoder: list[nn.Module] = [
            nn.Conv2d(image_channels + len(classes), channels[0], 3, stride=2, padding=1)
        ]
        for before, after in pairwise(channels):
            encoder += [*normed(before), nn.Conv2d(before, after, 3, stride=2, padding=1)]
        encoder += [*residual_blocks(blocks, last), nn.Flatten(), nn.Linear(features, 2 * latent_dim)]

        decoder: list[nn.Module] = [nn.Linear(latent_dim + len(classes), features), nn.Unflatten(1, deepest)]
        decoder += residual_blocks(blocks, last)
        for before, after in pairwise(channels[::-1]):
            decoder += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), *normed(after)]
        decoder.append(ToPixels(channels[0], parameters_per_pixel * image_channels))
        super().__init__(image_shape, latent_dim, nn.Sequential(*encoder), nn.Sequential(*decoder), classes)


def residual_blocks(blocks: int, channels: int) -> list[nn.Module]:
    """That many residual blocks, followed by the norm and activation that the sum of the last one needs."""
    return [*(ResidualBlock(channels) for _ in range(blocks)), *normed(channels)]
