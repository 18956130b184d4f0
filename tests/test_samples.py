"""vaelab.sample: formats, grids, mixtures and interrupted commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaelab
from harness import command_line_of
from vaelab.cli import api
from vaelab.config import EvaluationConfig, SampleConfig, VaelabError
from vaelab.data import splits
from vaelab.data.splits import Data
from vaelab.evaluation import samples
from vaelab.evaluation.model import EvaluatedModel
from vaelab.training.run import AT_ONCE, Run
from whole_runs import small_run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory)


def sampled(trained: Path, output: Path, **settings: Any) -> Path:
    return samples.write_samples(SampleConfig(run=str(trained), output=str(output), **settings))


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_format_has_the_same_images_however_many_are_drawn(trained: Path, tmp_path: Path) -> None:
    count = AT_ONCE + 5
    with np.load(sampled(trained, tmp_path / "a.npz", format="npz", count=count, seed=3)) as archive:
        images, latents, about = archive["images"], archive["latents"], json.loads(str(archive["about"]))
    assert (images.shape, images.dtype, latents.shape) == ((count, 28, 28), np.uint8, (count, 3))
    assert (about["count"], about["seed"], about["sigma"], about["source"]) == (count, 3, 1.0, "prior")
    few = sampled(trained, tmp_path / "few", format="png", count=5, seed=3)
    assert [path.name for path in sorted(few.glob("*.png"))] == [f"{number:05d}.png" for number in range(5)]
    for number in range(5):
        with Image.open(few / f"{number:05d}.png") as image:
            np.testing.assert_array_equal(np.array(image), images[number])
    run = vaelab.load(trained)
    assert torch.equal(run.sample(count, seed=3)[:7], run.sample(7, seed=3))
    np.testing.assert_array_equal((255 * run.sample(count, seed=3)[:, 0]).round().byte().numpy(), images)
    assert torch.equal(api.sample(run, count=7, seed=3), run.sample(7, seed=3))
    np.testing.assert_array_equal((255 * run.decode(latents[:1])[0, 0]).round().byte().numpy(), images[0])
    halved = api.sample(trained, count=2, seed=3, sigma=0.5)
    torch.testing.assert_close(halved, run.decode(0.5 * latents[:2]))


def test_a_grid_says_what_it_shows_and_is_nearly_square(trained: Path) -> None:
    settings = SampleConfig(run=str(trained), count=6, sigma=0.5, seed=3)
    figure = samples.grid_of(settings, vaelab.load(trained))
    title, about = (text.get_text().replace("\n", " · ") for text in figure.texts[:2])
    assert title == "6 samples from N(0, σ²) with σ = 0.5"
    for said in ("conv, 3 latent dimensions, beta 1", "best, epoch 1", "run run", "seed 3, σ = 0.5"):
        assert said in about
    counts = (1, 2, 3, 5, 7, 10, 12, 13, 64, 100, 2500)
    assert [samples.columns_of(count) for count in counts] == [1, 2, 3, 3, 4, 5, 4, 5, 8, 10, 50]


def test_an_interrupted_command_goes_on_where_it_was(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, calls = Run.decoded, []

    def interrupted(self: Run, z: Any, labels: Any) -> torch.Tensor:
        calls.append(z)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return decoded(self, z, labels)

    count = 3 * AT_ONCE + 1
    for form, name in (("npz", "a.npz"), ("png", "a")):
        whole = sampled(trained, tmp_path / "whole" / name, format=form, count=count)
        with monkeypatch.context() as patch:
            calls.clear()
            patch.setattr(Run, "decoded", interrupted)
            with pytest.raises(KeyboardInterrupt):
                sampled(trained, tmp_path / name, format=form, count=count)
            again = sampled(trained, tmp_path / name, format=form, count=count)
            assert len(calls) == 5  # the third batch, again, and the last
        if form == "npz":
            assert again.read_bytes() == whole.read_bytes()
        else:
            assert pictures(again) == pictures(whole)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "a.npz", "a"}  # nothing hidden is left


def test_nothing_is_overwritten(trained: Path, tmp_path: Path) -> None:
    for form, name in (("grid", "a.png"), ("npz", "a.npz"), ("png", "a")):
        path = sampled(trained, tmp_path / name, format=form, count=2)
        before = pictures(path) if form == "png" else path.read_bytes()
        assert sampled(trained, tmp_path / name, format=form, count=2) == path  # the same, once more
        with pytest.raises(VaelabError, match=r"already exists with|has other files: type output="):
            sampled(trained, tmp_path / name, format=form, count=2, seed=1)
        assert (pictures(path) if form == "png" else path.read_bytes()) == before


def test_a_mixture_is_drawn_from_where_the_encoder_puts_images(trained: Path, tmp_path: Path) -> None:
    result = command_line_of("vaelab.sample", tmp_path)(
        f"run={trained}", "source=mixture", "format=npz", "count=300", "output=m.npz"
    )
    assert result.stdout == "Sampled: m.npz\n", result.stderr
    assert result.stderr.startswith("10 Gaussians (full covariance) fitted to one posterior sample each of ")
    with np.load(tmp_path / "m.npz") as archive:
        drawn, about = archive["latents"], json.loads(str(archive["about"]))
    assert about["source"] == "mixture"
    run = vaelab.load(trained)
    x = splits.load(run.config.dataset, torch.device("cpu")).train.images
    q = run.encode(x)
    spread = (q.mean.var(dim=0) + q.log_variance.exp().mean(dim=0)).sqrt().numpy()
    np.testing.assert_allclose(drawn.mean(axis=0), q.mean.mean(dim=0), atol=0.25)
    np.testing.assert_allclose(drawn.std(axis=0), spread, rtol=0.2)
    few = api.sample(trained, "source=mixture", count=3)
    torch.testing.assert_close(few, run.decode(drawn[:3]))


def test_a_mixture_needs_the_images_of_the_run(trained: Path, tmp_path: Path) -> None:
    saved = vaelab.load(trained)
    run = replace(saved, trained_on={**saved.trained_on, "sha256": {"train-images-idx3-ubyte": "0"}})
    config = SampleConfig(run=str(trained), source="mixture", output=str(tmp_path))
    with pytest.raises(
        VaelabError, match=r"other images were found: type dataset.root=FOLDER with the original images"
    ):
        samples.sample(run, config)


def test_encoding_the_images_leaves_the_runs_weights_as_they_are(data: Data) -> None:
    """Convolutions are evaluated in the layout in memory that is fast for them."""
    path = Path(__file__).parent / "checkpoints" / "format_3_conv.safetensors"
    run = vaelab.load(path)
    config = EvaluationConfig(checkpoint=str(path))
    model = EvaluatedModel(run, config, data, run.config.dataset, {}).model
    assert not all(weight.is_contiguous() for weight in model.parameters())
    assert all(weight.is_contiguous() for weight in run.model.parameters())
