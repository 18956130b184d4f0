"""vaelab.reconstruct and vaelab.interpolate: tables, image files and interpolations."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaelab
from harness import command_line_of
from vaelab.config import EvaluatedDataConfig, InterpolateConfig, ReconstructConfig, VaelabError
from vaelab.data import splits
from vaelab.evaluation import interpolations, reconstructions
from vaelab.evaluation.inputs import read_inputs
from vaelab.objectives.scoring import bound
from vaelab.training.run import AT_ONCE
from whole_runs import small_run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory)


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
    config = ReconstructConfig(
        run=str(trained), images=[*range(len(data.test))], samples=4, output=str(tmp_path / "all")
    )
    (_, table_of_all), _ = reconstructions.reconstruct(config)
    mean = np.mean([float(row["neg_elbo"]) for row in rows_of(table_of_all)])
    assert mean == pytest.approx(scored.averages()["neg_elbo"], rel=0.01)


def test_numbers_of_an_image_depend_on_no_other_and_an_interrupted_table_goes_on(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = vaelab.load(trained).sample(2 * AT_ONCE + 3, seed=9)
    folder = written_images(tmp_path / "mine", x)
    settings = {"run": str(trained), "images": [str(folder)], "output": str(tmp_path / "out")}
    table_rows, calls = reconstructions.table_rows, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return table_rows(*arguments)

    monkeypatch.setattr(reconstructions, "table_rows", interrupted)
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


def test_a_light_background_is_reported_and_inverted(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = vaelab.load(trained)
    x = run.sample(3, seed=9).mul(255).round().div(255)
    dark, light = written_images(tmp_path / "dark", x), written_images(tmp_path / "light", 1 - x)
    tables = {}
    for name, folder, invert in (("dark", dark, False), ("inverted", light, True), ("light", light, False)):
        config = ReconstructConfig(
            run=str(trained), images=[str(folder)], output=str(tmp_path / f"of {name}"), invert=invert
        )
        (_, path), said = reconstructions.reconstruct(config)
        warned = capsys.readouterr().err
        if name == "light":
            assert re.fullmatch(r"WARNING: 3 of 3 images .*: type invert=true .*\n", warned)
        else:
            assert warned == ""
        inverted = "inverted" if invert else "not inverted"
        assert said.splitlines()[0] == (
            f"files: 28 × 28 pixels (scaled bilinearly, cropped to the centre), grey (luminance), {inverted}"
        )
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
