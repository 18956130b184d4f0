"""What is made from a checkpoint in the shell: samples, reconstructions and interpolations."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaelab
from harness import TINY, command_line_of, once, run_folder
from vaelab.config import EvaluatedDataConfig, InterpolateConfig, ReconstructConfig, SampleConfig, VaelabError
from vaelab.data import splits
from vaelab.evaluation import interpolations, reconstructions, samples
from vaelab.evaluation.inputs import read_inputs
from vaelab.objectives.scoring import bound
from vaelab.training.run import AT_ONCE, Run

PLAIN = ("artifacts.every=0", "artifacts.figures=false", "artifacts.gif=false")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        command = (*TINY, *PLAIN, "model=conv", "model.latent_dim=3", "epochs=1", "hydra.run.dir=run")
        run_folder(command_line_of("vaelab.train", folder)(*command))

    return once(tmp_path_factory, "from_checkpoint", make)[0] / "run"


def sampled(trained: Path, output: Path, **settings: Any) -> Path:
    return samples.write_samples(SampleConfig(run=str(trained), output=str(output), **settings))


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- samples ----------------------------------------------------------------------------------------------


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
    assert torch.equal(vaelab.sample(run, 7, seed=3), run.sample(7, seed=3))
    np.testing.assert_array_equal((255 * run.decode(latents[:1])[0, 0]).round().byte().numpy(), images[0])
    halved = vaelab.sample(trained, 2, seed=3, sigma=0.5)
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
    few = vaelab.sample(trained, 3, source="mixture")
    torch.testing.assert_close(few, run.decode(drawn[:3]))


def test_a_mixture_needs_the_images_of_the_run(trained: Path, tmp_path: Path) -> None:
    saved = vaelab.load(trained)
    run = replace(saved, trained_on={**saved.trained_on, "sha256": {"train-images-idx3-ubyte": "0"}})
    config = SampleConfig(run=str(trained), source="mixture", output=str(tmp_path))
    with pytest.raises(
        VaelabError, match=r"other images were found: type dataset.root=FOLDER with the original images"
    ):
        samples.sample(run, config)


# --- reconstructions --------------------------------------------------------------------------------------


def written_images(folder: Path, x_NCHW: torch.Tensor) -> Path:
    folder.mkdir()
    for number, image in enumerate((255 * x_NCHW[:, 0]).round().byte().numpy()):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def width_of(path: Path) -> int:
    with Image.open(path) as image:
        image.load()
        return image.width


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_has_the_terms_and_the_posterior_of_every_image(trained: Path, tmp_path: Path) -> None:
    reconstruct = command_line_of("vaelab.reconstruct", tmp_path)
    result = reconstruct(f"run={trained}", "images=2,0", "samples=400", "output=out")
    assert result.returncode == 0, result.stderr
    figure, table = (line.partition(": ")[2] for line in result.stdout.splitlines()[-2:])
    assert width_of(tmp_path / figure) > 300
    assert (
        "test images of Fashion-MNIST (embedded subset; classes Trouser, Sneaker), numbered from 0"
        in result.stdout
    )
    rows = rows_of(tmp_path / table)
    assert [row["file"] for row in rows] == ["test image 2", "test image 0"]
    run = vaelab.load(trained)
    data = splits.load(run.config.dataset, torch.device("cpu"))
    posterior = run.encode(data.test.images[[2, 0]])
    for row, mean, sd in zip(rows, posterior.mean, (0.5 * posterior.log_variance).exp(), strict=True):
        assert [float(row[f"mean_{number}"]) for number in (1, 2, 3)] == pytest.approx(
            mean.tolist(), rel=1e-4
        )
        assert [float(row[f"sd_{number}"]) for number in (1, 2, 3)] == pytest.approx(sd.tolist(), rel=1e-4)
        assert float(row["neg_elbo"]) == pytest.approx(
            float(row["reconstruction"]) + float(row["kl"]), rel=1e-5
        )
    assert [float(row["kl"]) for row in rows] == pytest.approx(posterior.kl().tolist(), rel=1e-4)
    scored = bound(
        run.model, run.objective, data.test, seed=1
    )  # one sample each: the mean over images agrees
    assert len(data.test) > 300
    everything = reconstruct(
        f"run={trained}", f"images=[{','.join(map(str, range(len(data.test))))}]", "output=all"
    )
    assert everything.returncode == 0, everything.stderr
    (table_of_all,) = (tmp_path / "all").glob("*.csv")
    mean = np.mean([float(row["neg_elbo"]) for row in rows_of(table_of_all)])
    assert mean == pytest.approx(scored.averages()["neg_elbo"], rel=0.01)


def test_numbers_of_an_image_depend_on_no_other_and_an_interrupted_table_goes_on(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = vaelab.load(trained).sample(2 * AT_ONCE + 3, seed=9)
    folder = written_images(tmp_path / "mine", x)
    settings = {"run": str(trained), "images": [str(folder)], "output": str(tmp_path / "out")}
    described, calls = reconstructions.described, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return described(*arguments)

    monkeypatch.setattr(reconstructions, "described", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reconstructions.reconstruct(ReconstructConfig(**settings))
    (figure, table), text = reconstructions.reconstruct(ReconstructConfig(**settings))
    assert len(calls) == 4  # the third batch alone, again
    assert {path.name for path in table.parent.iterdir()} == {figure.name, table.name}
    assert "131 images in all" in text
    rows = rows_of(table)
    assert len(rows) == len(x)
    one = {**settings, "images": [str(folder / "70.png")]}
    (_, alone), _ = reconstructions.reconstruct(ReconstructConfig(**one))
    (row,) = rows_of(alone)
    (same,) = (each for each in rows if each["file"] == "70.png")
    assert [float(value) for key, value in row.items() if key != "file"] == pytest.approx(
        [float(value) for key, value in same.items() if key != "file"], rel=1e-4
    )
    (_, other), _ = reconstructions.reconstruct(ReconstructConfig(**settings, samples=3))
    assert other.name == f"{table.stem}_samples-3.csv"
    table.write_text("mine")
    files = {path.name for path in table.parent.iterdir()}
    with pytest.raises(VaelabError, match="already exists with different content"):
        reconstructions.reconstruct(ReconstructConfig(**settings))
    assert table.read_text() == "mine"
    assert {path.name for path in table.parent.iterdir()} == files


def test_a_light_background_is_reported_and_inverted(trained: Path, tmp_path: Path) -> None:
    run = vaelab.load(trained)
    x = run.sample(3, seed=9).mul(255).round().div(255)
    dark, light = written_images(tmp_path / "dark", x), written_images(tmp_path / "light", 1 - x)
    reconstruct = command_line_of("vaelab.reconstruct", tmp_path)
    tables = {}
    for name, folder, more in (
        ("dark", dark, ()),
        ("inverted", light, ("invert=true",)),
        ("light", light, ()),
    ):
        result = reconstruct(f"run={trained}", f"images={folder}", f"output={name}", *more)
        assert result.returncode == 0, result.stderr
        warned = "WARNING: 3 of 3 images have a light background, but generated images have a dark one: "
        assert result.stderr == (
            f"{warned}type invert=true to swap black and white.\n" if name == "light" else ""
        )
        inverted = "inverted" if name == "inverted" else "not inverted"
        said = (
            f"files: 28 × 28 pixels (scaled bilinearly, cropped to the centre), grey (luminance), {inverted}"
        )
        assert result.stdout.splitlines()[0] == said
        (path,) = (tmp_path / name).glob("*.csv")
        tables[name] = rows_of(path)
    assert tables["inverted"] == tables["dark"]
    assert float(tables["light"][0]["neg_elbo"]) > float(tables["dark"][0]["neg_elbo"])


def test_pixels_are_binarised_where_the_runs_were(trained: Path) -> None:
    run = vaelab.load(trained)
    config = run.config.replace(dataset=run.config.dataset.replace(binarize="dynamic"))
    found = [
        read_inputs(replace(run, config=config), [each, 5], EvaluatedDataConfig(), False, 0)
        for each in (3, 4)
    ]
    assert {*found[0].images.unique().tolist()} == {0.0, 1.0}
    assert "binarised: white with the grey value as probability, seed 0" in found[0].preparation
    assert torch.equal(found[0].images[1], found[1].images[1])
    grey = read_inputs(run, [5], EvaluatedDataConfig(), False, 0).images[0]
    assert found[0].images[1].mean() == pytest.approx(grey.mean().item(), abs=0.03)


# --- interpolations ---------------------------------------------------------------------------------------


def test_interpolations_start_and_end_at_the_reconstructions(trained: Path, tmp_path: Path) -> None:
    run = vaelab.load(trained)
    x = splits.load(run.config.dataset, torch.device("cpu")).test.images[[1, 4]]
    Image.fromarray(x[1].numpy()).save(tmp_path / "end.png")
    interpolate = command_line_of("vaelab.interpolate", tmp_path)
    result = interpolate(
        f"run={trained}", "from=1", "to=end.png", "steps=30", "path=both", "npz=true", "output=out"
    )
    assert result.returncode == 0, result.stderr
    figure, archive = (line.removeprefix("Interpolated: ") for line in result.stdout.splitlines())
    assert width_of(tmp_path / figure) > 1000
    with np.load(tmp_path / archive) as arrays:
        images, latents = arrays["images"], arrays["latents"]
    assert (images.shape, latents.shape) == ((60, 28, 28), (60, 3))
    means = run.encode(x).mean
    for first, last in ((0, 29), (30, 59)):
        np.testing.assert_allclose(latents[[first, last]], means, atol=1e-5)
    np.testing.assert_allclose(latents[:30][15], means[0] + 15 / 29 * (means[1] - means[0]), atol=1e-5)
    straight = run.interpolate(x[0], x[1], steps=30)
    np.testing.assert_allclose(straight[:, 0] * 255, images[:30], atol=0.51)
    with pytest.raises(VaelabError, match="Unknown path 'round'"):
        run.interpolate(x[0], x[1], path="round")


def test_ends_are_one_image_each(trained: Path, tmp_path: Path) -> None:
    folder = written_images(tmp_path / "two", torch.zeros(2, 1, 28, 28))
    config = InterpolateConfig.model_validate({"run": str(trained), "from": str(folder), "to": 1})
    with pytest.raises(VaelabError, match="from and to need one image each"):
        interpolations.interpolate(config)
