"""What tests of training share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from harness import settings
from vaelab.data.splits import Data, Split
from vaelab.models import build
from vaelab.objectives import (
    Terms,
    build_objective,
    kl_weight,
)
from vaelab.training.callbacks import Callback
from vaelab.training.state import TrainingState

TIMES = {"images_per_second", "seconds"}

SMALL = {"mlp": "model.hidden=[32]", "conv": "model.channels=[8,16]", "resnet": "model.channels=[8,16]"}
"""Each model in a size that trains fast, for laws that hold for any size."""


def few(data: Data) -> Data:
    """The same data with few images: five batches of 64 an epoch, the last of them not a full one."""

    def first(split: Split, count: int) -> Split:
        return replace(split, images=split.images[:count], labels=split.labels[:count])

    return replace(
        data, train=first(data.train, 288), scored=first(data.scored, 96), test=first(data.test, 96)
    )


class AtStep(Callback):
    """Calls a function after every step."""

    def __init__(self, call: Callable[[TrainingState], object]) -> None:
        self.on_step = call  # type: ignore[method-assign,assignment]


Value = TypeVar("Value")


def without_times(rows: Sequence[Mapping[str, Value]]) -> list[dict[str, Value]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    return {**state.model.state_dict(), **state.objective.state_dict()}


def assert_same(left: TrainingState, right: TrainingState) -> None:
    assert without_times(left.history) == without_times(right.history)
    for (name, a), b in zip(weights(left).items(), weights(right).values(), strict=True):
        assert torch.equal(a, b), name


class Stop(Exception):
    pass


BATCH = torch.rand(7, 1, 28, 28, generator=torch.Generator().manual_seed(2))


def terms_of(*overrides: str, weight: float | torch.Tensor | None = None) -> Terms:
    """Of a new mlp on a batch, at the full weight of these settings or another one."""
    config = settings(*overrides)
    objective, model = build_objective(config), build({"name": "mlp"}, (1, 28, 28), seed=0)
    noise = torch.Generator().manual_seed(3)
    return objective(model, BATCH, noise, kl_weight(config).full if weight is None else weight)  # type: ignore[no-any-return]
