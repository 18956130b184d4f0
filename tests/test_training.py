"""The loop, with no disk at all: it learns, its rows add up, its streams are apart, it stops and goes on."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import TINY, fresh, settings
from vaelab.data.splits import Data, Split
from vaelab.figures import style
from vaelab.models import names
from vaelab.objectives.scoring import bound
from vaelab.runs.folder import RunFolder
from vaelab.runs.random_streams import stream
from vaelab.training import checkpoint
from vaelab.training.loop import Record, TrainingDiverged, TrainingState, fit
from vaelab.training.snapshots import Snapshots, read_frame

TIMES = {"images_per_second", "seconds"}


def without_times(history: list[Record]) -> list[Record]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in history]


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    return {**state.model.state_dict(), **state.objective.state_dict()}


def assert_same(left: TrainingState, right: TrainingState) -> None:
    assert without_times(left.history) == without_times(right.history)
    for (name, a), b in zip(weights(left).items(), weights(right).values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "gaussian"])
@pytest.mark.parametrize("model", names())
def test_one_batch_can_be_overfitted(model: str, likelihood: str, data: Data) -> None:
    asked = settings(*TINY, f"model={model}", "model.latent_dim=8", "epochs=120", "batch_size=16",
                     f"loss.likelihood={likelihood}", "kl=false", "optimizer.lr=3e-3")  # fmt: skip
    few = Split("train", data.train.images[:16], data.train.labels[:16])
    rows = list(fit(fresh(asked, data := replace_train(data, few)), data, asked))
    assert rows[-1]["train/reconstruction"] < rows[0]["train/reconstruction"] - 150


def replace_train(data: Data, train: Split) -> Data:
    """The same data with few images to train and to score on."""
    return replace(data, train=train, held_out=replace(train, name="val"))


def test_rows_add_up(data: Data) -> None:
    asked = settings(*TINY, "epochs=3", "beta=0.5", "loss.kl_warmup_epochs=1")
    rows = list(fit(fresh(asked, data), data, asked))
    steps = math.ceil(len(data.train) / asked.batch_size)
    assert [row["kl_weight"] for row in rows] == pytest.approx([0.5 * (1 - 1 / steps), 0.5, 0.5])
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        for split in ("train", "val"):
            reconstruction, kl = row[f"{split}/reconstruction"], row[f"{split}/kl"]
            assert row[f"{split}/neg_elbo"] == pytest.approx(reconstruction + kl)
            if split == "train" and row["epoch"] == 1:
                continue  # the weight changed at each of its steps
            assert row[f"{split}/loss"] == pytest.approx(reconstruction + row["kl_weight"] * kl, rel=1e-5)
    assert list(rows[0]) == [
        "epoch",
        *(f"{split}/{term}" for split in ("train", "val") for term in ("loss", "reconstruction", "kl", "neg_elbo")),
        "kl_weight", "active_units", "images_per_second", "seconds",
    ]  # fmt: skip


@pytest.mark.parametrize("model", names())
def test_same_seed_same_bits_and_another_seed_others(model: str, data: Data) -> None:
    states = []
    for seed in (1, 1, 2):
        asked = settings(*TINY, f"model={model}", "epochs=2", f"seed={seed}")
        states.append(fresh(asked, data))
        list(fit(states[-1], data, asked))
    assert_same(states[0], states[1])
    assert without_times(states[0].history) != without_times(states[2].history)


def test_beta_zero_trains_as_recon_only(data: Data) -> None:
    states = []
    for override in ("beta=0", "kl=false"):
        asked = settings(*TINY, "epochs=2", override)
        states.append(fresh(asked, data))
        list(fit(states[-1], data, asked))
    assert_same(*states)


def test_what_is_drawn_never_moves_the_loss_curve(data: Data, tmp_path: Path) -> None:
    asked = settings(*TINY, "model=conv", "epochs=2", "artifacts.gif_every_batches=2")
    plain, drawn = fresh(asked, data), fresh(asked, data)
    list(fit(plain, data, asked))
    snapshots = Snapshots(asked, data, RunFolder(tmp_path), drawn.model, drawn.objective)
    for _ in fit(drawn, data, asked, snapshots.after_step):
        snapshots.after_epoch(drawn)
    assert_same(plain, drawn)
    assert len(list(tmp_path.rglob("*.png"))) == 6


def test_all_latent_plots_share_the_last_ones_axes(data: Data, tmp_path: Path) -> None:
    """In one session and in a later one that goes on: with 3 dimensions, the plane turns with each epoch."""
    asked = settings(
        *TINY, "epochs=2", "model.latent_dim=3", "artifacts.every=1", "artifacts.gif=false", "kl=false"
    )
    state, folder = fresh(asked, data), RunFolder(tmp_path)
    for epochs in (2, 3):
        snapshots = Snapshots(asked, data, folder, state.model, state.objective)
        for _ in fit(state, data, asked.replace(epochs=epochs)):
            snapshots.after_epoch(state)
        snapshots.finish(state, lambda name: None)
        frames = [
            read_frame(folder, epoch * state.steps_per_epoch).means_NL for epoch in range(1, epochs + 1)
        ]
        view = snapshots.gallery.view_of(frames)
        for epoch, means in enumerate(frames, 1):
            title = f"Latent space after epoch {epoch}"
            plot = snapshots.gallery.latent_plot(means, view, title, coloured=True)
            assert folder.picture("latent", epoch).read_bytes() == style.png(plot.figure), epoch


def test_scoring_later_gives_the_number_of_training(data: Data) -> None:
    asked = settings(*TINY, "model=conv", "epochs=1")
    state = fresh(asked, data)
    (row,) = fit(state, data, asked)
    averages = bound(state.model, state.objective, data.held_out, asked.seed).averages()
    assert {f"val/{term}": value for term, value in averages.items()}.items() <= row.items()


def test_without_held_out_images_the_test_set_is_scored_and_nothing_chosen(data: Data) -> None:
    asked = settings(*TINY, "epochs=3", "dataset.val_size=0")
    state = fresh(asked, data)
    for row in fit(state, replace(data, held_out=data.test), asked):
        assert row["test/neg_elbo"] > 0
        assert state.best_epoch == row["epoch"]
    assert state.best_neg_elbo == math.inf


def test_best_is_chosen_on_held_out_images_after_the_warmup(data: Data) -> None:
    asked = settings(*TINY, "epochs=4", "loss.kl_warmup_epochs=2", "optimizer.lr=0.02")
    state = fresh(asked, data)
    rows = list(fit(state, data, asked))
    eligible = {row["val/neg_elbo"]: row["epoch"] for row in rows[2:]}
    assert state.best_epoch == eligible[min(eligible)]
    assert state.best_neg_elbo == min(eligible)


class Stop(Exception):
    pass


@pytest.mark.parametrize("overrides", [
    ("model=mlp",), ("model=conv",), ("model=mlp", "dataset.binarize=dynamic", "loss.likelihood=gaussian"),
])  # fmt: skip
def test_stopping_at_any_step_and_going_on_equals_never_stopping(
    overrides: tuple[str, ...], data: Data, tmp_path: Path
) -> None:
    asked = settings(*TINY, *overrides, "epochs=2")
    if "dataset.binarize=dynamic" in overrides:
        data = replace(
            data, train=replace(data.train, dynamic=True), held_out=replace(data.held_out, dynamic=True)
        )
    undisturbed = fresh(asked, data)
    list(fit(undisturbed, data, asked))
    last = undisturbed.steps_per_epoch
    for epoch, step in ((0, 1), (0, last), (1, last // 2)):
        state = fresh(asked, data)

        def stop(now: TrainingState, at: tuple[int, int] = (epoch, step)) -> None:
            if (now.epoch, now.step) == at:
                raise Stop

        with pytest.raises(Stop):
            list(fit(state, data, asked, stop))
        path = tmp_path / "x.safetensors"
        path.write_bytes(checkpoint.encode(checkpoint.content_of(state, asked, data)))
        resumed = fresh(asked, data)
        checkpoint.restore(checkpoint.load(path), resumed, asked, data)
        list(fit(resumed, data, asked))
        assert_same(undisturbed, resumed)


def test_drawing_is_no_training_time_and_no_time_is_lost_by_an_interruption(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(*TINY, "epochs=1")
    state = fresh(asked, data)
    now = [0.0]
    monkeypatch.setattr("vaelab.training.loop.time", SimpleNamespace(perf_counter=lambda: now[0]))

    def look_draw_and_stop(state: TrainingState) -> None:
        now[0] += 1
        with state.not_training():
            now[0] += 100
        raise Stop

    for step in (1, 2, 3):
        with pytest.raises(Stop):
            list(fit(state, data, asked, look_draw_and_stop))
        assert (state.step, state.seconds) == (step, step)


@pytest.mark.parametrize("model", names())
def test_bf16_trains_close_to_fp32(model: str, data: Data) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        asked = settings(*TINY, f"model={model}", "epochs=3", f"precision={precision}")
        losses.append([row["val/neg_elbo"] for row in fit(fresh(asked, data), data, asked)][-1])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_loss_that_is_not_finite_names_epoch_step_and_terms(data: Data) -> None:
    asked = settings(*TINY, "epochs=2")
    state = fresh(asked, data)

    def poison(now: TrainingState) -> None:
        if now.epoch == 1 and now.step == 3:
            with torch.no_grad():
                next(now.model.parameters()).fill_(math.nan)

    with pytest.raises(TrainingDiverged) as error:
        list(fit(state, data, asked, poison))
    assert (
        str(error.value)
        == "The loss is not finite in epoch 2, step 4 (reconstruction nan, kl nan, kl weight 1)"
    )
    assert state.epoch == 1


def test_broken_weights_after_the_last_step_are_noticed_too(data: Data) -> None:
    asked = settings(*TINY, "epochs=1")
    state = fresh(asked, data)

    def poison(now: TrainingState) -> None:
        if now.step == now.steps_per_epoch:
            with torch.no_grad():
                next(now.model.parameters()).fill_(math.inf)

    with pytest.raises(TrainingDiverged):
        list(fit(state, data, asked, poison))


@pytest.mark.parametrize("overrides", [
    ("batch_size=1000",), ("batch_size=1", "dataset.val_size=1990"), ("model.latent_dim=1",),
    ("model=conv", "model.latent_dim=512"), ("optimizer.lr=0.3",),
])  # fmt: skip
def test_unusual_sizes_give_finite_numbers(overrides: tuple[str, ...]) -> None:
    from vaelab.data import splits

    asked = settings(*TINY, "epochs=1", *overrides)
    data = splits.load(asked.dataset, torch.device("cpu"))
    (row,) = fit(fresh(asked, data), data, asked)
    assert all(map(math.isfinite, row.values()))


def test_training_imports_no_compiler() -> None:
    """torch._dynamo takes more than a second, and only torch.compile needs it."""
    code = """
import sys, torch
from vaelab.training.adam import Adam
layer = torch.nn.Linear(2, 1)
optimizer = Adam(layer.parameters(), fused=True)
for _ in range(2):
    optimizer.zero_grad(set_to_none=True)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_adam_is_pytorchs(data: Data) -> None:
    ours, theirs = (fresh(settings(*TINY), data) for _ in range(2))
    theirs.optimizer = torch.optim.Adam(theirs.model.parameters(), lr=1e-3, fused=True)
    x = data.train.batch(slice(0, 64), stream(0, "none"))
    for state in (ours, theirs):
        for _ in range(5):
            state.optimizer.zero_grad(set_to_none=True)
            logits, _ = state.model(x, stream(0, "latent"))
            (-state.objective.likelihood.log_prob(logits, x)).mean().backward()
            state.optimizer.step()
    for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(a, b)
