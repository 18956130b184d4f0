"""The published binarisation of MNIST (Larochelle and Murray 2011), in made-up files of its format."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation_helpers import ROUGH_NLL
from harness import UNDRAWN, run_json
from vaelab.cli import api
from vaelab.config import ConfigError, DatasetConfig
from vaelab.data import folders, splits
from vaelab.data.datasets import EMBEDDED, datasets, published
from vaelab.data.folders import DataError
from vaelab.data.sources import find

pytestmark = pytest.mark.usefixtures("elsewhere")

CPU = torch.device("cpu")


ROWS = {
    "binarized_mnist_train.amat": 9000, "binarized_mnist_valid.amat": 1000, "binarized_mnist_test.amat": 2000,
}  # fmt: skip


LAROCHELLE = DatasetConfig(name="mnist", binarize="larochelle")


def amat(pixels_NHW: np.ndarray) -> bytes:
    """A row of zeros and ones separated by spaces for each image."""
    text = np.full((len(pixels_NHW), 28 * 28, 2), ord(" "), dtype=np.uint8)
    text[:, :, 0] = pixels_NHW.reshape(len(pixels_NHW), -1) + ord("0")
    text[:, -1, 1] = ord("\n")
    return text.tobytes()


@pytest.fixture
def amat_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with such files of the subset's images, which count as the full set, and the subset's files."""
    subset = find(DatasetConfig(name="mnist", source="embedded"))
    spec = replace(published()["mnist"], digests=subset.origin.sha256, fixed_binarisation=ROWS)
    monkeypatch.setitem(datasets.registered, "mnist", spec)
    shutil.copytree(EMBEDDED / "MNIST" / "raw", tmp_path / "root" / "MNIST" / "raw")
    folder, noise = tmp_path / "root" / "binarized_mnist", np.random.default_rng(0)
    folder.mkdir()
    train, test = (
        noise.random(grey.shape) < grey / 255 for grey in (subset.train_images, subset.test_images)
    )
    for name, pixels in zip(ROWS, (train[:9000], train[9000:], test), strict=True):
        (folder / name).write_bytes(amat(pixels))
    return folder


def test_the_published_binarisation_has_the_labels_of_mnist_and_its_own_validation_images(
    amat_files: Path,
) -> None:
    train, valid, test = (amat_files / name for name in ROWS)
    digests = {path.name: folders.sha256(path.read_bytes()) for path in (train, valid, test)}
    valid.with_name(f"{valid.name}.gz").write_bytes(gzip.compress(valid.read_bytes()))
    valid.unlink()
    data = splits.load(LAROCHELLE, CPU)
    grey = splits.load(LAROCHELLE, CPU, grey=True)
    assert (len(data.train), len(data.scored), len(data.test)) == tuple(ROWS.values())
    assert data.description == "MNIST (binarised by Larochelle & Murray)"
    assert data.origin.sha256 == {**grey.origin.sha256, **digests}
    text = [int(value) for value in train.read_text().split("\n")[17].split(" ")]
    assert (data.train.images[17].flatten() / 255).tolist() == text
    noise = torch.Generator().manual_seed(0)
    assert torch.equal(data.test.batch(slice(0, 5), noise), data.test.images[:5, None] / 255)
    for name in ("train", "val", "test"):
        split, other = data.split(name), grey.split(name)
        assert torch.equal(split.labels, other.labels)
        assert not split.images[other.images == 0].any()
        assert set(split.images.unique().tolist()) == {0, 255}
    assert torch.equal(splits.load(LAROCHELLE.replace(val_size=1000), CPU).scored.images, data.scored.images)
    with pytest.raises(ConfigError, match=r"^dataset\.val_size=500 is not the published split of"):
        splits.load(LAROCHELLE.replace(val_size=500), CPU)
    everything = splits.load(LAROCHELLE.replace(val_size=0, classes=[3]), CPU)
    labels = torch.cat([data.train.labels, data.scored.labels])
    both = torch.cat([data.train.images, data.scored.images])
    assert torch.equal(everything.train.images, both[labels == 3])
    assert everything.scored is everything.test


@pytest.mark.parametrize("problem", ["swapped", "all black", "inverted"])
def test_published_images_in_another_order_are_refused(amat_files: Path, problem: str) -> None:
    path = amat_files / "binarized_mnist_test.amat"
    lines = path.read_bytes().splitlines(keepends=True)
    if problem == "swapped":
        lines[0], lines[1] = lines[1], lines[0]
    elif problem == "all black":
        lines = [line.replace(b"1", b"0") for line in lines]
    else:
        lines = [line.translate(bytes.maketrans(b"01", b"10")) for line in lines]
    path.write_bytes(b"".join(lines))
    with pytest.raises(DataError) as error:
        splits.load(LAROCHELLE, CPU)
    assert str(error.value).startswith(
        f"The images in {amat_files} are not those in {amat_files.parent / 'MNIST' / 'raw'}, or not in the same order"
    )
    assert "type dataset.root=FOLDER" in str(error.value)


@pytest.mark.parametrize(("change", "found"), [
    (lambda text: text[: 784 * 2 * 999], "999 rows, 784 values in the first"),
    (lambda text: text + text[: 784 * 2], "1,001 rows, 784 values in the first"),
    (lambda text: text.replace(b"\n", b" 0\n"), "1,000 rows, 785 values in the first"),
    (lambda text: text[2:], "1,000 rows, 783 values in the first"),
    (lambda text: b"2" + text[1:], "other characters"),
    (lambda text: text[:-2] + b"-\n", "other characters"),
    (lambda text: text[:-2] + b"0.0\n", "1,000 rows, 784 values in the first"),
    (lambda text: b"", "0 rows, 0 values in the first"),
    (lambda text: gzip.compress(text)[:10], "0 rows, 0 values in the first"),
])  # fmt: skip
def test_published_files_of_another_shape_are_refused(
    amat_files: Path, change: Callable[[bytes], bytes], found: str
) -> None:
    path = amat_files / "binarized_mnist_valid.amat"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError) as error:
        splits.load(LAROCHELLE, CPU)
    assert str(error.value).startswith(f"{path} must be 1,000 rows of 784 zeros and ones")
    assert f"and has {found}: type dataset.root=FOLDER" in str(error.value)


def test_a_run_on_the_published_binarisation_is_trained_evaluated_and_explored(
    amat_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = api.train(
        "dataset=mnist", "dataset.binarize=larochelle", "dataset.classes=[1,7]", "model.hidden=[30]", "epochs=1",
        *UNDRAWN, "hydra.run.dir=run",
    )  # fmt: skip
    data = splits.load(LAROCHELLE.replace(classes=[1, 7]), CPU)
    facts = run_json(Path("run"))["data"]
    assert facts["binarize"] == "larochelle"
    assert facts["images"] == {name: len(data.split(name)) for name in ("train", "val", "test")}
    assert {*ROWS} < {*facts["sha256"]}
    evaluated = api.evaluate(run, *ROUGH_NLL, figures=False, split="val")
    assert "−log of a probability of the 0/1 pixels that Larochelle & Murray (2011) published" in " ".join(
        evaluated.text.split()
    )
    assert "Not measured" not in evaluated.text
    assert api.explore(run).path.is_file()
