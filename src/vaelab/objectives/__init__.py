"""What is minimised: likelihoods, schedules of the KL's weight, and the objectives made of them.

A new objective is an `Objective` in a module here or in a plugin, registered where it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vaelab.config import Config
from vaelab.config.registry import Registry
from vaelab.objectives.likelihoods import Likelihood, likelihoods
from vaelab.objectives.schedules import KLSchedule, kl_schedules
from vaelab.objectives.terms import Objective, Terms

__all__ = [
    "KLSchedule", "KLWeight", "Likelihood", "Objective", "Terms",
    "build_likelihood", "build_objective", "kl_schedules", "kl_weight", "likelihoods", "objectives",
]  # fmt: skip

objectives: Registry[Callable[..., Objective]] = Registry(
    "loss.objective", __name__, "vaelab.objectives", besides=("likelihoods", "schedules", "scoring", "terms")
)


def build_likelihood(config: Config) -> Likelihood:
    """p(x|z) of the settings, with new parameters where it has any. Raises ConfigError."""
    likelihood: Likelihood = likelihoods.build(config.loss.likelihood)
    return likelihood


def build_objective(config: Config) -> Objective:
    """The objective of the settings, with its likelihood. Raises ConfigError for what isn't registered."""
    given = {"likelihood": build_likelihood(config), "free_bits": config.loss.free_bits}
    objective: Objective = objectives.build(config.loss.objective, **given)
    return objective


@dataclass(frozen=True)
class KLWeight:
    """The KL's weight as a function of time: 2.5 is the middle of the third epoch."""

    full: float
    """beta, or 0 with kl=false."""
    schedule: KLSchedule

    def __call__(self, epoch: float) -> float:
        return self.full * self.schedule.weight(epoch)


def kl_weight(config: Config) -> KLWeight:
    """beta times the schedule, 0 with kl=false. Raises ConfigError for a schedule that isn't registered."""
    given = {"warmup_epochs": config.loss.kl_warmup_epochs, "epochs": config.epochs}
    schedule: KLSchedule = kl_schedules.build(config.loss.kl_schedule, **given)
    return KLWeight(config.beta if config.kl else 0.0, schedule)
