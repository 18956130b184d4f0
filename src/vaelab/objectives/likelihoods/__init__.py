"""Likelihoods p(x|z) with independent pixels, parameterised by the decoder's output: one module each."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Generator, Tensor, nn

from vaelab.config.registry import Registry


class Likelihood(nn.Module, ABC):
    """Base class: a distribution of pixel values with P parameters per pixel.

    The parameters are the decoder's output, (B, P·C, H, W). Its own trainable parameters, if any, are trained
    with the model's. New ones are registered in `likelihoods`.

    >>> import torch
    >>> logits, x = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    >>> likelihoods.build("bernoulli").log_prob(logits, x)  # 4 ln ½
    tensor([-2.7726])
    """

    parameters_per_pixel: int = 1
    """P. If above 1, all channels of the first parameter come first: `parameters.chunk(P, dim=1)`."""

    is_density: bool = False
    """Whether log_prob is a log-density of continuous values, possibly positive, not a log-probability."""

    @abstractmethod
    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log p(x|z) of images (B, C, H, W), summed over pixels and channels: (B,), in nats."""

    def log_mass(self, parameters: Tensor, x: Tensor) -> Tensor | None:
        """log P(8-bit values of x | z), shape (B,), in nats; None if the likelihood does not define it.

        Under a density, it is the log-probability of the bins of the values. The bin of grey value k / 255
        reaches half a step to either side, and the first and last bins extend to the ends of the
        distribution, so that the 256 probabilities add up to 1.
        """
        return None

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """The expected image E[x|z], shape (B, C, H, W), in [0, 1]: what figures show."""

    @abstractmethod
    def sample(self, parameters: Tensor, noise: Generator) -> Tensor:
        """One draw from p(x|z) per row of `parameters`, shape (B, C, H, W)."""


likelihoods: Registry[Callable[..., Likelihood]] = Registry("loss.likelihood", __name__, "vaelab.likelihoods")

HALF_STEP = 0.5 / 255
"""Half the width of the bin of an 8-bit grey value."""
