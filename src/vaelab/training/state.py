"""The state of a training, which a checkpoint must hold; checks of settings; the numbers of an epoch.

Shapes: S steps in an epoch, T terms: reconstruction, KL and loss, then the objective's parts and counts.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch
from torch import Generator, Tensor

from vaelab.config import Config, ConfigError, VaelabError, show
from vaelab.data.datasets import class_numbers, spec_of
from vaelab.data.splits import Data
from vaelab.metrics.latent import active_units
from vaelab.models import NO_SIZES, VAE, build, outline
from vaelab.objectives import Objective, build_objective, kl_weight
from vaelab.objectives.scoring import bound, scoring_batch
from vaelab.runs.environment import doubled, importing, memory, pick_device
from vaelab.runs.files import size
from vaelab.runs.random_streams import restart

Record = dict[str, float]
"""The numbers of one epoch by the column names of metrics.csv."""


@dataclass
class TrainingState:
    """Model, objective, optimizer, random streams, and the position in the training."""

    model: VAE
    objective: Objective
    optimizer: torch.optim.Optimizer
    step_terms_ST: Tensor
    """The terms of each step of the current epoch, summed over its images, in nats."""
    noise: dict[str, Generator]
    """The random streams of the current epoch: of latents, and of dynamically binarised pixels."""
    epoch: int = 0  # complete ones
    step: int = 0  # steps done in the current epoch
    seconds: float = 0.0  # training time of the current epoch, without figures and scoring
    history: list[Record] = field(default_factory=list)
    best_epoch: int = 0
    initial_weights: dict[str, Any] = field(default_factory=dict)
    """`InitialWeights.facts` of the checkpoint whose weights the training started with; empty if random."""
    average: tuple[VAE, Objective] | None = None
    """Model and objective with the moving averages of their weights, or None."""

    @classmethod
    def fresh(cls, config: Config, data: Data, device: torch.device) -> TrainingState:
        """The state before the first step, with new weights. Raises ConfigError for wrong settings."""
        objective = build_objective(config).to(device)
        per_pixel = objective.likelihood.parameters_per_pixel
        shape, classes = data.spec.image_shape, data.labelled_classes
        model = build(config.model, shape, config.seed, per_pixel, classes).to(device).train()
        if model.classes:
            counts_Y = (data.train.labels[:, None] == model.class_numbers).sum(dim=0)
            model.class_prior.copy_(counts_Y / len(data.train))
        model.to(memory_format=torch.channels_last)  # a tenth faster where there are convolutions, on CPUs
        parameters = [*model.parameters(), *objective.parameters()]
        # Capturable, so that a CUDA graph can hold the step: Adam's step count is then on the device too.
        capturable = device.type == "cuda"
        with importing():  # PyTorch's compiler
            rate = torch.tensor(config.optimizer.lr, device=device) if capturable else config.optimizer.lr
            optimizer = torch.optim.Adam(parameters, lr=rate, fused=True, capturable=capturable)
        steps = math.ceil(len(data.train) / config.batch_size)
        noise = {purpose: Generator(device) for purpose in ("latent", "pixels")}
        terms = 3 + len(objective.parts) + len(counts_of(config))
        average = copy.deepcopy((model, objective)) if config.optimizer.weight_average else None
        step_terms_ST = torch.zeros(steps, terms, device=device)
        return cls(model, objective, optimizer, step_terms_ST, noise, average=average)

    @property
    def evaluated(self) -> tuple[VAE, Objective]:
        """Model and objective as scored, drawn and saved: with averaged weights, if the run averages them."""
        return self.average or (self.model, self.objective)

    @property
    def device(self) -> torch.device:
        return self.step_terms_ST.device

    @property
    def steps_per_epoch(self) -> int:
        return len(self.step_terms_ST)

    @property
    def total_steps(self) -> int:
        """Steps since the start of the first epoch."""
        return self.epoch * self.steps_per_epoch + self.step

    def begin_epoch(self, seed: int) -> None:
        """Start the next epoch, with its random streams reset.

        The tensors and generators stay the same objects: a CUDA graph refers to their memory.
        """
        self.step, self.seconds = 0, 0.0
        self.step_terms_ST.zero_()
        for purpose, generator in self.noise.items():
            restart(generator, seed, f"{purpose} while training", self.epoch + 1)

    def end_epoch(self, record: Record, config: Config) -> None:
        """Record a complete epoch: the best one if its `chosen_by` is the lowest, or if there was none."""
        self.epoch, self.step = self.epoch + 1, 0
        self.history.append(record)
        best, this = None, chosen_by(record, config, self.objective)
        if self.best_epoch:
            best = chosen_by(self.history[self.best_epoch - 1], config, self.objective)
        if best is None or (this is not None and this < best):
            self.best_epoch = self.epoch

    def now(self) -> float:
        """The time in seconds, after the device has finished its work (which a GPU does asynchronously)."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Within the context, time counts as training time."""
        started = self.now()
        try:
            yield
        finally:
            self.seconds += self.now() - started

    @contextmanager
    def not_timed(self) -> Iterator[None]:
        """Within the context, inside `timed`, time does not count as training time: for figures."""
        started = self.now()
        try:
            yield
        finally:
            self.seconds -= self.now() - started


def counts_of(config: Config) -> Sequence[str]:
    """The names of the counts that follow the terms in `step_terms_ST`."""
    return ("clipped_gradients", "zeroed_gradients") if config.optimizer.clip_norm else ()


def check_buildable(config: Config) -> int:
    """The model's number of parameters. Raises ConfigError if model, objective or schedule can't be built."""
    spec = spec_of(config.dataset)
    classes = class_numbers(spec, config.dataset.classes) if spec.classes else ()
    likelihood = build_objective(config).likelihood
    per_pixel, binarize = likelihood.parameters_per_pixel, config.dataset.binarize
    if likelihood.is_density and binarize != "none":
        raise ConfigError(
            f"loss.likelihood={config.loss.likelihood_name} is a density of grey values, which is not "
            f"meaningful for 0/1 pixels (dataset.binarize={binarize}): type loss.likelihood=bernoulli or "
            "dataset.binarize=none."
        )
    kl_weight(config)
    return sum(
        each.numel() for each in outline(config.model, spec.image_shape, per_pixel, classes).parameters()
    )


def check_settings(config: Config) -> torch.device:
    """The device to train on. Raises ConfigError for settings that can't be used on it.

    Settings that depend on the images themselves (classes, val_size) are checked when these are loaded.
    """
    device = pick_device(config.device)
    parameters = check_buildable(config)
    needed = 4 * 4 * parameters  # bytes of weight, gradient and Adam's two moments, in fp32
    if (there := memory(device)) is not None and needed > there:
        given = config.model.items()
        sizes = ", ".join(f"model.{key}={show(value)}" for key, value in given if key not in NO_SIZES)
        raise ConfigError(
            f"A model with {sizes} has {parameters:,} parameters, and training them takes {size(needed)} of "
            f"memory, but this machine has {size(there)}: type smaller numbers."
        )
    return device


class TrainingDiverged(VaelabError):
    """The loss, the weights or all gradients of an epoch are infinite or NaN."""


def diverged(epoch: int, step: int, reconstruction: float, kl: float, weight: float) -> TrainingDiverged:
    """The error for a loss that is not finite; its message has the terms in nats per image."""
    return TrainingDiverged(
        f"The loss is not finite in epoch {epoch}, step {step} "
        f"(reconstruction {reconstruction:.4g}, kl {kl:.4g}, kl_weight {weight:.4g})"
    )


def check_finite(state: TrainingState, config: Config) -> None:
    """Raise TrainingDiverged, which names the first such step, if the weights or the terms are not finite."""
    terms_ST = state.step_terms_ST[: state.step]
    wrong = (~terms_ST.isfinite()).any(dim=1).nonzero().flatten().tolist()
    weights = [*state.model.parameters(), *state.objective.parameters()]
    if not wrong and all(weight.isfinite().all() for weight in weights):
        return
    step = wrong[0] if wrong else state.step - 1
    reconstruction, kl = (terms_ST[step, :2] / config.batch_size).tolist()
    weight = kl_weight(config)(state.epoch + step / state.steps_per_epoch)
    raise diverged(state.epoch + 1, step + 1, reconstruction, kl, weight)


def epoch_record(state: TrainingState, data: Data, config: Config) -> Record:
    """The row of metrics.csv for the epoch whose steps are done; it also scores the validation images.

    Their loss is computed with the epoch's last KL weight. Raises TrainingDiverged.
    """
    steps = state.steps_per_epoch
    weight_of = kl_weight(config)
    weights = [weight_of(state.epoch + step / steps) for step in range(steps)]
    weight = weights[-1]
    sums_T, counts = doubled(state.step_terms_ST).sum(dim=0), counts_of(config)
    images = float(len(data.train))
    if counts:  # steps whose gradient was not finite have no terms
        images_S = torch.full_like(state.step_terms_ST[:, -1], config.batch_size)
        images_S[-1] = images - config.batch_size * (len(images_S) - 1)
        images -= (images_S * state.step_terms_ST[:, -1]).sum().item()
        if images == 0:
            raise TrainingDiverged(f"No gradient of epoch {state.epoch + 1} is finite")
    per_image_T = sums_T[: len(sums_T) - len(counts)] / images
    reconstruction, kl, loss, *parts = per_image_T.tolist()
    train = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "neg_elbo": reconstruction + kl}
    train |= dict(zip(state.objective.parts, parts, strict=True))
    batch = scoring_batch(state.objective, config)
    scored = bound(*state.evaluated, data.scored, config.seed, weight, batch)
    averages = {"loss": scored.terms.loss.mean().item(), **scored.averages()}
    record: Record = {"epoch": state.epoch + 1}
    for name, numbers in (("train", train), (data.scored.name, averages)):
        if not all(map(math.isfinite, numbers.values())):
            terms = numbers["reconstruction"], numbers["kl"]
            raise diverged(state.epoch + 1, state.step, *terms, weight)
        record |= {f"{name}/{key}": value for key, value in numbers.items()}
    record |= {
        "kl_weight": weight,
        **({} if weight_of.is_constant else {"kl_weight_mean": fmean(weights)}),
        **dict(zip(counts, sums_T[len(per_image_T) :].tolist(), strict=True)),
        "active_units": active_units(scored.posterior.mean),
        "images_per_second": len(data.train) / state.seconds,
        "seconds": state.seconds,
    }
    columns = state.history[0] if state.history else record  # fewer in a run that an older version started
    return {key: value for key, value in record.items() if key in columns}


def is_complete(state: TrainingState, config: Config) -> bool:
    """Whether all epochs are done, or early stopping ends the training."""
    if state.epoch >= config.epochs or not config.early_stopping:
        return state.epoch >= config.epochs
    since = [chosen_by(record, config, state.objective) for record in state.history[state.best_epoch :]]
    return len(since) - since.count(None) >= config.early_stopping


def chosen_by(record: Record, config: Config, objective: Objective) -> float | None:
    """The validation loss by which the best epoch is chosen, in nats per image; None if it can't be.

    Without validation images the test images are scored, by which nothing may be chosen. And losses are not
    comparable while the KL weight is below its full value, or if the objective's multiplier changes.
    """
    compares = objective.is_stationary and record.get("kl_weight") == kl_weight(config).full
    return record.get("val/loss") if compares else None
