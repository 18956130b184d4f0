"""p(x|z) of the pixels, independent given z, from the decoder's numbers: one module each."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Generator, Tensor, nn

from vaelab.config.registry import Registry


class Likelihood(nn.Module, ABC):
    """A distribution of grey values from P numbers per pixel, which the decoder gives as (B, P·C, H, W)."""

    parameters_per_pixel: int = 1
    """P. Above 1, the channels of the first parameter come first: `parameters.chunk(P, dim=1)`."""

    is_density: bool = False
    """Whether log_prob is the density of continuous grey values, which can be above 0, not a probability."""

    @abstractmethod
    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log p(x|z) summed over pixels, shape (B,), in nats, for images (B, C, H, W)."""

    def log_mass(self, parameters: Tensor, x: Tensor) -> Tensor | None:
        """log P(8-bit values of x | z), shape (B,), in nats: what a density gives to their bins; or None.

        The bin of grey value k / 255 reaches half a step to both sides, and the first and the last one to
        the end of the distribution: the 256 masses add up to 1.
        """
        return None

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """E[x|z], the image to look at, shape (B, C, H, W), in [0, 1]."""

    @abstractmethod
    def sample(self, parameters: Tensor, noise: Generator) -> Tensor:
        """One draw of x per row, shape (B, C, H, W)."""


likelihoods: Registry[Callable[..., Likelihood]] = Registry("loss.likelihood", __name__, "vaelab.likelihoods")

HALF_STEP = 0.5 / 255
"""From an 8-bit grey value to the end of its bin."""
