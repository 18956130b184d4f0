"""What is minimised: likelihoods, schedules of the KL weight, and the objectives made of them.

A new objective is an `Objective` in a module here or in a plugin, registered where it is written.

Shapes: B batch, C channels, H height, W width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Generator, Tensor, nn

from vaelab.config import Config, show
from vaelab.config.registry import Registry
from vaelab.config.train import KL_SETTINGS
from vaelab.models import VAE
from vaelab.objectives.likelihoods import Likelihood, likelihoods
from vaelab.objectives.schedules import KLSchedule, kl_schedules

__all__ = [
    "KLSchedule", "KLWeight", "Likelihood", "Objective", "Terms",
    "build_objective", "kl_schedules", "kl_weight", "likelihoods", "objectives",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Terms:
    """Per image, unreduced, in nats. Only `loss` is weighted."""

    loss: Tensor  # (B,)  what is minimised, on average over the batch
    reconstruction: Tensor  # (B,)  -log p(x|z), one sample of z per image
    kl: Tensor  # (B,)  KL(q(z|x) || p(z))
    parts: Mapping[str, Tensor] = field(default_factory=dict)  # (B,) each, by the names in Objective.parts

    @property
    def neg_elbo(self) -> Tensor:
        """(B,), an upper bound on -log p(x) on average over z; lower is better."""
        return self.reconstruction + self.kl


class Objective(nn.Module, ABC):
    """What is minimised. Holds the likelihood, whose parameters are trained with the model's.

    A constructor is given the likelihood, and where it asks for them `beta` (0 with kl=false) and settings
    of `loss`: `free_bits`, `importance_samples`. What training changes besides the weights is a buffer.
    """

    parts: Sequence[str] = ()
    """Further terms, averaged over images as train/NAME and val/NAME in metrics.csv."""

    needs_whole_batches: bool = False
    """Whether an image's loss depends on the others of its batch: scored, batches are as large as trained."""

    samples: int = 1
    """Posterior samples per image over which the reconstruction term is averaged."""

    is_stationary: bool = True
    """Whether losses of different epochs compare, once the KL's weight is full: else no epoch is the best."""

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood

    @abstractmethod
    def forward(self, model: VAE, x_BCHW: Tensor, noise: Generator, kl_weight: Tensor | float) -> Terms:
        """The terms of each image. `kl_weight` may be a tensor of one number: don't branch on it."""

    def formula(self, weight: str) -> str:
        """The loss in words, for captions, or nothing; `weight` is that of the KL: `0.5`, `0 to 1`."""
        return ""


objectives: Registry[Callable[..., Objective]] = Registry(
    "loss.objective",
    __name__,
    "vaelab.objectives",
    besides=("importance", "likelihoods", "schedules", "scoring"),
)


OF_OBJECTIVES = ("free_bits", "importance_samples")
"""Settings of `loss` that objectives may ask for by name, beside `beta`, which is 0 with kl=false."""

OF_SCHEDULES = ("warmup_epochs", "cycles", "ratio")
"""Settings of `loss` that schedules of the KL's weight may ask for, beside `epochs`."""


def build_objective(config: Config) -> Objective:
    """The objective of the settings, with its likelihood. Raises ConfigError for what isn't registered."""
    given = {key: getattr(config.loss, key) for key in OF_OBJECTIVES}
    beta = config.beta if config.kl else 0.0
    likelihood = likelihoods.build(config.loss.likelihood)
    return objectives.build(config.loss.objective, likelihood=likelihood, beta=beta, **given)


def not_taken(config: Config) -> list[str]:
    """A sentence for each setting that the chosen objective or KL schedule has no argument for."""
    loss, untouched = config.loss, type(config.loss)()
    takers: dict[str, tuple[Registry[Any], str | dict[str, Any]]] = {
        **dict.fromkeys(OF_OBJECTIVES, (objectives, loss.objective)),
        **dict.fromkeys(OF_SCHEDULES, (kl_schedules, loss.schedule)),
    }
    return [
        f"loss.{key}={show(value)} has no effect with {registry.setting}={show(chosen)}, "
        "which does not take it."
        for key, (registry, chosen) in takers.items()
        if (value := getattr(loss, key)) != getattr(untouched, key)
        and not (config.kl_off and f"loss.{key}" in KL_SETTINGS)  # of which without_effect says so
        and key not in registry.parameters(chosen)
    ]


def planned_by_epochs(config: Config) -> str:
    """The setting that makes each epoch depend on how many there are, or nothing."""
    if config.optimizer.schedule != "constant":
        return f"optimizer.schedule={config.optimizer.schedule}"
    takes_epochs = "epochs" in kl_schedules.parameters(config.loss.schedule)
    if takes_epochs and not config.kl_off and not config.loss.warmup_epochs:
        return f"loss.schedule={show(config.loss.schedule)}"
    return ""


@dataclass(frozen=True)
class KLWeight:
    """The KL weight as a function of time: 2.5 is the middle of the third epoch."""

    full: float  # beta, or 0 with kl=false
    schedule: KLSchedule

    def __call__(self, epoch: float) -> float:
        return self.full * self.schedule.weight(epoch)

    def in_words(self, epochs: int, steps: int) -> str:
        """`0.5`, or `(0 to 0.5)` where it is not full at each of the steps of so many epochs."""
        constant = all(self(step / steps) == self.full for step in range(epochs * steps))
        return f"{self.full:g}" if constant else f"(0 to {self.full:g})"


def kl_weight(config: Config) -> KLWeight:
    """beta times the schedule, 0 with kl=false. Raises ConfigError for a schedule that isn't registered."""
    given = {"epochs": config.epochs, **{key: getattr(config.loss, key) for key in OF_SCHEDULES}}
    return KLWeight(config.beta if config.kl else 0.0, kl_schedules.build(config.loss.schedule, **given))
