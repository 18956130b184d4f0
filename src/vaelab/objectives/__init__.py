"""The objective: reconstruction and KL apart, per image, in nats; the only place where beta acts.

Shapes: B batch, L latent dimensions, "..." the axes of an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelab.config import Config, unknown
from vaelab.models import Gaussian


@dataclass(frozen=True, slots=True)
class ElboTerms:
    """The two halves of the negative ELBO, per image, unweighted, in nats."""

    reconstruction: Tensor  # (B,)  -log p(x|z), one sample of z an image
    kl: Tensor  # (B,)  KL(q(z|x) || p(z))

    @property
    def neg_elbo(self) -> Tensor:
        """(B,), an upper bound on -log p(x) on average over z; lower is better."""
        return self.reconstruction + self.kl


def gaussian_kl_per_dimension(posterior: Gaussian) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of each latent dimension, shape (B, L), in nats.

    Kingma & Welling (2014), appendix B.
    """
    mean_BL, log_variance_BL = posterior.mean, posterior.log_variance
    return 0.5 * (mean_BL.square() + log_variance_BL.exp() - 1.0 - log_variance_BL)


def gaussian_kl(posterior: Gaussian) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)), shape (B,), in nats.

    Summed over latent dimensions, never averaged: a mean would silently divide beta by the size of the
    latent space.
    """
    return gaussian_kl_per_dimension(posterior).sum(dim=1)


# --- likelihoods ------------------------------------------------------------------------------------------


class Likelihood(nn.Module):
    """p(x|z) of the pixels, independent given z, from the decoder's logits."""

    def negative_log_likelihood(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z) summed over pixels, shape (B,), in nats. `logits` and `x` have one shape (B, ...)."""
        raise NotImplementedError

    def mean(self, logits: Tensor) -> Tensor:
        """E[x|z], the image to look at, in [0, 1], in the shape of `logits`."""
        return logits.sigmoid()


class Bernoulli(Likelihood):
    """Binary cross-entropy.

    On grey pixels this is no probability of the data, and its floor is the pixels' own entropy, not 0.
    """

    def negative_log_likelihood(self, logits: Tensor, x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(dim=1)


class ContinuousBernoulli(Likelihood):
    """A density on [0, 1]: the Bernoulli's form with its normaliser (Loaiza-Ganem & Cunningham 2019).

    With the logit a = log(λ / (1 − λ)), the normaliser is C(λ) = 2 artanh(1 − 2λ) / (1 − 2λ) and the mean
    1 / (1 − exp(−a)) − 1 / a; both are 0 / 0 at a = 0, so near it their Taylor series stand in.
    """

    SERIES = 0.1
    """Below this |a| the series, whose first left-out term is below 1e-9 there, replaces the formula."""

    def negative_log_likelihood(self, logits: Tensor, x: Tensor) -> Tensor:
        cross_entropy = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        return (cross_entropy - self.log_normaliser(logits)).flatten(1).sum(dim=1)

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

    def mean(self, logits: Tensor) -> Tensor:
        small = logits.abs() < self.SERIES
        safe = logits.where(~small, torch.ones_like(logits))
        series = 0.5 + logits / 12 - logits**3 / 720 + logits**5 / 30240
        return torch.where(small, series, -1 / torch.expm1(-safe) - 1 / safe)


class GaussianPixels(Likelihood):
    """N(x; sigmoid(logits), σ²) with one learned variance for all pixels (Rybkin et al. 2021).

    A density: its negative logarithm falls below 0 where σ is small.
    """

    LOG_VARIANCE_RANGE = (-12.0, 4.0)
    """σ from 0.25 % of the grey range upwards: constant images would otherwise drive it to 0."""

    def __init__(self) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.tensor(-2.0))  # about the variance of all pixels of the data

    def negative_log_likelihood(self, logits: Tensor, x: Tensor) -> Tensor:
        log_variance = self.log_variance.clamp(*self.LOG_VARIANCE_RANGE)
        error = (x - self.mean(logits)).square().flatten(1).sum(dim=1)
        pixels = x[0].numel()
        return 0.5 * (error * (-log_variance).exp() + pixels * (log_variance + math.log(2 * math.pi)))


LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": GaussianPixels,
}


# --- the objective ----------------------------------------------------------------------------------------


class Objective(nn.Module):
    """Likelihood, KL and the KL's weight. Holds the likelihood's parameters, where it has any.

    Raises ConfigError for an unknown likelihood.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.loss.likelihood_name not in LIKELIHOODS:
            raise unknown("loss.likelihood", config.loss.likelihood_name, LIKELIHOODS)
        self.likelihood: Likelihood = LIKELIHOODS[config.loss.likelihood_name]()
        self.full_kl_weight = config.beta if config.kl else 0.0
        self.warmup_epochs = config.loss.kl_warmup_epochs
        self.free_bits = config.loss.free_bits

    def kl_weight(self, epoch: int) -> float:
        """The KL's weight in an epoch (from 1): 0 in the first epoch of a warm-up, full after its last."""
        if epoch > self.warmup_epochs:
            return self.full_kl_weight
        return self.full_kl_weight * (epoch - 1) / self.warmup_epochs

    def terms(self, x_BCHW: Tensor, logits_BCHW: Tensor, posterior: Gaussian) -> ElboTerms:
        """Reconstruction and KL of each image, unweighted, in nats."""
        return ElboTerms(self.likelihood.negative_log_likelihood(logits_BCHW, x_BCHW), gaussian_kl(posterior))

    def loss(self, terms: ElboTerms, posterior: Gaussian, epoch: int) -> Tensor:
        """What is minimised: the batch mean of reconstruction + weight · kl, a scalar, in nats per image.

        With free bits (Kingma et al. 2016), a latent dimension whose KL, averaged over the batch, is below
        `free_bits` counts as `free_bits`, and so has no gradient.
        """
        weight = self.kl_weight(epoch)
        if weight == 0:
            return terms.reconstruction.mean()
        if self.free_bits == 0:
            return terms.reconstruction.mean() + weight * terms.kl.mean()
        kl_L = gaussian_kl_per_dimension(posterior).mean(dim=0).clamp(min=self.free_bits)
        return terms.reconstruction.mean() + weight * kl_L.sum()
