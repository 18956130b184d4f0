"""Where files of data sets are found, and damaged ones."""

from __future__ import annotations

import gzip
import random
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vaelab.config import ConfigError, DatasetConfig
from vaelab.data import download, folders, sources
from vaelab.data.datasets import EMBEDDED, FILES, published
from vaelab.data.folders import DataError
from vaelab.data.sources import find

pytestmark = pytest.mark.usefixtures("elsewhere")

FASHION = published()["fashion_mnist"]


def copy_files(folder: Path, raw: bool = False) -> Path:
    """The embedded Fashion-MNIST files at another place, gzipped or raw."""
    folder.mkdir(parents=True)
    for name in FILES.values():
        content = (EMBEDDED / FASHION.folder / "raw" / f"{name}.gz").read_bytes()
        (folder / (name if raw else f"{name}.gz")).write_bytes(gzip.decompress(content) if raw else content)
    return folder


@pytest.mark.parametrize("name", [name for name, spec in published().items() if spec.subset])
def test_the_embedded_subset_has_10000_training_and_2000_test_images_of_every_class_and_a_licence(
    name: str,
) -> None:
    raw = find(DatasetConfig(name=name, source="embedded"))
    assert raw.train_images.shape == (10_000, 28, 28)
    assert raw.test_images.shape == (2_000, 28, 28)
    assert raw.train_images.dtype == np.uint8
    assert set(raw.train_labels) == set(raw.test_labels) == set(range(10))
    assert not raw.origin.complete
    assert raw.origin.fallback is None
    licences = (EMBEDDED / "LICENSES.md").read_text()
    assert published()[name].title in licences


def test_falling_back_is_recorded() -> None:
    origin = find(DatasetConfig()).origin
    assert (origin.source, origin.complete) == ("embedded", False)
    assert origin.fallback is not None
    assert origin.fallback.startswith("Fashion-MNIST is neither in ")
    assert "can't be reached" in origin.fallback
    assert "dataset.root=FOLDER" in origin.fallback


def test_full_never_falls_back() -> None:
    with pytest.raises(DataError, match=r"dataset\.source=embedded selects the embedded subset\.$"):
        find(DatasetConfig(source="full"))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.usefixtures("small_set")
def test_root_comes_first_gzipped_or_raw(tmp_path: Path, raw: bool) -> None:
    folder = copy_files(tmp_path / "root" / "FashionMNIST" / "raw", raw)
    copy_files(tmp_path / "system" / "fashion-mnist")
    origin = find(DatasetConfig()).origin
    assert (origin.source, origin.folder, origin.complete) == ("root", str(folder), True)
    shutil.rmtree(tmp_path / "root")
    assert find(DatasetConfig()).origin.source == "system"


@pytest.mark.usefixtures("small_set")
@pytest.mark.parametrize("damage", ["truncated", "flipped", "truncated raw", "not gzip"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    folder = copy_files(tmp_path / "root" / "FashionMNIST" / "raw", raw="raw" in damage)
    path = next(folder.glob("train-images*"))
    content = bytearray(path.read_bytes())
    if "truncated" in damage:
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
    else:
        content = bytearray(b"<html>not found</html>")
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        find(DatasetConfig())
    assert str(path) in str(error.value)
    assert "is damaged or belongs to another data set" in str(error.value)
    assert "remove it and run again" in str(error.value)


@pytest.mark.usefixtures("small_set")
@pytest.mark.parametrize(
    ("folder", "root"),
    [
        ("FashionMNIST/raw", "FashionMNIST"),
        ("FashionMNIST/raw", "FashionMNIST/raw"),
        ("", ""),
        ("raw", ""),
        ("FashionMNIST", ""),
        ("Fashion-MNIST", ""),
        ("fashion-mnist/raw", ""),
        ("fashion_mnist", ""),
        ("data/fashion", ""),
        ("MNIST/raw", ""),
        ("my data/FashionMNIST/raw", ""),
        ("FashionMNIST/raw", "MNIST"),
    ],
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_files_near_a_root_are_found(tmp_path: Path, folder: str, root: str, ending: str) -> None:
    files = copy_files(tmp_path / "given" / folder, raw=not ending)
    for path in list(files.iterdir()):  # as some archives have them
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    (tmp_path / "given" / root).mkdir(exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    origin = find(DatasetConfig(root=str(tmp_path / "given" / root))).origin
    assert (origin.source, origin.folder, origin.complete) == ("root", str(files), True)
    assert sources.holds(DatasetConfig(), str(tmp_path / "given" / root))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("small_set")
@pytest.mark.parametrize("folder", ["MNIST/raw", "MNIST", "raw", ""])
def test_files_of_another_data_set_are_named_as_such(tmp_path: Path, folder: str) -> None:
    files = copy_files(tmp_path / folder if folder else tmp_path / "flat")
    root = tmp_path if folder else files
    with pytest.raises(DataError) as error:
        find(DatasetConfig(name="mnist", root=str(root)))
    assert str(error.value).startswith(
        f"{files}/t10k-labels-idx1-ubyte.gz is a file of Fashion-MNIST: type dataset=fashion_mnist"
    )


def test_other_data_sets_beside_are_passed_over(tmp_path: Path) -> None:
    copy_files(tmp_path / "root" / "FashionMNIST" / "raw")
    copy_files(tmp_path / "root" / "KMNIST" / "raw")
    (tmp_path / "root" / "KMNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").write_bytes(
        b"of no data set that is known"
    )
    assert find(DatasetConfig(name="mnist")).origin.source == "embedded"
    assert not sources.holds(DatasetConfig(name="mnist"), str(tmp_path / "root"))
    with pytest.raises(DataError, match=r"type dataset\.source=embedded"):
        find(DatasetConfig())


@pytest.mark.parametrize("raw", [False, True], ids=["gz", "raw"])
def test_truncated_files_and_flipped_bits_are_reported(tmp_path: Path, raw: bool) -> None:
    folder = copy_files(tmp_path / "files", raw=raw)
    (path,) = folder.glob("t10k-images*")
    whole = path.read_bytes()
    digest = find(DatasetConfig(source="embedded")).origin.sha256["t10k-images-idx3-ubyte"]
    assert folders.verified(path, digest, FASHION.largest_file)
    drawn = random.Random(0)
    damaged = [whole[: part * len(whole) // 20] for part in range(20)]
    for place in drawn.sample(
        range(10, len(whole)), 20
    ):  # the header of gzip has a time in it that is never read
        flipped = bytearray(whole)
        flipped[place] ^= 1 << drawn.randrange(8)
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError) as error:
            folders.verified(path, digest, FASHION.largest_file)
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(300):
            file.write(bytes(10**6))
    tracemalloc.start()
    with pytest.raises(DataError, match="is damaged"):
        folders.verified(path, "0" * 64, FASHION.largest_file)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * FASHION.largest_file


def test_public_mirrors_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets  # for one test: it imports a second's worth of modules

    monkeypatch.delenv("VAELAB_MIRROR")
    for spec in (published()[name] for name in ("mnist", "fashion_mnist")):
        assert sorted(download.mirrors(spec)) == sorted(getattr(torchvision.datasets, spec.folder).mirrors)


def test_a_given_root_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is not a directory: type one"):
        find(DatasetConfig(root=str(tmp_path / "nowhere")))
    assert not list(tmp_path.iterdir())
