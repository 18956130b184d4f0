"""Step sizes, gradients, averaged weights and early stopping, each resumed bit for bit."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from harness import TINY, fresh, settings
from training_helpers import SMALL, AtStep, Stop, assert_same, few
from vaelab.config import ConfigError
from vaelab.data.splits import Data
from vaelab.objectives.scoring import bound
from vaelab.runs.folder import RunFolder
from vaelab.training import checkpoint
from vaelab.training.callbacks import CheckFinite, DropTinyMoments, LogEpochs
from vaelab.training.examples import ExampleImages
from vaelab.training.loop import fit
from vaelab.training.optimization import clip, learning_rate
from vaelab.training.snapshots import AnimationFrames
from vaelab.training.state import TrainingDiverged, TrainingState


@pytest.mark.parametrize("overrides", [
    ("model=mlp",), ("model=conv",), pytest.param(("model=resnet",), marks=pytest.mark.slow), ("model=mlp", "dataset.binarize=dynamic"), ("model=mlp", "loss.likelihood=gaussian"),
    ("loss=geco",), ("loss=iwae", "loss.objective.dreg=true"), ("loss=beta_tcvae",), ("loss=mmd_vae",),
    ("loss=capacity",),
    ("model=conv", "optimizer.weight_average=0.9", "optimizer.schedule=cosine", "optimizer.clip_norm=30"),
    ("loss.likelihood=gaussian", "optimizer.weight_average=0.9"),
])  # fmt: skip
def test_stopping_at_any_step_and_going_on_equals_never_stopping(
    overrides: tuple[str, ...], data: Data, tmp_path: Path
) -> None:
    model = next((each.partition("=")[2] for each in overrides if each.startswith("model=")), "mlp")
    config, data = settings(*TINY, *overrides, SMALL[model], "epochs=2"), few(data)
    if "dataset.binarize=dynamic" in overrides:
        data = replace(
            data, train=replace(data.train, dynamic=True), scored=replace(data.scored, dynamic=True)
        )
    undisturbed = fresh(config, data)
    fit(undisturbed, data, config)
    last = undisturbed.steps_per_epoch
    for epoch, step in ((0, 1), (0, last), (1, last // 2)):
        state = fresh(config, data)

        def stop(now: TrainingState, at: tuple[int, int] = (epoch, step)) -> None:
            if (now.epoch, now.step) == at:
                raise Stop

        with pytest.raises(Stop):
            fit(state, data, config, [AtStep(stop)])
        path = tmp_path / "x.safetensors"
        path.write_bytes(checkpoint.encode(checkpoint.content_of(state, config, data)))
        resumed = fresh(config, data)
        checkpoint.restore(checkpoint.load(path), resumed, config, data)
        fit(resumed, data, config)
        assert_same(undisturbed, resumed)


def test_the_learning_rate_follows_its_schedule_and_warm_up() -> None:
    rates = {
        "constant": [1, 1, 1, 1, 1], "cosine": [1, 0.853553, 0.5, 0.146447, 0], "step": [1, 1, 0.1, 0.01, 0.01]
    }  # fmt: skip
    for schedule, expected in rates.items():
        config = settings("epochs=8", f"optimizer.schedule={schedule}", "optimizer.lr=0.5")
        found = [learning_rate(config, epoch) / 0.5 for epoch in (0, 2, 4, 6, 8)]
        assert found == pytest.approx(expected, abs=1e-5)
    config = settings(
        "epochs=8", "optimizer.schedule=cosine", "optimizer.warmup_epochs=4", "optimizer.lr=0.5"
    )
    assert [learning_rate(config, epoch) for epoch in (0, 2, 4, 6)] == pytest.approx([0, 0.25, 0.5, 0.25])


def test_a_gradient_is_scaled_to_the_largest_norm_and_dropped_where_it_is_not_finite() -> None:
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    for gradient, expected, counts in (
        ([3.0, 0.0, 4.0], [0.6, 0.0, 0.8], (1, 0)), ([0.3, 0.0, 0.4], [0.3, 0.0, 0.4], (0, 0)),
        ([math.nan, 1.0, 1.0], [0.0, 0.0, 0.0], (0, 1)), ([math.inf, 1.0, 1.0], [0.0, 0.0, 0.0], (0, 1)),
    ):  # fmt: skip
        weights[0].grad, weights[1].grad = torch.tensor(gradient[:2]), torch.tensor(gradient[2:])
        clipped, skipped = clip(weights, 1.0)
        found = torch.cat([weights[0].grad, weights[1].grad])
        torch.testing.assert_close(found, torch.tensor(expected))
        assert (clipped.item(), skipped.item()) == counts


def test_a_gradient_that_is_not_finite_is_skipped_and_counted(
    data: Data, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings(*TINY, "epochs=2", "optimizer.clip_norm=1000")
    state = fresh(config, data)
    hooked = next(state.model.parameters())
    poisoned = {2, 5, *range(state.steps_per_epoch, 2 * state.steps_per_epoch)}
    hooked.register_hook(lambda gradient: gradient * math.nan if state.total_steps in poisoned else gradient)
    caplog.set_level("INFO", "vaelab.training")
    with pytest.raises(TrainingDiverged, match="No gradient of epoch 2 is finite"):
        fit(state, data, config, [CheckFinite(config), LogEpochs(config, "val", brief=False)])
    (row,) = state.history
    assert "  zeroed gradients 2  " in caplog.text
    assert (row["zeroed_gradients"], row["clipped_gradients"] >= 0) == (2, True)
    assert all(map(math.isfinite, row.values()))


@pytest.mark.parametrize("overrides", [(), ("loss.likelihood=gaussian",), ("loss=geco",)])
def test_the_average_of_the_weights_is_what_is_scored_and_saved(
    overrides: tuple[str, ...], data: Data
) -> None:
    data = few(data)
    without = settings(*TINY, "epochs=1", *overrides)
    config = settings(*TINY, "epochs=1", *overrides, "optimizer.weight_average=0.5")
    state, plain = fresh(config, data), fresh(without, data)
    (row,), (other,) = fit(state, data, config), fit(plain, data, without)
    assert_same(replace(state, history=[]), replace(plain, history=[]))  # it changes nothing that is learned
    assert row["train/loss"] == other["train/loss"]
    assert row["val/loss"] != other["val/loss"]
    scored = bound(*state.evaluated, data.scored, config.seed)
    assert row["val/neg_elbo"] == scored.averages()["neg_elbo"]
    saved = checkpoint.model_of(checkpoint.content_of(state, config, data))
    for module, averaged, trained in zip(saved, state.evaluated, (state.model, state.objective), strict=True):
        for name, average in averaged.named_parameters():
            assert torch.equal(module.get_parameter(name), average)
            assert not torch.equal(average, trained.get_parameter(name))
        if module is saved[1]:  # such as the multiplier of GECO
            assert all(map(torch.equal, module.buffers(), trained.buffers()))


def test_early_stopping_ends_a_training_that_gets_no_better(data: Data, tmp_path: Path) -> None:
    config = settings(
        *TINY, "epochs=30", "early_stopping=2", "optimizer.lr=0.05", "artifacts.every=0", "artifacts.gif=true"
    )
    data = few(data)
    state, folder = fresh(config, data), RunFolder(tmp_path)
    examples = ExampleImages(config, data, data.test, state.model, state.objective)
    rows = fit(state, data, config, [AnimationFrames(config, examples, folder)])
    assert folder.frame(state.total_steps).is_file()  # the animation ends with what the training ended with
    losses = [row["val/loss"] for row in rows]
    assert len(rows) < 30
    assert losses.index(min(losses)) == len(rows) - 3 == state.best_epoch - 1
    stopped, resumed = fresh(config, data), fresh(config, data)

    def stop(now: TrainingState) -> None:
        if now.total_steps == state.total_steps - 3:
            raise Stop

    with pytest.raises(Stop):
        fit(stopped, data, config, [AtStep(stop)])
    checkpoint.restore(checkpoint.content_of(stopped, config, data), resumed, config, data)
    fit(resumed, data, config)
    assert_same(state, resumed)
    assert resumed.best_epoch == state.best_epoch
    with pytest.raises(ConfigError, match=r"early_stopping with dataset\.val_size=0"):
        settings("early_stopping=1", "dataset.val_size=0")


def test_tiny_moments_are_dropped_without_changing_a_weight(data: Data) -> None:
    config, data = settings(*TINY, "epochs=1"), few(data)
    states = fresh(config, data), fresh(config, data)
    for state in states:
        fit(state, data, config)
        for moments in state.optimizer.state.values():
            for name, tiny in (("exp_avg", -1e-35), ("exp_avg_sq", 1e-42)):
                moments[name].view(-1)[::2] = tiny
        state.step = 100 - state.total_steps
    before = [
        {name: each.clone() for name, each in moments.items()} for moments in state.optimizer.state.values()
    ]
    DropTinyMoments().on_step(states[0])
    for moments, old in zip(states[0].optimizer.state.values(), before, strict=True):
        for name in ("exp_avg", "exp_avg_sq"):
            assert moments[name].view(-1)[::2].count_nonzero() == 0
            assert torch.equal(moments[name].view(-1)[1::2], old[name].view(-1)[1::2])
    for state in states:
        state.step = 0
        fit(state, data, settings(*TINY, "epochs=3"))
    assert_same(*states)


def test_resuming_equals_never_stopping_where_tiny_moments_are_dropped(data: Data, tmp_path: Path) -> None:
    config, data = settings(*TINY, SMALL["mlp"], "epochs=3", "batch_size=4"), few(data)
    undisturbed, stopped, resumed = (fresh(config, data) for _ in range(3))
    fit(undisturbed, data, config, [DropTinyMoments()])

    def stop(now: TrainingState) -> None:
        if now.total_steps == 150:
            raise Stop

    with pytest.raises(Stop):
        fit(stopped, data, config, [DropTinyMoments(), AtStep(stop)])
    path = tmp_path / "x.safetensors"
    path.write_bytes(checkpoint.encode(checkpoint.content_of(stopped, config, data)))
    checkpoint.restore(checkpoint.load(path), resumed, config, data)
    fit(resumed, data, config, [DropTinyMoments()])
    assert_same(undisturbed, resumed)
    for a, b in zip(undisturbed.optimizer.state.values(), resumed.optimizer.state.values(), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
