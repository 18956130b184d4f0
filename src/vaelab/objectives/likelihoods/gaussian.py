"""Gaussian with one learned variance for all pixels (Rybkin et al. 2021)."""

import math

import torch
from torch import Generator, Tensor, nn

from vaelab.objectives.likelihoods import HALF_STEP, Likelihood, likelihoods


@likelihoods.register("gaussian")
class GaussianPixels(Likelihood):
    """N(x; sigmoid(decoder's output), σ²), with one learned σ for all pixels.

    A density: −log p(x|z) can be negative where σ is small.
    """

    is_density = True

    LOG_VARIANCE_RANGE = (-12.0, 4.0)
    """σ from 0.25 % of the grey range upwards: constant images would otherwise drive it to 0."""

    def __init__(self) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.tensor(-2.0))  # about the variance of all pixels of the data

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        log_variance = self.log_variance.clamp(*self.LOG_VARIANCE_RANGE)
        error = (x - self.mean(parameters)).square().flatten(1).sum(dim=1)
        pixels = x[0].numel()
        return -0.5 * (error * (-log_variance).exp() + pixels * (log_variance + math.log(2 * math.pi)))

    def log_mass(self, parameters: Tensor, x: Tensor) -> Tensor:
        sigma, mean = self.sigma(), self.mean(parameters)
        upper = torch.where(x > 1 - HALF_STEP, torch.inf, (x + HALF_STEP - mean) / sigma)
        lower = torch.where(x < HALF_STEP, -torch.inf, (x - HALF_STEP - mean) / sigma)
        # Computed, by symmetry, in the lower tail, where log Φ is accurate.
        mirrored = upper + lower > 0
        upper, lower = torch.where(mirrored, -lower, upper), torch.where(mirrored, -upper, lower)
        log_upper, log_lower = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
        return (log_upper + (-torch.expm1(log_lower - log_upper)).log()).flatten(1).sum(dim=1)

    def sigma(self) -> Tensor:
        """The standard deviation of every pixel, shape (), in units of the grey range [0, 1]."""
        return (0.5 * self.log_variance.clamp(*self.LOG_VARIANCE_RANGE)).exp()

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.sigmoid()

    def sample(self, parameters: Tensor, noise: Generator) -> Tensor:
        eps = torch.randn(parameters.shape, generator=noise, device=parameters.device)
        return self.mean(parameters) + self.sigma() * eps
