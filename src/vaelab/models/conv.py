"""The convolutional VAE: stride-2 convolutions with batch norm, mirrored by transposed convolutions."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vaelab.models import VAE, ImageShape, models


class ToPixels(nn.ConvTranspose2d):
    """A transposed convolution with kernel 4, stride 2 and padding 1, for few output channels.

    It is computed as a matrix product whose 4 × 4 patches are summed where they overlap: on a CPU, this takes
    two thirds of the time of PyTorch's own transposed convolution to one channel.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, kernel_size=4, stride=2, padding=1)

    def forward(self, x_BCHW: Tensor, output_size: list[int] | None = None) -> Tensor:
        height, width = x_BCHW.shape[-2:]
        patches_BPN = self.weight.flatten(1).T @ x_BCHW.flatten(2)  # P numbers of a patch, N places
        sums_BCHW = F.fold(patches_BPN, (2 * height, 2 * width), kernel_size=4, stride=2, padding=1)
        return sums_BCHW if self.bias is None else sums_BCHW + self.bias[:, None, None]


def deepest_shape(image_shape: ImageShape, channels: Sequence[int]) -> ImageShape:
    """(C, H, W) after a halving of height and width for each of `channels`."""
    _, height, width = image_shape
    halvings = 2 ** len(channels)
    return channels[-1], height // halvings, width // halvings


@models.register("conv")
class Conv(VAE):
    """Stride-2 convolutions with the given numbers of channels, then a linear layer to mean and log-variance.

    `kernel` is the encoder's. The decoder's is 4, a multiple of its stride of 2, so that every pixel is the
    sum of equally many terms and no checkerboard pattern appears (Odena et al. 2016).

    If class-conditional, the image has one further channel per class, constant 1 or 0, and the one-hot label
    is appended to z.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        parameters_per_pixel: int = 1,
        latent_dim: int = 2,
        channels: Sequence[int] = (32, 64),
        kernel: int = 3,
        classes: Sequence[int] = (),
    ) -> None:
        image_channels, deepest = image_shape[0], deepest_shape(image_shape, channels)
        features = math.prod(deepest)
        # With this padding, stride 2 halves an even size exactly, whatever the kernel, or doubles it.
        halving: dict[str, Any] = {"kernel_size": kernel, "stride": 2, "padding": (kernel - 1) // 2}
        doubling: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}

        encoder: list[nn.Module] = []
        for before, after in pairwise([image_channels + len(classes), *channels]):
            encoder += [nn.Conv2d(before, after, **halving), nn.BatchNorm2d(after), nn.ReLU()]
        encoder += [nn.Flatten(), nn.Linear(features, 2 * latent_dim)]

        decoder: list[nn.Module] = [nn.Linear(latent_dim + len(classes), features), nn.Unflatten(1, deepest)]
        for before, after in pairwise(channels[::-1]):
            decoder += [nn.ConvTranspose2d(before, after, **doubling), nn.BatchNorm2d(after), nn.ReLU()]
        decoder.append(ToPixels(channels[0], parameters_per_pixel * image_channels))
        super().__init__(image_shape, latent_dim, nn.Sequential(*encoder), nn.Sequential(*decoder), classes)
