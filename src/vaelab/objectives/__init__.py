"""What is minimised: likelihoods, schedules of the KL weight, and the objectives that combine them.

A new objective is a subclass of `Objective` in a module of this package or of a plugin, which registers it.

Shapes: B batch, C channels, H height, W width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Generator, Tensor, nn

from vaelab.config import CONF_DIR, Config, ConfigError, read_yaml, show
from vaelab.config.registry import Registry
from vaelab.config.train import KL_SETTINGS, SCHEDULE_ARGUMENTS, LossConfig, name_of
from vaelab.models import VAE
from vaelab.objectives.likelihoods import Likelihood, likelihoods
from vaelab.objectives.schedules import KLSchedule, kl_schedules

__all__ = [
    "KLSchedule", "KLWeight", "Likelihood", "Objective", "Terms",
    "build_objective", "kl_schedules", "kl_weight", "likelihoods", "objectives",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of an objective for each image, unreduced and, except for `loss`, unweighted.

    All are in nats, except for dimensionless `parts`.

    >>> import torch
    >>> reconstruction, kl = torch.tensor([230.0]), torch.tensor([10.0])
    >>> Terms(reconstruction + 0.5 * kl, reconstruction, kl).neg_elbo
    tensor([240.])
    """

    loss: Tensor  # (B,)  what is minimised, on average over the batch
    reconstruction: Tensor  # (B,)  -log p(x|z), averaged over the samples of z per image
    kl: Tensor  # (B,)  KL(q(z|x) || p(z))
    parts: Mapping[str, Tensor] = field(default_factory=dict)  # (B,) each; names as in Objective.parts

    @property
    def neg_elbo(self) -> Tensor:
        """reconstruction + kl, shape (B,), in nats; lower is better.

        Averaged over z, it is an upper bound on −log p(x).
        """
        return self.reconstruction + self.kl


class Objective(nn.Module, ABC):
    """Base class of objectives. It holds the likelihood, whose parameters are trained with the model's.

    The constructor is given the likelihood and, if it takes arguments of these names, `beta` (0 with
    kl=false) and the settings `free_bits` and `importance_samples` of `loss`; its other arguments are
    settings of its own. State that training changes, other than the weights, must be registered as a buffer,
    so that checkpoints contain it. `@objectives.register("name")` makes a subclass known as
    loss.objective=name.

    >>> import torch
    >>> from vaelab.models import build
    >>> class BetaVAE(Objective):
    ...     def forward(self, model, x_BCHW, noise, kl_weight):
    ...         parameters, posterior = model(x_BCHW, noise)
    ...         reconstruction, kl = -self.likelihood.log_prob(parameters, x_BCHW), posterior.kl()
    ...         return Terms(reconstruction + kl_weight * kl, reconstruction, kl)
    >>> objective = BetaVAE(likelihoods.build("bernoulli"))
    >>> model, x_BCHW = build({"name": "mlp"}, (1, 28, 28), seed=0), torch.zeros(5, 1, 28, 28)
    >>> objective(model, x_BCHW, Generator(), kl_weight=0.5).loss.shape
    torch.Size([5])
    """

    parts: Sequence[str] = ()
    """Names of further terms; metrics.csv has their averages over images as train/NAME and val/NAME."""

    needs_whole_batches: bool = False
    """Whether an image's loss depends on the rest of its batch, which is then scored in the training size."""

    samples: int = 1
    """Posterior samples per image over which the reconstruction term is averaged."""

    is_stationary: bool = True
    """Whether losses of epochs are comparable at full KL weight; if not, no best epoch is chosen."""

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood

    @abstractmethod
    def forward(self, model: VAE, x_BCHW: Tensor, noise: Generator, kl_weight: Tensor | float) -> Terms:
        """The terms of each image of a batch (B, C, H, W) with values in [0, 1].

        `noise` is the random stream that z is to be sampled from. `kl_weight` may be a tensor with one
        element, which a CUDA graph reads, so don't branch on its value.
        """

    def formula(self, weight: str) -> str:
        """The loss as a formula for captions, or an empty string.

        `weight` is the KL weight in words, as `0.5` or `(0 to 1)`.
        """
        return ""


objectives: Registry[Callable[..., Objective]] = Registry("loss.objective", __name__, "vaelab.objectives")


OBJECTIVE_ARGUMENTS = ("free_bits", "importance_samples")
"""Settings of `loss` that objectives may take by name, in addition to `beta`, which is 0 with kl=false."""


def build_objective(config: Config) -> Objective:
    """The objective of a run's settings, with its likelihood. Raises ConfigError for wrong settings."""
    given = {key: getattr(config.loss, key) for key in OBJECTIVE_ARGUMENTS}
    beta = config.beta if config.kl else 0.0
    likelihood = likelihoods.build(config.loss.likelihood)
    return objectives.build(config.loss.objective, likelihood=likelihood, beta=beta, **given)


def without_use(config: Config) -> list[str]:
    """A sentence for each setting of `loss` that the chosen objective or KL schedule makes no use of.

    Defaults, and what the preset of the objective sets, are left out: nobody has typed them.
    """
    loss, defaults = config.loss, LossConfig().to_dict()
    file = CONF_DIR / "loss" / f"{name_of(loss.objective)}.yaml"
    preset = read_yaml(file).get("loss", {}) if file.is_file() else {}
    takers: dict[str, tuple[Registry[Any], str | dict[str, Any]]] = {
        **dict.fromkeys(OBJECTIVE_ARGUMENTS, (objectives, loss.objective)),
        **dict.fromkeys(SCHEDULE_ARGUMENTS, (kl_schedules, loss.schedule)),
    }
    sentences = [
        f"loss.{key}={show(value)} has no effect with {registry.setting}={show(chosen)}, "
        "which does not take it."
        for key, (registry, chosen) in takers.items()
        if (value := getattr(loss, key)) not in (defaults[key], preset.get(key, defaults[key]))
        and not (config.kl_off and f"loss.{key}" in KL_SETTINGS)  # which Config.without_effect reports
        and key not in registry.parameters(chosen)
    ]
    rises = "warmup_epochs" in kl_schedules.parameters(loss.schedule) and not config.kl_off
    if rises and kl_weight(config).is_constant and loss.schedule != LossConfig().schedule:
        cause = "has no effect with loss.warmup_epochs=0: the KL weight is beta from the first step."
        sentences.append(f"loss.schedule={show(loss.schedule)} {cause}")
    return sentences


def planned_by_epochs(config: Config) -> str:
    """The setting, KEY=VALUE, that makes each epoch depend on the number of epochs; else empty."""
    if config.optimizer.schedule != "constant":
        return f"optimizer.schedule={config.optimizer.schedule}"
    takes_epochs = "epochs" in kl_schedules.parameters(config.loss.schedule)
    if takes_epochs and not config.kl_off and not config.loss.warmup_epochs:
        return f"loss.schedule={show(config.loss.schedule)}"
    return ""


@dataclass(frozen=True)
class KLWeight:
    """The KL weight as a function of time in epochs, where 2.5 is the middle of the third epoch."""

    full: float  # beta, or 0 with kl=false
    schedule: KLSchedule

    def __call__(self, epoch: float) -> float:
        return self.full * self.schedule.weight(epoch)

    @property
    def is_constant(self) -> bool:
        """Whether it is the full weight at every step, whatever the number of steps."""
        return self.full == 0 or getattr(self.schedule, "full_from_start", False)

    def in_words(self, epochs: int, steps: int) -> str:
        """`0.5` if the weight is full at every step of the training, else `(0 to 0.5)`; `steps` per epoch."""
        constant = all(self(step / steps) == self.full for step in range(epochs * steps))
        return f"{self.full:g}" if constant else f"(0 to {self.full:g})"


def kl_weight(config: Config) -> KLWeight:
    """beta times its schedule, or 0 with kl=false. Raises ConfigError if the schedule can't be used."""
    loss = config.loss
    rises = not config.kl_off and "warmup_epochs" in kl_schedules.parameters(loss.schedule)
    if rises and loss.warmup_epochs >= config.epochs:
        raise ConfigError(
            f"loss.warmup_epochs={loss.warmup_epochs} leaves no epoch at the full KL weight: type a number "
            f"smaller than epochs={config.epochs}, or more epochs."
        )
    given = {"epochs": config.epochs, **{key: getattr(loss, key) for key in SCHEDULE_ARGUMENTS}}
    return KLWeight(config.beta if config.kl else 0.0, kl_schedules.build(loss.schedule, **given))
