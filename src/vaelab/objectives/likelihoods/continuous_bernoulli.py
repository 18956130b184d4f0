"""Continuous Bernoulli: a density on [0, 1] (Loaiza-Ganem & Cunningham 2019)."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from vaelab.objectives.likelihoods import HALF_STEP, Likelihood, likelihoods


@likelihoods.register("continuous_bernoulli")
class ContinuousBernoulli(Likelihood):
    """The Bernoulli's functional form λ^x (1 − λ)^(1 − x), normalised on [0, 1].

    With the logit a = log(λ / (1 − λ)), the normaliser is C(λ) = 2 artanh(1 − 2λ) / (1 − 2λ) and the mean 1 /
    (1 − exp(−a)) − 1 / a; both are 0 / 0 at a = 0, so near it their Taylor series are used.
    """

    is_density = True

    SERIES = 0.1
    """The series replaces the formula where |a| is below this; its first omitted term is below 1e-9 there."""

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        cross_entropy = F.binary_cross_entropy_with_logits(parameters, x, reduction="none")
        return (self.log_normaliser(parameters) - cross_entropy).flatten(1).sum(dim=1)

    def log_normaliser(self, logits: Tensor) -> Tensor:
        """log C(λ) of each pixel, finite and smooth for every finite logit."""
        small = logits.abs() < self.SERIES
        # In a: 1 - 2λ = -tanh(a/2) and artanh(1 - 2λ) = -a/2, so C = a / tanh(a/2). torch.where lets the
        # gradient of the branch not taken through as 0 * inf = NaN unless that branch is finite as well.
        safe = logits.abs().where(~small, torch.ones_like(logits))
        formula = safe.log() - (safe / 2).tanh().log()
        a2 = logits.square().where(small, torch.zeros_like(logits))
        series = math.log(2) + a2 / 12 - 7 * a2.square() / 1440 + 31 * a2**3 / 90720
        return torch.where(small, series, formula)

    def log_mass(self, parameters: Tensor, x: Tensor) -> Tensor:
        # The density is proportional to exp(a x): a bin from l to u has the mass (exp(a u) − exp(a l)) /
        # (exp(a) − 1). By symmetry a >= 0; both are divided by exp(a), so that nothing overflows.
        mirrored = parameters < 0
        a = parameters.abs().clamp(min=1e-4)
        upper = torch.where(mirrored, 1 - x, x).add(HALF_STEP).clamp(max=1)
        lower = torch.where(mirrored, 1 - x, x).sub(HALF_STEP).clamp(min=0)
        log_mass = log1m_exp(a * (upper - lower)) - log1m_exp(a) - a * (1 - upper)
        return log_mass.flatten(1).sum(dim=1)

    def mean(self, parameters: Tensor) -> Tensor:
        small = parameters.abs() < self.SERIES
        safe = parameters.where(~small, torch.ones_like(parameters))
        series = 0.5 + parameters / 12 - parameters**3 / 720 + parameters**5 / 30240
        return torch.where(small, series, -1 / torch.expm1(-safe) - 1 / safe)

    def sample(self, parameters: Tensor, noise: Generator) -> Tensor:
        uniform = torch.rand(parameters.shape, generator=noise, device=parameters.device)
        # The inverse of the distribution function, log(1 + u (exp(a) - 1)) / a, for -|a| and then mirrored.
        negative = -parameters.abs().clamp(min=1e-4)
        darker = torch.log1p(uniform * torch.expm1(negative)) / negative
        return torch.where(parameters > 0, 1 - darker, darker)


def log1m_exp(y: Tensor) -> Tensor:
    """log(1 − exp(−y)) for y > 0."""
    return (-torch.expm1(-y)).log()
