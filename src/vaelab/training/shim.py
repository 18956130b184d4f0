"""Today's objective behind the interface of the new one; goes when that is merged."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor

from vaelab.config import Config
from vaelab.models import VAE
from vaelab.objectives import Objective, gaussian_kl_per_dimension


@dataclass
class Terms:
    loss: Tensor
    reconstruction: Tensor
    kl: Tensor


class Weight:
    def __init__(self, config: Config) -> None:
        self.full = config.beta if config.kl else 0.0
        self.warmup = config.loss.kl_warmup_epochs

    def __call__(self, epoch: float) -> float:
        return self.full * (min(1.0, epoch / self.warmup) if self.warmup else 1.0)


def kl_weight(config: Config) -> Weight:
    return Weight(config)


def loss_of(objective: Objective, reconstruction: Tensor, kl: Tensor, posterior, weight) -> Tensor:  # type: ignore
    if objective.full_kl_weight == 0:
        return reconstruction
    if objective.free_bits == 0:
        return reconstruction + weight * kl
    kl_L = gaussian_kl_per_dimension(posterior).mean(dim=0).clamp(min=objective.free_bits)
    return reconstruction + weight * kl_L.sum()


def terms_of(objective: Objective, model: VAE, x: Tensor, noise: Generator, weight: float | Tensor) -> Terms:
    logits, posterior = model(x, noise)
    terms = objective.terms(x, logits, posterior)
    return Terms(
        loss_of(objective, terms.reconstruction, terms.kl, posterior, weight), terms.reconstruction, terms.kl
    )
