"""The loop, with no disk at all: it learns, its rows add up, its streams are independent, it stops and continues."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from conftest import TINY, fresh, settings
from vaelab.config import Config, ConfigError
from vaelab.data.splits import Data, Split
from vaelab.figures import style
from vaelab.models import names
from vaelab.objectives.scoring import BATCH, bound
from vaelab.runs.folder import RunFolder
from vaelab.training import checkpoint, snapshots
from vaelab.training.callbacks import Callback, CheckFinite, DropTinyMoments
from vaelab.training.examples import ExampleImages
from vaelab.training.loop import fit
from vaelab.training.optimization import clip, learning_rate
from vaelab.training.snapshots import AnimationFrames, EpochFigures, FinalFigures, read_frame
from vaelab.training.state import Record, TrainingDiverged, TrainingState

TIMES = {"images_per_second", "seconds"}


class AtStep(Callback):
    """Calls a function after every step."""

    def __init__(self, call: Callable[[TrainingState], object]) -> None:
        self.on_step = call  # type: ignore[method-assign,assignment]


class AtEpoch(Callback):
    """Calls a function after every epoch."""

    def __init__(self, call: Callable[[TrainingState], object]) -> None:
        self.on_epoch = call  # type: ignore[method-assign,assignment]


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
    config = settings(*TINY, f"model={model}", "model.latent_dim=8", "epochs=120", "batch_size=16",
                     f"loss.likelihood={likelihood}", "kl=false", "optimizer.lr=3e-3")  # fmt: skip
    few = Split("train", data.train.images[:16], data.train.labels[:16])
    rows = fit(fresh(config, data := replace_train(data, few)), data, config)
    assert rows[-1]["train/reconstruction"] < rows[0]["train/reconstruction"] - 150


def replace_train(data: Data, train: Split) -> Data:
    """The same data with few images to train and to score on."""
    return replace(data, train=train, scored=replace(train, name="val"))


def test_rows_add_up(data: Data) -> None:
    config = settings(*TINY, "epochs=3", "beta=0.5", "loss.warmup_epochs=1")
    state = fresh(config, data)
    rows = fit(state, data, config)
    last = 1 - 1 / state.steps_per_epoch
    assert [row["kl_weight"] for row in rows] == [0.5 * last, 0.5, 0.5]
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
        "kl_weight", "active_units", "images_per_second", "seconds",
    ]  # fmt: skip


@pytest.mark.parametrize("model", names())
def test_same_seed_same_bits_and_another_seed_others(model: str, data: Data) -> None:
    states = []
    for seed in (1, 1, 2):
        config = settings(*TINY, f"model={model}", "epochs=2", f"seed={seed}")
        states.append(fresh(config, data))
        fit(states[-1], data, config)
    assert_same(states[0], states[1])
    assert without_times(states[0].history) != without_times(states[2].history)


def test_beta_zero_trains_as_recon_only(data: Data) -> None:
    states = []
    for override in ("beta=0", "kl=false"):
        config = settings(*TINY, "epochs=2", override)
        states.append(fresh(config, data))
        fit(states[-1], data, config)
    assert_same(*states)


def drawing(config: Config, data: Data, folder: RunFolder, state: TrainingState) -> list[Callback]:
    """The callbacks that draw while training."""
    examples = ExampleImages(config, data, data.test, state.model, state.objective)
    return [AnimationFrames(config, examples, folder), EpochFigures(config, examples, folder)]


def test_what_is_drawn_never_moves_the_loss_curve(data: Data, tmp_path: Path) -> None:
    config = settings(*TINY, "model=conv", "epochs=2", "artifacts.gif_every_batches=2")
    plain, drawn = fresh(config, data), fresh(config, data)
    fit(plain, data, config)
    fit(drawn, data, config, drawing(config, data, RunFolder(tmp_path), drawn))
    assert_same(plain, drawn)
    assert len(list(tmp_path.rglob("*.png"))) == 6


@pytest.mark.parametrize(
    ("every", "expected"), [(1, range(0, 103, 2)), (3, range(0, 103, 3)), (0, (0, 34, 68)), (500, (0,))]
)
def test_frames_are_evenly_spaced_over_the_whole_training(
    data: Data, tmp_path: Path, every: int, expected: Iterable[int]
) -> None:
    """At most 64 of them, beside those of epochs with figures, which are of all images, and of the end."""
    config = settings(
        *TINY, "epochs=3", "batch_size=16", "artifacts.every=2", f"artifacts.gif_every_batches={every}"
    )
    state, folder = fresh(config, data), RunFolder(tmp_path)
    assert state.steps_per_epoch == 34
    fit(state, data, config, drawing(config, data, folder, state))
    assert [step for step, _ in folder.numbered("latent/frames")] == sorted({*expected, 68, 102})
    for step, count in ((0, 5), (68, len(data.test))):
        assert len(read_frame(folder, step, count).means_NL) == count


def test_a_video_that_cannot_be_made_is_announced(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(snapshots, "ffmpeg", lambda: None)
    for setting in ("auto", "true"):
        config = settings(*TINY, f"artifacts.mp4={setting}")
        state = fresh(config, data)
        examples = ExampleImages(config, data, data.test, state.model, state.objective)
        FinalFigures(config, examples, RunFolder(tmp_path)).on_start(state)
    assert caplog.messages == [
        "artifacts.mp4=true requires ffmpeg, or pip install 'vaelab[video]': there will be no latent_evolution.mp4."
    ]


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_headings_of_image_grids(data: Data) -> None:
    """One for each row; a number is not repeated; a class is named once above its images."""
    config = settings(*TINY)
    state = fresh(config, data)
    examples = ExampleImages(config, data, data.test, state.model, state.objective)
    images = data.test.batch(slice(0, 30), torch.Generator())
    pairs = examples.pairs(images, data.test.labels[:30])
    assert texts_of(pairs)[2:] == ["original", "reconstruction"] * 2
    assert texts_of(pairs)[0] == "16 test images and their reconstructions"
    assert (
        texts_of(examples.pairs(images[:3], data.test.labels[:3]))[0]
        == "3 test images and their reconstructions"
    )
    nats_N = torch.linspace(100, 200, 30)
    nats_N[:10] = 99.6
    labels = texts_of(examples.ranking(images, data.test.labels[:30], nats_N))[2:8]
    assert labels == ["best", "100 nats", "median", "134 to 166 nats", "worst", "169 to 200 nats"]
    columns = examples.reconstructions("Title").figure
    assert [text for text in texts_of(columns) if text in ("Trouser", "Sneaker")] == ["Trouser", "Sneaker"]


def test_all_latent_plots_share_the_last_ones_axes(data: Data, tmp_path: Path) -> None:
    """In one session and in a later one that continues: with 3 dimensions, the plane turns with each epoch."""
    config = settings(
        *TINY, "epochs=2", "model.latent_dim=3", "artifacts.every=1", "artifacts.gif=false", "kl=false"
    )
    state, folder = fresh(config, data), RunFolder(tmp_path)
    for epochs in (2, 3):
        callbacks = drawing(config, data, folder, state)
        fit(state, data, config.replace(epochs=epochs), callbacks)
        for callback in callbacks:
            callback.on_end(state, {"status": "finished"})
        frames = [
            read_frame(folder, epoch * state.steps_per_epoch).means_NL for epoch in range(1, epochs + 1)
        ]
        examples = ExampleImages(config, data, data.test, state.model, state.objective)
        view = examples.view_of(frames)
        for epoch, means in enumerate(frames, 1):
            title = f"Latent space after epoch {epoch}"
            plot = examples.latent_plot(means, view, title, coloured=True)
            assert folder.image("latent", epoch).read_bytes() == style.png(plot.figure), epoch


def examples_at(data: Data, means_NL: np.ndarray, *overrides: str) -> tuple[ExampleImages, dict[str, Any]]:
    """Example images whose posterior means are these; what is decoded of them, and the captions, are kept."""
    config = settings(*TINY, "model=mlp", f"model.latent_dim={means_NL.shape[1]}", *overrides)
    state = fresh(config, data)
    examples, kept = ExampleImages(config, data, data.test, state.model, state.objective), {}
    decode = examples.decoded_grid

    def decoded_grid(z_RCL: torch.Tensor, labels: Any) -> np.ndarray:
        kept["z"] = z_RCL.numpy()
        return decode(z_RCL, labels)

    examples.means = lambda: means_NL  # type: ignore[method-assign]
    examples.decoded_grid = decoded_grid  # type: ignore[method-assign]
    return examples, kept


def caption(figure: Figure) -> str:
    return figure.texts[-1].get_text().replace("\n", " ")


def test_the_manifold_goes_where_the_posterior_means_are(data: Data) -> None:
    """Over the prior's quantiles where they are distributed alike, else over their own."""
    means = np.random.default_rng(0).normal(size=(400, 2))
    examples, kept = examples_at(data, means)
    text = caption(examples.manifold())
    assert kept["z"].shape == (15, 15, 2)
    assert np.abs(kept["z"]).max() == pytest.approx(1.834, abs=1e-3)
    assert kept["z"][0, 0].tolist() == [-kept["z"][-1, -1, 0], kept["z"][0, -1, 1]]  # z₂ upwards
    assert text.endswith("in equal steps of the prior's probability")
    means = 10 * means + [30, 0]
    examples, kept = examples_at(data, means, "kl=false")
    text = caption(examples.manifold())
    for dimension in (0, 1):
        inside = (means[:, dimension] < kept["z"][7, 7, dimension]).mean()
        assert inside == pytest.approx(0.5, abs=0.01)
        assert (means[:, dimension] < kept["z"][0, -1, dimension]).mean() == pytest.approx(
            1 - 0.5 / 15, abs=0.01
        )
    share = (np.abs(means) <= 1.8339).all(axis=1).mean()
    assert text.endswith(
        "in equal steps of the posterior means' probability: "
        f"only {100 * share:.0f} % of them are within the prior's steps, from −1.83 to 1.83"
    )


def test_all_figures_of_many_dimensions_have_the_same_directions(data: Data) -> None:
    """Three of eight, turned, in which images differ: latent plot, manifold and traversals agree on them."""
    generator = np.random.default_rng(0)
    turn = np.linalg.qr(generator.normal(size=(8, 8)))[0]
    means = (generator.normal(size=(400, 8)) * [1, 0.8, 0.5, *[1e-3] * 5]) @ turn.T
    examples, kept = examples_at(data, means)
    plane = examples.view_of([means]).plane
    assert np.abs(plane.T @ turn[:, :2]) == pytest.approx(np.eye(2), abs=0.2)
    examples.manifold()
    corner = kept["z"][0, -1]  # to the right and upwards
    assert plane.T @ corner == pytest.approx([1.834, 1.834], abs=1e-3)
    assert plane @ (plane.T @ corner) == pytest.approx(corner)
    figure = examples.traversals()
    assert kept["z"].shape == (3, 9, 8)
    assert kept["z"][0, -1] == pytest.approx(3 * plane[:, 0])
    assert kept["z"][1, 0] == pytest.approx(-3 * plane[:, 1])
    labels = [text.get_text().replace("\n", ", ") for text in figure.texts[2:4]]
    names = examples.view_of([means]).names
    assert (labels[0], labels[1]) == names
    shares = 100 * (means @ plane).var(axis=0) / means.var(axis=0).sum()
    assert names[0] == f"1st principal direction, {shares[0]:.0f} % of variance"
    assert caption(figure).endswith(
        "3 of 8 directions are drawn: the variance of the posterior means along the others is at most 1 % of all"
    )


def test_figures_that_would_teach_nothing_are_left_out_and_the_log_says_why(
    data: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    examples, _ = examples_at(data, np.full((len(data.test), 8), 0.5))
    state = fresh(examples.config, data)
    fit(state, data, examples.config)
    folder = RunFolder(tmp_path)
    folder.write(folder.figure("latent_manifold.png"), b"of an earlier session")
    config = examples.config.replace(artifacts=examples.config.artifacts.replace(gif=False))
    with caplog.at_level("INFO", logger="vaelab.training"):
        FinalFigures(config, examples, folder).on_end(state, {"status": "finished"})
    assert "latent_space.png" in {path.name for path in (tmp_path / "figures").iterdir()}
    assert not folder.figure("latent_manifold.png").exists()
    (message,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert message == (
        "latent_manifold.png is left out: the posterior means of the test images are nearly the same, with a variance of "
        "at most 0.01 along every direction."
    )


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_the_final_picture_of_many_dimensions(data: Data, method: str) -> None:
    """Two clusters in five dimensions stay apart in an embedding, which has no place for the prior."""
    clusters = np.random.default_rng(0).normal(size=(60, 5)) + 20 * np.repeat([[0], [1]], 30, axis=0)
    examples, _ = examples_at(data, clusters.astype(np.float32), f"artifacts.embedding={method}")
    points, view = examples.latent_picture()
    assert view.has_units == (method == "pca")
    if method == "tsne":
        assert np.abs(points).max() < view.limit
        apart = np.linalg.norm(points[:, None] - points, axis=2)
        assert apart[:30, :30].max() < apart[:30, 30:].max()
        nearest = np.where(np.eye(60, dtype=bool), np.inf, apart).argmin(axis=1)
        assert ((nearest < 30) == (np.arange(60) < 30)).all()
        assert view.names[0].startswith("t-SNE (")
        examples, _ = examples_at(data, clusters[:, :2].astype(np.float32), "artifacts.embedding=tsne")
        assert examples.latent_picture()[1].has_units


def test_scoring_later_gives_the_number_of_training(data: Data) -> None:
    config = settings(*TINY, "model=conv", "epochs=1")
    state = fresh(config, data)
    (row,) = fit(state, data, config)
    averages = bound(state.model, state.objective, data.scored, config.seed).averages()
    assert {f"val/{term}": value for term, value in averages.items()}.items() <= row.items()


def test_without_validation_images_the_test_set_is_scored_and_nothing_chosen(data: Data) -> None:
    config = settings(*TINY, "epochs=3", "dataset.val_size=0")
    state = fresh(config, data)
    best = []
    rows = fit(
        state, replace(data, scored=data.test), config, [AtEpoch(lambda now: best.append(now.best_epoch))]
    )
    assert all(row["test/neg_elbo"] > 0 for row in rows)
    assert best == [1, 2, 3]


def test_best_is_chosen_on_scored_images_after_the_warmup(data: Data) -> None:
    asked = settings(*TINY, "epochs=4", "loss.warmup_epochs=2", "optimizer.lr=0.02")
    state = fresh(asked, data)
    rows = fit(state, data, asked)
    eligible = {row["val/loss"]: row["epoch"] for row in rows[2:]}
    assert state.best_epoch == eligible[min(eligible)]


@pytest.mark.parametrize(
    ("overrides", "losses", "weights", "best"),
    [
        ((), [3, 1, 2], [1, 1, 1], [1, 2, 2]),
        (("beta=4",), [3, 1, 2], [4, 4, 4], [1, 2, 2]),
        (("kl=false",), [3, 1, 2], [0, 0, 0], [1, 2, 2]),
        (("loss.warmup_epochs=2",), [1, 2, 9, 8, 8.5], [0.4, 0.9, 1, 1, 1], [1, 2, 3, 4, 4]),
        (("loss.warmup_epochs=2",), [1, 2, 9, 3, 8], [0.4, 0.9, 1, 0.5, 1], [1, 2, 3, 3, 5]),  # cycles
    ],
)  # fmt: skip
def test_best_is_the_lowest_loss_at_full_weight(
    overrides: tuple[str, ...], losses: list[float], weights: list[float], best: list[int], data: Data
) -> None:
    asked = settings(*TINY, *overrides)
    state, found = fresh(asked, data), []
    for loss, weight in zip(losses, weights, strict=True):
        state.end_epoch({"val/loss": loss, "val/neg_elbo": -loss, "kl_weight": weight}, asked)
        found.append(state.best_epoch)
    assert found == best


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


class Stop(Exception):
    pass


@pytest.mark.parametrize("overrides", [
    ("model=mlp",), ("model=conv",), ("model=resnet",), ("model=mlp", "dataset.binarize=dynamic"), ("model=mlp", "loss.likelihood=gaussian"),
    ("loss=geco",), ("loss=iwae", "loss.objective.dreg=true"), ("loss=beta_tcvae",), ("loss=mmd_vae",),
    ("loss=capacity",),
    ("model=conv", "optimizer.weight_average=0.9", "optimizer.schedule=cosine", "optimizer.clip_norm=30"),
])  # fmt: skip
def test_stopping_at_any_step_and_going_on_equals_never_stopping(
    overrides: tuple[str, ...], data: Data, tmp_path: Path
) -> None:
    config = settings(*TINY, *overrides, "epochs=2")
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


def test_step_sizes_of_the_schedules() -> None:
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


def test_a_gradient_that_is_not_finite_is_survived_and_counted(data: Data) -> None:
    config = settings(*TINY, "epochs=1", "optimizer.clip_norm=1000")
    state = fresh(config, data)
    hooked = next(state.model.parameters())
    hooked.register_hook(lambda gradient: gradient * math.nan if state.step in (2, 5) else gradient)
    (row,) = fit(state, data, config, [CheckFinite(config)])
    assert (row["zeroed_gradients"], row["clipped_gradients"] >= 0) == (2, True)
    assert all(map(math.isfinite, row.values()))


def test_the_average_of_the_weights_is_what_is_scored_and_saved(data: Data) -> None:
    config = settings(*TINY, "epochs=1", "optimizer.weight_average=0.5")
    state, plain = fresh(config, data), fresh(settings(*TINY, "epochs=1"), data)
    (row,), (other,) = fit(state, data, config), fit(plain, data, settings(*TINY, "epochs=1"))
    for trained, same in zip(state.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(trained, same)  # the average changes nothing that is learned
    assert row["train/loss"] == other["train/loss"]
    assert row["val/loss"] != other["val/loss"]
    scored = bound(state.evaluated, state.objective, data.scored, config.seed)
    assert row["val/neg_elbo"] == scored.averages()["neg_elbo"]
    saved, _ = checkpoint.model_of(checkpoint.content_of(state, config, data))
    for kept, average in zip(saved.parameters(), state.evaluated.parameters(), strict=True):
        assert torch.equal(kept, average)


def test_early_stopping_ends_a_training_that_gets_no_better(data: Data, tmp_path: Path) -> None:
    config = settings(
        *TINY, "epochs=30", "early_stopping=2", "optimizer.lr=0.05", "artifacts.every=0", "artifacts.gif=true"
    )
    state, folder = fresh(config, data), RunFolder(tmp_path)
    examples = ExampleImages(config, data, data.test, state.model, state.objective)
    rows = fit(state, data, config, [AnimationFrames(config, examples, folder)])
    assert folder.frame(state.total_steps).is_file()  # the animation ends with what the training ended with
    losses = [row["val/loss"] for row in rows]
    assert len(rows) < 30
    assert losses.index(min(losses)) == len(rows) - 3 == state.best_epoch - 1
    with pytest.raises(ConfigError, match=r"early_stopping with dataset\.val_size=0"):
        settings("early_stopping=1", "dataset.val_size=0")


def test_drawing_is_no_training_time_and_no_time_is_lost_by_an_interruption(
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
        raise Stop

    for step in (1, 2, 3):
        with pytest.raises(Stop):
            fit(state, data, config, [AtStep(look_draw_and_stop)])
        assert (state.step, state.seconds) == (step, step)


@pytest.mark.parametrize("model", names())
def test_bf16_trains_close_to_fp32(model: str, data: Data) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        config = settings(*TINY, f"model={model}", "epochs=3", f"precision={precision}")
        losses.append([row["val/neg_elbo"] for row in fit(fresh(config, data), data, config)][-1])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_loss_that_is_not_finite_names_epoch_step_and_terms(data: Data) -> None:
    config = settings(*TINY, "epochs=2")
    state = fresh(config, data)

    def poison(now: TrainingState) -> None:
        if now.epoch == 1 and now.step == 3:
            with torch.no_grad():
                next(now.model.parameters()).fill_(math.nan)

    with pytest.raises(TrainingDiverged) as error:
        fit(state, data, config, [AtStep(poison), CheckFinite(config)])
    assert (
        str(error.value)
        == "The loss is not finite in epoch 2, step 4 (reconstruction nan, kl nan, kl weight 1)"
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
    ("batch_size=1000",), ("batch_size=1", "dataset.val_size=1990"), ("model.latent_dim=1",),
    ("model=conv", "model.latent_dim=512"), ("optimizer.lr=0.3",),
])  # fmt: skip
def test_unusual_sizes_give_finite_numbers(overrides: tuple[str, ...]) -> None:
    from vaelab.data import splits

    config = settings(*TINY, "epochs=1", *overrides)
    data = splits.load(config.dataset, torch.device("cpu"))
    (row,) = fit(fresh(config, data), data, config)
    assert all(map(math.isfinite, row.values()))


def test_tiny_moments_are_dropped_and_no_weight_notices(data: Data) -> None:
    config = settings(*TINY, "epochs=1")
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
    config = settings(*TINY, "epochs=13", "batch_size=32")
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
