"""Data sets: where their files are found, what is wrong with them, classes, splits and binarisation."""

from __future__ import annotations

import gzip
import random
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from harness import UNREACHABLE
from vaelab.config import ConfigError, DatasetConfig
from vaelab.data import download, folders, sources, splits
from vaelab.data.datasets import EMBEDDED, FILES, class_numbers, published
from vaelab.data.folders import DataError
from vaelab.data.sources import find
from vaelab.data.splits import Split

CPU = torch.device("cpu")
FASHION = published()["fashion_mnist"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data and no network but what a test brings."""
    monkeypatch.setenv("VAELAB_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("VAELAB_MIRROR", UNREACHABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "SYSTEM", tmp_path / "system")


def copy_files(folder: Path, raw: bool = False) -> Path:
    """The embedded Fashion-MNIST files at another place, gzipped or raw."""
    folder.mkdir(parents=True)
    for name in FILES.values():
        content = (EMBEDDED / FASHION.folder / "raw" / f"{name}.gz").read_bytes()
        (folder / (name if raw else f"{name}.gz")).write_bytes(gzip.decompress(content) if raw else content)
    return folder


@pytest.mark.parametrize("name", [name for name, spec in published().items() if spec.subset])
def test_embedded_subset(name: str) -> None:
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
    with pytest.raises(DataError, match=r"dataset\.source=embedded the embedded subset\.$"):
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
    assert str(error.value) == (
        f"{files}/t10k-labels-idx1-ubyte.gz is a file of Fashion-MNIST: "
        "type dataset=fashion_mnist, or dataset.root=FOLDER with the intended data set."
    )


def test_other_data_sets_beside_are_passed_over(tmp_path: Path) -> None:
    copy_files(tmp_path / "root" / "FashionMNIST" / "raw")
    copy_files(tmp_path / "root" / "KMNIST" / "raw")
    (tmp_path / "root" / "KMNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").write_bytes(
        b"of no data set that is known"
    )
    assert find(DatasetConfig(name="mnist")).origin.source == "embedded"
    assert not sources.holds(DatasetConfig(name="mnist"), str(tmp_path / "root"))
    with pytest.raises(DataError, match=r"belongs to the embedded subset: type dataset\.source=embedded"):
        find(DatasetConfig())


@pytest.mark.parametrize("raw", [False, True], ids=["gz", "raw"])
def test_files_truncated_at_twenty_places_or_with_flipped_bits(tmp_path: Path, raw: bool) -> None:
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
    monkeypatch.delenv("VAELAB_MIRROR")
    for spec in (published()[name] for name in ("mnist", "fashion_mnist")):
        assert sorted(download.mirrors(spec)) == sorted(getattr(torchvision.datasets, spec.folder).mirrors)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (None, list(range(10))),
        ([0, 1, 7], [0, 1, 7]),
        ([7, 0], [0, 7]),
        (["trouser", "sneaker"], [1, 7]),
        (["T-shirt/top"], [0]),
        (["tshirt", "Ankle boot", "bag"], [0, 8, 9]),
    ],
)
def test_classes_by_number_or_name(wanted: list[object] | None, numbers: list[int]) -> None:
    assert class_numbers(FASHION, wanted) == numbers


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([12], "dataset.classes: 12 is not one of its classes. Fashion-MNIST has 0 T-shirt/top, 1 Trouser,"),
        (["s"], "dataset.classes: s matches several classes."),
        ([-1], "dataset.classes: -1 is not one of its classes."),
        ([1, "trouser"], "dataset.classes names a class twice: [1,trouser]. Type each once."),
    ],
)
def test_wrong_classes_say_what_there_is(wanted: list[object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        class_numbers(FASHION, wanted)
    assert str(error.value).startswith(message)


def test_titles_and_classes_are_on_one_line_each() -> None:
    spec = replace(FASHION, title="Fashion\nMNIST", classes=("T-shirt\t/ top ", *FASHION.classes[1:]))
    assert (spec.title, spec.classes[0]) == ("Fashion MNIST", "T-shirt / top")


def test_classes_of_digits() -> None:
    assert class_numbers(published()["mnist"], [3, "5"]) == [3, 5]
    with pytest.raises(ConfigError, match="MNIST has 0 to 9"):
        class_numbers(published()["mnist"], ["x"])


def test_validation_images_are_the_last_and_none_is_trained_on() -> None:
    everything = splits.load(DatasetConfig(source="embedded", val_size=0), CPU)
    data = splits.load(DatasetConfig(source="embedded", val_size=1000), CPU)
    assert (len(data.train), len(data.scored), len(data.test)) == (9000, 1000, 2000)
    assert data.scored.name == "val"
    assert torch.equal(torch.cat([data.train.images, data.scored.images]), everything.train.images)
    assert everything.scored is everything.test
    chosen = splits.load(DatasetConfig(source="embedded", val_size=1000, classes=[1, 7]), CPU)
    of_classes = [(split.labels == 1) | (split.labels == 7) for split in (data.train, data.scored)]
    assert torch.equal(chosen.train.images, data.train.images[of_classes[0]])
    assert torch.equal(chosen.scored.images, data.scored.images[of_classes[1]])
    assert set(chosen.train.labels.tolist()) == set(chosen.test.labels.tolist()) == {1, 7}
    assert chosen.description == "Fashion-MNIST (embedded subset; classes Trouser, Sneaker)"


def test_a_tenth_of_the_subset_is_the_validation_set() -> None:
    data = splits.load(DatasetConfig(source="embedded"), CPU)
    assert (len(data.train), len(data.scored), data.scored.name) == (9000, 1000, "val")


def test_val_size_that_leaves_nothing() -> None:
    with pytest.raises(ConfigError) as error:
        splits.load(DatasetConfig(source="embedded", val_size=10_000), CPU)
    assert str(error.value) == (
        "dataset.val_size=10000 leaves none of the 10,000 training images for training: "
        "type a smaller number, such as dataset.val_size=833."
    )


@pytest.mark.parametrize(("val_size", "message"), [
    (2, "dataset.val_size=2 leaves no val images of dataset.classes=[7]: type a larger number."),
    (9998, "dataset.val_size=9998 leaves no train images of dataset.classes=[7]: type a smaller number."),
])  # fmt: skip
def test_splits_without_an_image_of_the_classes(val_size: int, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        splits.load(DatasetConfig(source="embedded", classes=[7], val_size=val_size), CPU)
    assert str(error.value) == message


def test_batches_are_the_images_over_255() -> None:
    data = splits.load(DatasetConfig(source="embedded"), CPU)
    noise = torch.Generator().manual_seed(0)
    before = noise.get_state()
    x = data.train.batch(torch.tensor([5, 3]), noise)
    assert x.shape == (2, 1, 28, 28)
    assert torch.equal((x * 255).round().to(torch.uint8).squeeze(1), data.train.images[[5, 3]])
    assert torch.equal(before, noise.get_state())
    assert data.train.images.dtype == torch.uint8


def test_static_binarization_is_the_same_for_an_image_in_every_run() -> None:
    base = {"source": "embedded", "binarize": "static"}
    first = splits.load(DatasetConfig(**base), CPU)
    other = splits.load(DatasetConfig(**base, val_size=100, classes=[1]), CPU)
    grey = splits.load(DatasetConfig(source="embedded"), CPU)
    assert torch.equal(
        first.train.images[first.train.labels == 1],
        other.train.images[: len(first.train.images[first.train.labels == 1])],
    )
    assert torch.equal(first.test.images[first.test.labels == 1], other.test.images)
    assert set(first.train.images.unique().tolist()) == {0, 255}
    means = [data.train.images.float().mean().item() for data in (first, grey)]
    assert means[0] == pytest.approx(means[1], rel=0.01)
    assert not torch.equal(first.train.images[:100] > 0, first.test.images[:100] > 0)


def test_dynamic_binarization_draws_anew_from_grey_values() -> None:
    split = Split("train", torch.full((1, 28, 28), 51, dtype=torch.uint8), torch.zeros(1), dynamic=True)
    noise = torch.Generator().manual_seed(0)
    draws = torch.cat([split.batch(slice(0, 1), noise) for _ in range(100)])
    assert set(draws.unique().tolist()) == {0, 1}
    assert not torch.equal(draws[0], draws[1])
    assert draws.mean().item() == pytest.approx(0.2, abs=0.01)


def test_a_given_root_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is not a directory: type one with FashionMNIST/raw"):
        find(DatasetConfig(root=str(tmp_path / "nowhere")))
    assert not list(tmp_path.iterdir())
