"""The training loop: one record an epoch. Nothing here opens a file or draws.

Shapes: B batch, C channels, H height, W width, S steps in an epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from vaelab.config import Config, VaelabError
from vaelab.data.splits import Data
from vaelab.loss import Objective
from vaelab.metrics.latent import active_units
from vaelab.metrics.likelihood import bound
from vaelab.models import VAE, build
from vaelab.randomness import stream
from vaelab.training.adam import Adam

Record = dict[str, float]
"""One epoch's numbers by the names of metrics.csv."""

FINITE_CHECK_EVERY = 50
"""Steps between looks at the loss: each one waits for the device."""


class TrainingDiverged(VaelabError):
    """The loss is not finite any more."""

    def __init__(self, epoch: int, step: int, reconstruction: float, kl: float, kl_weight: float):
        super().__init__(
            f"The loss is not finite in epoch {epoch}, step {step} "
            f"(reconstruction {reconstruction:.4g}, kl {kl:.4g}, kl weight {kl_weight:.4g})"
        )


@dataclass
class TrainingState:
    """All that changes while training, and so all that a checkpoint must hold."""

    model: VAE
    objective: Objective
    optimizer: torch.optim.Optimizer
    steps_per_epoch: int
    epoch: int = 0
    """Epochs that are complete."""
    step: int = 0
    """Steps that are done in the epoch under way."""
    sums_S3: Tensor = field(default_factory=lambda: torch.zeros(0, 3))
    """Reconstruction, KL and loss of each step of the epoch under way, summed over its images, in nats."""
    noise: dict[str, Generator] = field(default_factory=dict)
    """The random streams of the epoch under way: of latents, and of dynamically binarised pixels."""
    seconds: float = 0.0
    """Training time of the epoch under way, without pictures and scoring."""
    history: list[Record] = field(default_factory=list)
    best_epoch: int = 0
    best_neg_elbo: float = math.inf
    """Of best_epoch, on the held-out images; infinite as long as nothing is chosen by it."""

    @classmethod
    def fresh(cls, config: Config, data: Data, device: torch.device) -> TrainingState:
        """A model with new weights, nothing trained. Raises ConfigError for settings it can't build."""
        model = build(config.model, data.image_shape, config.seed).to(device).train()
        objective = Objective(config).to(device)
        parameters = [*model.parameters(), *objective.parameters()]
        optimizer = Adam(parameters, lr=config.optimizer.lr, fused=True)
        return cls(model, objective, optimizer, math.ceil(len(data.train) / config.batch_size))

    @property
    def total_steps(self) -> int:
        """Steps since the first epoch began."""
        return self.epoch * self.steps_per_epoch + self.step

    def begin_epoch(self, seed: int, device: torch.device) -> None:
        """Start the epoch after the last complete one, with random streams of its own."""
        self.step, self.seconds = 0, 0.0
        self.sums_S3 = torch.zeros(self.steps_per_epoch, 3, device=device)
        self.noise = {
            purpose: stream(seed, f"{purpose} while training", self.epoch + 1, device)
            for purpose in ("latent", "pixels")
        }

    def choose(self, epoch: int, split: str) -> None:
        """Make an epoch of the history the best one, though it isn't: the better one's weights are lost."""
        self.best_epoch = epoch
        if math.isfinite(self.best_neg_elbo):
            self.best_neg_elbo = self.history[epoch - 1][f"{split}/neg_elbo"]

    def end_epoch(self, record: Record, chosen_by: float | None) -> None:
        """Book a complete epoch; it is the best one unless an earlier one has a lower `chosen_by`."""
        self.epoch, self.step = self.epoch + 1, 0
        self.history.append(record)
        if chosen_by is None:
            self.best_epoch = self.epoch
        elif chosen_by < self.best_neg_elbo:
            self.best_epoch, self.best_neg_elbo = self.epoch, chosen_by


def fit(
    state: TrainingState,
    data: Data,
    config: Config,
    after_step: Callable[[TrainingState], None] = lambda state: None,
) -> Iterator[Record]:
    """Train until `config.epochs` epochs are complete; yields the record of each one.

    `after_step` is called after every step. It may look and draw, and stops the training by raising; the
    state is then consistent, and another `fit` goes on from the very next step.
    Raises TrainingDiverged once a loss is not finite.
    """
    while state.epoch < config.epochs:
        train_epoch(state, data, config, after_step)
        record = epoch_record(state, data, config)
        # With no val split the test set is scored but nothing may be chosen by it; and numbers from within a
        # warm-up would win for no better reason than their low weight on the KL.
        choosing = data.held_out.name == "val" and state.epoch + 1 > config.loss.kl_warmup_epochs
        state.end_epoch(record, record["val/neg_elbo"] if choosing else None)
        yield record


def train_epoch(
    state: TrainingState, data: Data, config: Config, after_step: Callable[[TrainingState], None]
) -> None:
    """The rest of the epoch under way: all of it, or what is left after an interruption."""
    device = data.train.images.device
    if state.step == 0:
        state.begin_epoch(config.seed, device)
    epoch = state.epoch + 1
    order = torch.randperm(len(data.train), generator=stream(config.seed, "shuffle", epoch)).to(device)
    for index_B in order.split(config.batch_size)[state.step :]:
        started = time.perf_counter()
        x_BCHW = data.train.batch(index_B, state.noise["pixels"])
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            logits_BCHW, posterior = state.model(x_BCHW, state.noise["latent"])
        terms = state.objective.terms(x_BCHW, logits_BCHW, posterior)
        loss = state.objective.loss(terms, posterior, epoch)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()

        with torch.no_grad():
            sums_3 = [terms.reconstruction.sum(), terms.kl.sum(), loss * len(index_B)]
            state.sums_S3[state.step] = torch.stack(sums_3)
        state.step += 1
        if state.step % FINITE_CHECK_EVERY == 0 or state.step == state.steps_per_epoch:
            check_finite(state, config.batch_size)
        state.seconds += time.perf_counter() - started
        after_step(state)


def check_finite(state: TrainingState, batch_size: int) -> None:
    """Raise TrainingDiverged where the weights or a step's terms, the first is named, are not finite."""
    steps = state.sums_S3[: state.step]
    broken = (~steps.isfinite()).any(dim=1).nonzero().flatten().tolist()
    weights = [*state.model.parameters(), *state.objective.parameters()]
    if not broken and all(weight.isfinite().all() for weight in weights):
        return
    step = broken[0] if broken else state.step - 1
    epoch = state.epoch + 1
    reconstruction, kl = (steps[step, :2] / batch_size).tolist()
    raise TrainingDiverged(epoch, step + 1, reconstruction, kl, state.objective.kl_weight(epoch))


def epoch_record(state: TrainingState, data: Data, config: Config) -> Record:
    """The row of metrics.csv for the epoch whose steps are all done; scores the held-out images."""
    epoch = state.epoch + 1
    reconstruction, kl, loss = (state.sums_S3.double().sum(dim=0) / len(data.train)).tolist()
    train = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "neg_elbo": reconstruction + kl}
    scored = bound(state.model, state.objective, data.held_out, config.seed)
    loss = state.objective.loss(scored.terms, scored.posterior, epoch).item()
    held_out = {"loss": loss, **scored.averages()}
    kl_weight = state.objective.kl_weight(epoch)
    record: Record = {"epoch": epoch}
    for name, numbers in (("train", train), (data.held_out.name, held_out)):
        if not all(map(math.isfinite, numbers.values())):
            raise TrainingDiverged(epoch, state.step, numbers["reconstruction"], numbers["kl"], kl_weight)
        record |= {f"{name}/{key}": value for key, value in numbers.items()}
    return record | {
        "kl_weight": kl_weight,
        "active_units": active_units(scored.posterior.mean),
        "images_per_second": len(data.train) / state.seconds,
        "seconds": state.seconds,
    }
