"""Laws of training: what is learned, counted, chosen, and the same for the same seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harness import TINY, fresh, settings
from training_helpers import SMALL, AtStep, Stop, assert_same, few, without_times
from vaelab.data.splits import Data, Split
from vaelab.models import models
from vaelab.objectives.scoring import BATCH, bound
from vaelab.runs.folder import RunFolder
from vaelab.training.callbacks import Callback, CheckFinite
from vaelab.training.loop import fit
from vaelab.training.state import TrainingDiverged, TrainingState, is_complete


class AtEpoch(Callback):
    """Calls a function after every epoch."""

    def __init__(self, call: Callable[[TrainingState], object]) -> None:
        self.on_epoch = call  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize(("model", "likelihood"), [
    *((model, "bernoulli") for model in models.names()), ("mlp", "continuous_bernoulli"), ("mlp", "gaussian"),
])  # fmt: skip
def test_one_batch_can_be_overfitted(model: str, likelihood: str, data: Data) -> None:
    config = settings(*TINY, f"model={model}", SMALL[model], "model.latent_dim=8", "epochs=80", "batch_size=16",
                     f"loss.likelihood={likelihood}", "kl=false", "optimizer.lr=3e-3")  # fmt: skip
    few = Split("train", data.train.images[:16], data.train.labels[:16])
    rows = fit(fresh(config, data := replace_train(data, few)), data, config)
    assert rows[-1]["train/reconstruction"] < rows[0]["train/reconstruction"] - 150


def replace_train(data: Data, train: Split) -> Data:
    """The same data with few images to train and to score on."""
    return replace(data, train=train, scored=replace(train, name="val"))


def test_a_run_that_an_older_version_began_keeps_its_columns(data: Data, tmp_path: Path) -> None:
    config, data = settings(*TINY, SMALL["mlp"], "epochs=2", "loss.warmup_epochs=1"), few(data)
    state = fresh(config, data)
    fit(state, data, config)
    for row in state.history:
        del row["kl_weight_mean"]
    fit(state, data, config.replace(epochs=3))
    assert len(state.history) == 3
    assert len({tuple(row) for row in state.history}) == 1
    RunFolder(tmp_path).write_metrics(state.history)


def test_rows_add_up(data: Data) -> None:
    config, data = settings(*TINY, "epochs=3", "beta=0.5", "loss.warmup_epochs=1"), few(data)
    state = fresh(config, data)
    rows = fit(state, data, config)
    last = 1 - 1 / state.steps_per_epoch
    assert [row["kl_weight"] for row in rows] == [0.5 * last, 0.5, 0.5]
    assert [row["kl_weight_mean"] for row in rows] == pytest.approx([0.5 * last / 2, 0.5, 0.5])
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        for split in ("train", "val"):
            reconstruction, kl = row[f"{split}/reconstruction"], row[f"{split}/kl"]
            assert row[f"{split}/neg_elbo"] == pytest.approx(reconstruction + kl)
            if split == "val" or row["epoch"] > 1:  # while the weight rises, each step has its own
                assert row[f"{split}/loss"] == pytest.approx(reconstruction + row["kl_weight"] * kl, rel=1e-5)
    assert list(rows[0]) == [
        "epoch",
        *(f"{split}/{term}" for split in ("train", "val") for term in ("loss", "reconstruction", "kl", "neg_elbo")),
        "kl_weight", "kl_weight_mean", "active_units", "images_per_second", "seconds",
    ]  # fmt: skip


@pytest.mark.parametrize("model", models.names())
def test_same_seed_same_bits_and_another_seed_others(model: str, data: Data) -> None:
    states, data = [], few(data)
    for seed in (1, 1, 2):
        config = settings(*TINY, f"model={model}", SMALL[model], "epochs=2", f"seed={seed}")
        states.append(fresh(config, data))
        fit(states[-1], data, config)
    assert_same(states[0], states[1])
    assert without_times(states[0].history) != without_times(states[2].history)


def test_beta_zero_trains_as_recon_only(data: Data) -> None:
    states, data = [], few(data)
    for override in ("beta=0", "kl=false"):
        config = settings(*TINY, "epochs=2", override)
        states.append(fresh(config, data))
        fit(states[-1], data, config)
    assert_same(*states)


def test_scoring_later_gives_the_number_of_training(data: Data) -> None:
    config, data = settings(*TINY, "model=conv", SMALL["conv"], "epochs=1"), few(data)
    state = fresh(config, data)
    (row,) = fit(state, data, config)
    averages = bound(state.model, state.objective, data.scored, config.seed).averages()
    assert {f"val/{term}": value for term, value in averages.items()}.items() <= row.items()


def test_without_validation_images_the_test_set_is_scored_and_nothing_chosen(data: Data) -> None:
    config, data = settings(*TINY, "epochs=3", "dataset.val_size=0"), few(data)
    state = fresh(config, data)
    best = []
    rows = fit(
        state, replace(data, scored=data.test), config, [AtEpoch(lambda now: best.append(now.best_epoch))]
    )
    assert all(row["test/neg_elbo"] > 0 for row in rows)
    assert best == [1, 2, 3]


def test_best_is_chosen_on_scored_images_after_the_warmup(data: Data) -> None:
    asked, data = settings(*TINY, "epochs=4", "loss.warmup_epochs=2", "optimizer.lr=0.02"), few(data)
    state = fresh(asked, data)
    rows = fit(state, data, asked)
    eligible = {row["val/loss"]: row["epoch"] for row in rows[2:]}
    assert state.best_epoch == eligible[min(eligible)]


@pytest.mark.parametrize(
    ("overrides", "losses", "weights", "best", "stopped"),
    [
        ((), [3, 1, 2], [1, 1, 1], [1, 2, 2], 0),
        ((), [3, 1, 2, 2], [1, 1, 1, 1], [1, 2, 2, 2], 4),
        (("beta=4",), [3, 1, 2], [4, 4, 4], [1, 2, 2], 0),
        (("kl=false",), [3, 1, 2], [0, 0, 0], [1, 2, 2], 0),
        (("loss.warmup_epochs=2",), [1, 2, 9, 8, 8.5], [0.4, 0.9, 1, 1, 1], [1, 2, 3, 4, 4], 0),
        (("loss.warmup_epochs=2",), [1, 2, 9, 3, 8], [0.4, 0.9, 1, 0.5, 1], [1, 2, 3, 3, 5], 0),  # cycles
        (("loss.warmup_epochs=2",), [9, 1, 2, 9, 8, 9], [1, 0, 0.5, 1, 1, 1], [1, 1, 1, 1, 5, 5], 0),
        (("loss.warmup_epochs=2",), [8, 1, 2, 9, 1, 9], [1, 0, 0.5, 1, 0, 1], [1] * 6, 6),
    ],
)  # fmt: skip
def test_best_is_the_lowest_loss_at_full_weight_and_two_such_epochs_without_a_lower_one_stop(
    overrides: tuple[str, ...], losses: list[float], weights: list[float], best: list[int], stopped: int,
    data: Data,
) -> None:  # fmt: skip
    asked = settings(*TINY, *overrides, "early_stopping=2")
    state, found, complete = fresh(asked, data), [], []
    for loss, weight in zip(losses, weights, strict=True):
        state.end_epoch({"val/loss": loss, "val/neg_elbo": -loss, "kl_weight": weight}, asked)
        found.append(state.best_epoch)
        if is_complete(state, asked):
            complete.append(state.epoch)
    assert (found, complete) == (best, [stopped] if stopped else [])


def test_with_free_bits_images_are_scored_in_batches_as_they_are_trained_on(data: Data) -> None:
    asked = settings(*TINY, "epochs=1", "loss.free_bits=2", "model.latent_dim=4")
    state = fresh(asked, data)
    (row,) = fit(state, data, asked)
    scored = bound(state.model, state.objective, data.scored, asked.seed, batch=asked.batch_size)
    kl_NL = scored.posterior.kl_per_dimension()
    batches = [part for block in kl_NL.split(BATCH) for part in block.split(asked.batch_size)]
    minimised = [len(kl_BL) * kl_BL.mean(dim=0).clamp(min=2).sum().item() for kl_BL in batches]
    expected = row["val/reconstruction"] + sum(minimised) / len(kl_NL)
    assert row["val/loss"] == pytest.approx(expected)
    assert row["val/neg_elbo"] == scored.averages()["neg_elbo"]


def test_drawing_is_not_training_time_and_an_interruption_loses_no_time(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(*TINY, "epochs=1")
    state = fresh(config, data)
    now = [0.0]
    monkeypatch.setattr("vaelab.training.state.time", SimpleNamespace(perf_counter=lambda: now[0]))

    def look_draw_and_stop(state: TrainingState) -> None:
        now[0] += 1
        with state.not_timed():
            now[0] += 100
            if state.step == 2:
                raise Stop
        raise Stop

    for step in (1, 2, 3):
        with pytest.raises(Stop):
            fit(state, data, config, [AtStep(look_draw_and_stop)])
        assert (state.step, state.seconds) == (step, step)


@pytest.mark.parametrize("model", models.names())
def test_bf16_trains_close_to_fp32(model: str, data: Data) -> None:
    losses, data = [], few(data)
    for precision in ("fp32", "bf16"):
        config = settings(*TINY, f"model={model}", SMALL[model], "epochs=4", "optimizer.lr=3e-3",
                          f"precision={precision}")  # fmt: skip
        losses.append([row["val/neg_elbo"] for row in fit(fresh(config, data), data, config)])
    (first, *_, fp32), (*_, bf16) = losses
    assert fp32 < 0.9 * first  # five times what they may differ by
    assert bf16 != fp32
    assert bf16 == pytest.approx(fp32, rel=0.02)


def test_a_loss_that_is_not_finite_names_epoch_step_and_terms(data: Data) -> None:
    config, data = settings(*TINY, "epochs=2"), few(data)
    state = fresh(config, data)

    def poison(now: TrainingState) -> None:
        if now.epoch == 1 and now.step == 3:
            with torch.no_grad():
                next(now.model.parameters()).fill_(math.nan)

    with pytest.raises(TrainingDiverged) as error:
        fit(state, data, config, [AtStep(poison), CheckFinite(config)])
    assert (
        str(error.value)
        == "The loss is not finite in epoch 2, step 4 (reconstruction nan, kl nan, kl_weight 1)"
    )
    assert state.epoch == 1


def test_broken_weights_after_the_last_step_are_noticed_too(data: Data) -> None:
    config = settings(*TINY, "epochs=1")
    state = fresh(config, data)

    def poison(now: TrainingState) -> None:
        if now.step == now.steps_per_epoch:
            with torch.no_grad():
                next(now.model.parameters()).fill_(math.inf)

    with pytest.raises(TrainingDiverged):
        fit(state, data, config, [AtStep(poison), CheckFinite(config)])


@pytest.mark.parametrize("overrides", [
    ("batch_size=1000",), ("batch_size=1", SMALL["mlp"]), ("model.latent_dim=1",),
    ("model=conv", SMALL["conv"], "model.latent_dim=512"), ("optimizer.lr=0.3",),
])  # fmt: skip
def test_unusual_sizes_give_finite_numbers(overrides: tuple[str, ...], data: Data) -> None:
    config, data = settings(*TINY, "epochs=1", *overrides), few(data)
    (row,) = fit(fresh(config, data), data, config)
    assert all(map(math.isfinite, row.values()))
