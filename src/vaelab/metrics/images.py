"""Statistics of images with values in [0, 1], grey or in colour: of sets of images, and of pairs.

Shapes: N images, C channels, H height, W width.
"""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from vaelab.metrics.resampling import Score

PAIRED = 2000
"""Number of images whose pairwise distances are averaged: they make two million pairs."""

WINDOW, SIGMA = 11, 1.5
"""Size and standard deviation, in pixels, of the Gaussian window of SSIM (Wang et al. 2004)."""


def sharpness(x_NCHW: Tensor) -> Tensor:
    """Variance of the Laplacian of each image (Pech-Pacheco et al. 2000), shape (N,), in squared grey values.

    Border pixels are replicated. Noise is sharp too: higher is not always better.

    >>> sharpness(torch.full((1, 1, 4, 4), 0.5))
    tensor([0.])
    """
    x = F.pad(x_NCHW, (1, 1, 1, 1), mode="replicate")
    vertical = x[..., :-2, 1:-1] + x[..., 2:, 1:-1]
    horizontal = x[..., 1:-1, :-2] + x[..., 1:-1, 2:]
    return (vertical + horizontal - 4 * x_NCHW).flatten(1).var(dim=1, correction=0)


def diversity(x_NCHW: Tensor) -> Score:
    """Mean Euclidean distance between pairs of the first 2,000 images, in grey values.

    The standard error is that of a U-statistic. It takes at least two images.

    >>> diversity(torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])).value
    2.0
    """
    pixels = x_NCHW[:PAIRED].flatten(1)
    count = len(pixels)
    distance_NN = torch.cdist(pixels, pixels).fill_diagonal_(0).double()
    means_N = distance_NN.sum(dim=1) / (count - 1)
    error = 2 * means_N.std().item() / sqrt(count) if count > 2 else 0.0
    return Score(means_N.mean().item(), error)


def psnr(x_NCHW: Tensor, y_NCHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair, −10 log10 of the mean squared error, shape (N,), in dB.

    Infinite for equal images.

    >>> round(psnr(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.5)).item(), 2)  # 20 log10 2
    6.02
    """
    return -10 * (x_NCHW - y_NCHW).square().flatten(1).mean(dim=1).log10()


def ssim(x_NCHW: Tensor, y_NCHW: Tensor) -> Tensor:
    """Structural similarity of each pair (Wang et al. 2004), −1 to 1, shape (N,).

    Averaged over the positions where the 11 × 11 window lies inside the image, which must therefore have at
    least 11 × 11 pixels: with padding, the window would extend beyond a 28 × 28 image at 59 % of the
    positions.

    >>> round(ssim(torch.eye(28).view(1, 1, 28, 28), torch.eye(28).view(1, 1, 28, 28)).item(), 6)
    1.0
    """
    x, y = x_NCHW, y_NCHW
    rows, columns = (windows(size, x.device) for size in x.shape[2:])

    def local(image: Tensor) -> Tensor:
        return rows.T @ image @ columns

    mean_x, mean_y = local(x), local(y)
    variance_x, variance_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2  # the paper's constants for a range of 1
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).flatten(1).mean(dim=1)


def windows(size: int, device: torch.device) -> Tensor:
    """The Gaussian windows of SSIM at all positions in `size` pixels, as columns: (size, positions)."""
    offset = torch.arange(WINDOW, device=device) - WINDOW // 2
    window = (-0.5 * (offset / SIGMA).square()).exp()
    position = torch.arange(size - WINDOW + 1, device=device)
    table = torch.zeros(size, len(position), device=device)
    for place, weight in enumerate(window / window.sum()):
        table[position + place, position] = weight
    return table
