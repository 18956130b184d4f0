"""The figures and animation frames of a training: never in the way of it, on common axes, and only where they show something."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from harness import TINY, fresh, settings
from training_helpers import SMALL, assert_same, few
from vaelab.config import Config
from vaelab.data.splits import Data
from vaelab.figures import style
from vaelab.runs.folder import RunFolder
from vaelab.training import snapshots
from vaelab.training.callbacks import Callback
from vaelab.training.examples import ExampleImages
from vaelab.training.latent_axes import LatentAxes, NothingToShow
from vaelab.training.loop import fit
from vaelab.training.snapshots import AnimationFrames, EpochFigures, FinalFigures, read_frame
from vaelab.training.state import TrainingState


def drawing(config: Config, data: Data, folder: RunFolder, state: TrainingState) -> list[Callback]:
    """The callbacks that draw while training."""
    examples = ExampleImages(config, data, data.test, state.model, state.objective)
    return [AnimationFrames(config, examples, folder), EpochFigures(config, examples, folder)]


def test_what_is_drawn_never_moves_the_loss_curve(data: Data, tmp_path: Path) -> None:
    config, data = (
        settings(*TINY, "model=conv", SMALL["conv"], "epochs=2", "artifacts.gif_every_batches=2"),
        few(data),
    )
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
        *TINY, SMALL["mlp"], "epochs=3", "batch_size=16", "artifacts.every=2", f"artifacts.gif_every_batches={every}"
    )  # fmt: skip
    state, folder = fresh(config, data), RunFolder(tmp_path)
    assert state.steps_per_epoch == 34
    fit(state, data, config, drawing(config, data, folder, state))
    assert [step for step, _ in folder.numbered("latent/frames")] == sorted({*expected, 68, 102})
    for step, count in ((0, 5), (68, len(data.test))):
        assert len(read_frame(folder, step, count).means_NL) == count


def test_an_animation_has_at_most_64_frames_and_no_fewer_than_needed() -> None:
    config = settings(*TINY, "epochs=1", "artifacts.gif_every_batches=1")
    for steps in (63, 64, 126, 127, 1000):
        distance = snapshots.frame_distance(config, steps)
        assert len({*range(0, steps, distance), steps}) <= 64
        assert distance == 1 or len({*range(0, steps, distance // 2), steps}) > 64


def test_a_video_that_cannot_be_made_is_announced(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(snapshots, "ffmpeg", lambda: None)
    for setting in ("auto", "true"):
        config = settings(*TINY, f"artifacts.mp4={setting}")
        state = fresh(config, data)
        examples = ExampleImages(config, data, data.test, state.model, state.objective)
        FinalFigures(config, examples, RunFolder(tmp_path)).on_start(state)
    (said,) = caplog.messages
    assert said.startswith("artifacts.mp4=true requires ffmpeg, or pip install 'vaelab[video]': ")


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_image_grids_name_each_row_once_and_each_class_above_its_images(data: Data) -> None:
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
    data = few(data)
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
        f"only {100 * share:.0f} % of the posterior means are within the prior's steps, from −1.83 to 1.83"
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
    assert "3 of 8 directions are shown: " in caption(figure)


def test_uninformative_figures_are_left_out_and_the_log_says_why(
    data: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = few(data)
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
    assert message.startswith("latent_manifold.png is left out: the posterior means ")


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_the_final_latent_plot_of_many_dimensions_keeps_clusters_apart(data: Data, method: str) -> None:
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


def test_directions_of_similar_variance_are_shown_however_many_there_are() -> None:
    """Of 200, each has less than 1 % of the variance."""
    means = np.random.default_rng(0).normal(size=(3000, 200))
    assert len(LatentAxes.of(means).varying) > 100
    assert LatentAxes.of(means * np.array([10, *[0.5] * 199])).varying == [0]
    with pytest.raises(NothingToShow, match=r"a variance of at most 0\.01 along every direction"):
        _ = LatentAxes.of(0.05 * means).varying
