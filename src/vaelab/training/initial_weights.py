"""The weights with which a training starts, where they are those of a checkpoint (`initial_weights`)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaelab.config import Config, DatasetConfig, resolve, show
from vaelab.data.splits import Data, validation_size
from vaelab.models import models
from vaelab.runs.folder import checkpoint_at
from vaelab.training import checkpoint
from vaelab.training.checkpoint import Checkpoint, CheckpointError
from vaelab.training.state import TrainingState


@dataclass(frozen=True)
class InitialWeights:
    """A checkpoint whose weights a training starts with."""

    path: Path
    saved: Checkpoint

    @classmethod
    def at(cls, path: Path | str) -> InitialWeights:
        """Those of a checkpoint, or of a run's last one. Raises RunFolderError and CheckpointError."""
        found = checkpoint_at(path)
        return cls(found, checkpoint.load(found))

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json and checkpoints say of them."""
        saved = self.saved
        own = {"checkpoint": str(self.path.resolve()), "epoch": saved.epoch, "sha256": saved.sha256}
        return {**own, "trained_on": self.trained_on}

    @property
    def trained_on(self) -> list[dict[str, Any]]:
        """The images that they were trained on, by their run and by those whose weights it started with."""
        dataset = checkpoint.config_of(self.saved).dataset.to_dict()
        own = {"sha256": dict(self.saved.data.sha256), "dataset": dataset}
        return [*self.saved.initial_weights.get("trained_on", []), own]

    def check(self, config: Config, image_shape: Sequence[int], classes: Sequence[int]) -> None:
        """Raise CheckpointError if a run of these settings can't start with them.

        `image_shape` is (C, H, W); `classes` are the class numbers, for a class-conditional model.
        """
        theirs, own = (model_settings(each) for each in (checkpoint.config_of(self.saved), config))
        theirs["loss.likelihood"] = checkpoint.config_of(self.saved).loss.likelihood
        own["loss.likelihood"] = config.loss.likelihood
        if config.conditional and "class_numbers" in self.saved.model:
            theirs["dataset.classes"] = self.saved.model["class_numbers"].tolist()
            own["dataset.classes"] = [*classes]
        for key in theirs:
            if theirs[key] != own.get(key):
                needed = f"{key}={show(theirs[key])}"
                raise CheckpointError(
                    f"initial_weights={self.path} has {needed}, and this run has {key}={show(own.get(key))}: "
                    f"type {needed}, or another checkpoint."
                )
        if [*image_shape] != self.saved.image_shape:
            size = " × ".join(map(str, self.saved.image_shape))
            raise CheckpointError(
                f"initial_weights={self.path} is for images of {size} (channels, height, width), and this "
                f"run's are of {' × '.join(map(str, image_shape))}: type another checkpoint."
            )

    def seen(self, config: Config, data: Data) -> str:
        """A sentence if they were trained on images that this run validates or tests with; else empty."""
        now, here = config.dataset, validation_size(config.dataset, data.training_file)
        sizes = [here]
        for each in self.trained_on:
            if each["sha256"] != dict(data.origin.sha256):
                continue
            before = resolve(each["dataset"], DatasetConfig)
            if (before.split_seed, before.test_size) != (now.split_seed, now.test_size):
                given = f"dataset.split_seed={before.split_seed} dataset.test_size={show(before.test_size)}"
                return f"The initial weights were trained on some of the test images: type {given}."
            sizes.append(validation_size(before, data.training_file))
        then = min(sizes)
        if then < here:
            some = "The initial weights were trained on some of the validation images"
            return f"{some}: type dataset.val_size={then}."
        return ""

    def copy_to(self, state: TrainingState) -> None:
        """Make them the weights of a new training state; if that run averaged its weights, the averages."""
        prior = {key: value for key, value in state.model.state_dict().items() if key == "class_prior"}
        theirs = self.saved.objective
        likelihood = {key: value for key, value in theirs.items() if key.startswith("likelihood.")}
        for pair in ((state.model, state.objective), state.average):
            if pair is not None:
                model, objective = pair
                model.load_state_dict({**self.saved.model, **prior})
                objective.load_state_dict(objective.state_dict() | likelihood)
        state.initial_weights = self.facts


def model_settings(config: Config) -> dict[str, Any]:
    """A run's settings of the model, with defaults for those that older versions did not have."""
    parameters = inspect.signature(models.get(str(config.model["name"]))).parameters
    defaults = {key: each.default for key, each in parameters.items() if each.default is not each.empty}
    found = {"name": "", **defaults, **config.model, "conditional": config.conditional}
    return {
        "model" if key == "name" else f"model.{key}": [*value] if isinstance(value, tuple) else value
        for key, value in found.items()
    }
