"""The training loop: one record an epoch. Nothing here opens a file or draws.

Shapes: N images, B batch, C channels, H height, W width, S steps in an epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor

from vaelab.config import Config, ConfigError, VaelabError, show
from vaelab.data.splits import Data
from vaelab.metrics.latent import active_units
from vaelab.models import VAE, ImageShape, build, outline
from vaelab.objectives import Objective, build_likelihood, build_objective, kl_weight
from vaelab.objectives.scoring import bound
from vaelab.runs.environment import memory
from vaelab.runs.files import size
from vaelab.runs.random_streams import restart, stream
from vaelab.training.adam import Adam
from vaelab.training.cuda_graph import CapturedStep

Record = dict[str, float]
"""One epoch's numbers by the names of metrics.csv."""

FINITE_CHECK_EVERY = 50
"""Steps between looks at the losses on the CPU; a GPU would have to be waited for, and is looked at when the
epoch ends. Weights are looked at then too, on both."""


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
    sums_S3: Tensor
    """Reconstruction, KL and loss of each step of the epoch under way, summed over its images, in nats."""
    noise: dict[str, Generator]
    """The random streams of the epoch under way: of latents, and of dynamically binarised pixels."""
    epoch: int = 0
    """Epochs that are complete."""
    step: int = 0
    """Steps that are done in the epoch under way."""
    seconds: float = 0.0
    """Training time of the epoch under way, without pictures and scoring."""
    history: list[Record] = field(default_factory=list)
    best_epoch: int = 0
    best_neg_elbo: float = math.inf
    """Of best_epoch, on the held-out images; infinite as long as nothing is chosen by it."""

    @classmethod
    def fresh(cls, config: Config, data: Data, device: torch.device) -> TrainingState:
        """A model with new weights, nothing trained. Raises ConfigError for settings it can't build."""
        objective = build_objective(config).to(device)
        per_pixel = objective.likelihood.parameters_per_pixel
        model = build(config.model, data.image_shape, config.seed, per_pixel).to(device).train()
        model.to(memory_format=torch.channels_last)  # a tenth faster where there are convolutions, on CPUs
        parameters = [*model.parameters(), *objective.parameters()]
        # Capturable, so that a CUDA graph can hold the step: Adam's count of steps is then on the device too.
        optimizer = Adam(parameters, lr=config.optimizer.lr, fused=True, capturable=device.type == "cuda")
        steps = math.ceil(len(data.train) / config.batch_size)
        noise = {purpose: Generator(device) for purpose in ("latent", "pixels")}
        return cls(model, objective, optimizer, torch.zeros(steps, 3, device=device), noise)

    @property
    def device(self) -> torch.device:
        return self.sums_S3.device

    @property
    def steps_per_epoch(self) -> int:
        return len(self.sums_S3)

    @property
    def total_steps(self) -> int:
        """Steps since the first epoch began."""
        return self.epoch * self.steps_per_epoch + self.step

    def begin_epoch(self, seed: int) -> None:
        """Start the epoch after the last complete one, its random streams anew.

        The same tensors and generators go on: a CUDA graph knows where they are.
        """
        self.step, self.seconds = 0, 0.0
        self.sums_S3.zero_()
        for purpose, generator in self.noise.items():
            restart(generator, seed, f"{purpose} while training", self.epoch + 1)

    @contextmanager
    def not_training(self) -> Iterator[None]:
        """Inside, time doesn't count as training time; for `after_step`, whose time does."""
        wait_for(self.device)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds -= time.perf_counter() - started

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


def check_room(config: Config, image_shape: ImageShape, device: torch.device) -> None:
    """Raise ConfigError for a model that can't be built, or that takes more memory to train than there is."""
    model, per_pixel = config.model, build_likelihood(config).parameters_per_pixel
    parameters = sum(each.numel() for each in outline(model, image_shape, per_pixel).parameters())
    needed = 4 * 4 * parameters  # weights, gradients and Adam's two moments, four bytes each
    there = memory(device)
    if there is not None and needed > there:
        sizes = ", ".join(f"model.{key}={show(value)}" for key, value in model.items() if key != "name")
        raise ConfigError(
            f"{sizes} makes {parameters:,} parameters, which take {size(needed)} to train, and there are "
            f"{size(there)}: type smaller numbers."
        )


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
    loop = Loop(state, data, config)
    while state.epoch < config.epochs:
        loop.epoch(after_step)
        record = epoch_record(state, data, config)
        # With no val split the test set is scored but nothing may be chosen by it; and numbers from within a
        # warm-up would win for no better reason than their low weight on the KL.
        choosing = data.held_out.name == "val" and state.epoch + 1 > config.loss.kl_warmup_epochs
        state.end_epoch(record, record["val/neg_elbo"] if choosing else None)
        yield record


class Loop:
    """Goes through the training images, epoch by epoch and step by step.

    On the CPU a step is as cheap in Python as it gets. On CUDA, Python would take longer than the GPU: there
    the step of a full batch is a CUDA graph, which reads all that changes from tensors.
    """

    captures_on = "cuda"

    def __init__(self, state: TrainingState, data: Data, config: Config) -> None:
        self.state, self.data, self.config = state, data, config
        self.shuffled = replace(data.train, images=torch.empty_like(data.train.images))
        self.step_number = torch.zeros(1, dtype=torch.long, device=state.device)
        self.captured: CapturedStep | None = None
        self.captured_kl_weight = math.nan
        self.kl_weight = kl_weight(config)

    def epoch(self, after_step: Callable[[TrainingState], None]) -> None:
        """The rest of the epoch under way: all of it, or what is left after an interruption."""
        state, batch_size = self.state, self.config.batch_size
        started = time.perf_counter()
        self.begin()
        for start in range(state.step * batch_size, len(self.shuffled), batch_size):
            if self.captured is not None and start + batch_size <= len(self.shuffled):
                self.captured()
            else:
                x_BCHW = self.shuffled.batch(slice(start, start + batch_size), state.noise["pixels"])
                state.sums_S3[state.step] = self.learn(x_BCHW)
            state.step += 1
            self.look_at_the_loss()
            try:
                after_step(state)
            finally:
                now = time.perf_counter()
                state.seconds += now - started
                started = now

    def begin(self) -> None:
        """Shuffle the images once, so that each batch is a slice; make the graph ready."""
        state, images = self.state, self.data.train.images
        if state.step == 0:
            state.begin_epoch(self.config.seed)
        epoch = state.epoch + 1
        generator = stream(self.config.seed, "shuffle", epoch, state.device)
        order_N = torch.randperm(len(images), generator=generator, device=state.device)
        torch.index_select(images, 0, order_N, out=self.shuffled.images)
        self.step_number.fill_(state.step)
        # The KL's weight is a constant in the graph: each epoch of a warm-up records another one.
        weight = self.kl_weight(state.epoch)
        if state.device.type == self.captures_on and weight != self.captured_kl_weight:
            self.captured = CapturedStep(self.learn_by_number, state.noise)
            self.captured_kl_weight = weight

    def learn(self, x_BCHW: Tensor) -> Tensor:
        """One step on one batch; returns its sums of reconstruction, KL and loss, shape (3,)."""
        state = self.state
        # Without a cache of casts, which would outlive the graph's capture.
        bf16 = self.config.precision == "bf16"
        with torch.autocast(state.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            weight = self.kl_weight(state.epoch + state.step / state.steps_per_epoch)
            terms = state.objective(state.model, x_BCHW, state.noise["latent"], weight)
        loss = terms.loss.mean()
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        with torch.no_grad():
            return torch.stack([terms.reconstruction.sum(), terms.kl.sum(), loss * len(x_BCHW)])

    def learn_by_number(self) -> None:
        """The same on the full batch of `step_number`, and on to the next: all on the device."""
        state, batch_size = self.state, self.config.batch_size
        images = self.shuffled.images
        full = images[: len(images) // batch_size * batch_size]
        batches = full.view(-1, batch_size, *images.shape[1:])
        batch = replace(self.shuffled, images=batches.index_select(0, self.step_number)[0])
        sums_3 = self.learn(batch.batch(slice(None), state.noise["pixels"]))
        state.sums_S3.index_copy_(0, self.step_number, sums_3[None])
        self.step_number += 1

    def look_at_the_loss(self) -> None:
        """Raise TrainingDiverged if it is time to look and something is not finite."""
        state = self.state
        last = state.step == state.steps_per_epoch
        due = state.device.type == "cpu" and state.step % FINITE_CHECK_EVERY == 0
        if last or (due and not state.sums_S3[state.step - FINITE_CHECK_EVERY : state.step].isfinite().all()):
            check_finite(state, self.config)


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given; the CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def check_finite(state: TrainingState, config: Config) -> None:
    """Raise TrainingDiverged where the weights or a step's terms, the first is named, are not finite."""
    steps = state.sums_S3[: state.step]
    broken = (~steps.isfinite()).any(dim=1).nonzero().flatten().tolist()
    weights = [*state.model.parameters(), *state.objective.parameters()]
    if not broken and all(weight.isfinite().all() for weight in weights):
        return
    step = broken[0] if broken else state.step - 1
    epoch = state.epoch + 1
    reconstruction, kl = (steps[step, :2] / config.batch_size).tolist()
    weight = kl_weight(config)(state.epoch + step / state.steps_per_epoch)
    raise TrainingDiverged(epoch, step + 1, reconstruction, kl, weight)


def epoch_record(state: TrainingState, data: Data, config: Config) -> Record:
    """The row of metrics.csv for the epoch whose steps are all done; scores the held-out images."""
    epoch = state.epoch + 1
    reconstruction, kl, loss = (state.sums_S3.double().sum(dim=0) / len(data.train)).tolist()
    train = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "neg_elbo": reconstruction + kl}
    weight = kl_weight(config)(epoch - 1 / state.steps_per_epoch)
    scored = bound(state.model, state.objective, data.held_out, config.seed, weight)
    held_out = {"loss": scored.terms.loss.mean().item(), **scored.averages()}
    record: Record = {"epoch": epoch}
    for name, numbers in (("train", train), (data.held_out.name, held_out)):
        if not all(map(math.isfinite, numbers.values())):
            raise TrainingDiverged(epoch, state.step, numbers["reconstruction"], numbers["kl"], weight)
        record |= {f"{name}/{key}": value for key, value in numbers.items()}
    return record | {
        "kl_weight": weight,
        "active_units": active_units(scored.posterior.mean),
        "images_per_second": len(data.train) / state.seconds,
        "seconds": state.seconds,
    }
