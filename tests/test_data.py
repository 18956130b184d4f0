"""Find, verify, split: the embedded subset, folders that tests make, and mirrors on loopback."""

from __future__ import annotations

import gzip
import http.server
import json
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from conftest import UNREACHABLE, SmallDisk
from fault_points import fill
from vaelab.cli import api
from vaelab.config import ConfigError, DatasetConfig
from vaelab.data import download, folders, sources, splits
from vaelab.data.datasets import EMBEDDED, FILES, class_numbers, datasets, published
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


@pytest.fixture
def small_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full set's place taken by the embedded one, whose files are here: its digests count as the right ones."""
    embedded = find(DatasetConfig(source="embedded")).origin.sha256
    monkeypatch.setitem(datasets.registered, "fashion_mnist", replace(FASHION, digests=embedded))


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
    with pytest.raises(DataError, match=r"dataset\.source=embedded the shipped subset\.$"):
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
    assert "is damaged or of another data set" in str(error.value)
    assert "move it away and run again" in str(error.value)


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
def test_files_of_another_data_set_are_told_what_they_are(tmp_path: Path, folder: str) -> None:
    files = copy_files(tmp_path / folder if folder else tmp_path / "flat")
    root = tmp_path if folder else files
    with pytest.raises(DataError) as error:
        find(DatasetConfig(name="mnist", root=str(root)))
    assert str(error.value) == (
        f"{files}/t10k-labels-idx1-ubyte.gz is a file of Fashion-MNIST: "
        "type dataset=fashion_mnist, or dataset.root=FOLDER of the data set that is meant."
    )


def test_other_data_sets_beside_are_passed_over(tmp_path: Path) -> None:
    copy_files(tmp_path / "root" / "FashionMNIST" / "raw")
    copy_files(tmp_path / "root" / "KMNIST" / "raw")
    (tmp_path / "root" / "KMNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").write_bytes(
        b"of no data set that is known"
    )
    assert find(DatasetConfig(name="mnist")).origin.source == "embedded"
    assert not sources.holds(DatasetConfig(name="mnist"), str(tmp_path / "root"))
    with pytest.raises(DataError, match=r"is of the subset: type dataset\.source=embedded"):
        find(DatasetConfig())


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves the embedded files; `behaviour` makes it fail."""

    behaviour = "good"
    served: list[str]

    def do_GET(self) -> None:
        if self.behaviour == "503":
            self.send_error(503)
            return
        if self.behaviour == "garbage":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            return
        if self.behaviour == "hesitates, then 503":
            self.served.append(self.path)
            time.sleep(1.5)
            self.send_error(503)
            return
        if self.behaviour.startswith("drips"):
            self.wfile.write(b"HTTP/1.0 200 OK\r\n")
            if self.behaviour == "drips":
                self.wfile.write(b"Content-Length: 1000\r\n\r\n")
            with suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.02)
            return
        content = (EMBEDDED / FASHION.folder / "raw" / Path(self.path).name).read_bytes()
        self.served.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.behaviour == "wrong bytes":
            content = content[::-1]
        if self.behaviour == "cuts off":
            content = content[: len(content) // 2]
        for start in range(0, len(content), 1 << 17):
            time.sleep(0.02 if self.behaviour == "slow" else 0)
            self.wfile.write(content[start : start + (1 << 17)])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Mirror]]:
    handler = type("ThisMirror", (Mirror,), {"served": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("VAELAB_MIRROR", f"http://127.0.0.1:{server.server_port}")
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("small_set")
def test_download_lands_in_torchvisions_layout(tmp_path: Path, mirror: type[Mirror]) -> None:
    assert find(DatasetConfig()).origin.source == "download"
    files = {path.name for path in (tmp_path / "root" / "FashionMNIST" / "raw").iterdir()}
    assert files == {f"{name}.gz" for name in FILES.values()}
    assert find(DatasetConfig()).origin.source == "root"
    assert len(mirror.served) == 4


@pytest.mark.usefixtures("small_set")
def test_eight_at_once_download_once(mirror: type[Mirror]) -> None:
    with ThreadPoolExecutor(8) as pool:
        origins = list(pool.map(lambda _: find(DatasetConfig()).origin, range(8)))
    assert {origin.source for origin in origins} <= {"download", "root"}
    assert len(mirror.served) == 4


@pytest.mark.usefixtures("small_set")
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("wrong bytes", "sent damaged bytes"),
        ("cuts off", r"can't be reached \(it was interrupted after [\d,]+ of [\d,]+ bytes\)"),
        ("503", "Service Unavailable"),
        ("garbage", "can't be reached"),
    ],
)
def test_a_bad_mirror_leaves_no_file(
    tmp_path: Path, mirror: type[Mirror], behaviour: str, reason: str
) -> None:
    mirror.behaviour = behaviour
    with pytest.raises(DataError, match=reason):
        find(DatasetConfig(source="full"))
    assert not (tmp_path / "root").exists()


@pytest.mark.usefixtures("small_set")
@pytest.mark.parametrize("behaviour", ["drips", "drips headers"])
def test_a_mirror_that_drips_is_given_up(
    mirror: type[Mirror], monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    monkeypatch.setattr(download, "PATIENCE", 0.5)
    mirror.behaviour = behaviour
    with pytest.raises(DataError, match=r"can't be reached \(it sent \d+ bytes in 1 s\)"):
        find(DatasetConfig(source="full"))


@pytest.mark.usefixtures("small_set")
def test_eight_at_a_dead_mirror_fail_as_the_first_and_are_not_held_back_later(mirror: type[Mirror]) -> None:
    mirror.behaviour = "hesitates, then 503"
    with ThreadPoolExecutor(8) as pool:
        failures = list(pool.map(lambda _: find(DatasetConfig()).origin.fallback, range(8)))
    assert len(set(failures)) == 1
    assert "Service Unavailable" in str(failures[0])
    assert len(mirror.served) == 1
    mirror.behaviour = "good"
    assert find(DatasetConfig()).origin.source == "download"


@pytest.mark.usefixtures("small_set", "mirror")
def test_a_cache_that_cannot_be_written_stops_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert find(DatasetConfig()).origin.source == "download"


LOOKING = """
import sys
from dataclasses import replace
from vaelab.config import DatasetConfig
from vaelab.data import sources
from vaelab.data.datasets import datasets, published
embedded = sources.find(DatasetConfig(source="embedded")).origin.sha256
datasets.registered["fashion_mnist"] = replace(published()["fashion_mnist"], digests=embedded)
try:
    print(sources.find(DatasetConfig(source="full")).origin.source)
except sources.DataError as error:
    sys.exit(str(error))
"""
"""Finds the data in a process of its own, the embedded set in the full one's place."""


@pytest.mark.parametrize(
    ("behaviour", "downloads", "reason"),
    [
        ("slow", 4, ""),
        ("cuts off", 8, "it was interrupted after"),
        ("wrong bytes", 8, "sent damaged bytes"),
    ],
)
def test_eight_processes_at_an_empty_root(
    tmp_path: Path, mirror: type[Mirror], behaviour: str, downloads: int, reason: str
) -> None:
    """One download, verified, for all; or one clear line each, and nothing left."""
    mirror.behaviour = behaviour
    processes = [
        subprocess.Popen([sys.executable, "-c", LOOKING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]  # fmt: skip
    ends = [(*process.communicate(timeout=120), process.returncode) for process in processes]
    failed = [stderr for _, stderr, status in ends if status]
    assert len(failed) == (0 if behaviour == "slow" else 8)
    for line in failed:
        assert len(line.splitlines()) == 1
        assert reason in line
        assert "dataset.root=FOLDER names a folder that has it" in line
    assert len(mirror.served) <= downloads  # those that wait fail as the first
    files = {path.name for path in (tmp_path / "root").rglob("*.*")}
    assert files == ({f"{name}.gz" for name in FILES.values()} if behaviour == "slow" else set())


def test_a_full_disk_is_said_and_no_reason_for_the_subset(
    mounted: SmallDisk, mirror: type[Mirror], small_set: None
) -> None:
    fill(mounted.seen)
    with pytest.raises(DataError) as error:
        find(DatasetConfig(source="auto", root=str(mounted.seen)))
    assert re.search(
        r"train-images-idx3-ubyte\.gz can't be written: the disk at \S+ \(62\.9 MB\) is full\. Free some space there\.$",
        str(error.value),
    )
    assert not list(mounted.seen.rglob("train-images*"))


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


def test_a_file_that_unfolds_without_end_is_given_up(tmp_path: Path) -> None:
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


def test_what_a_killed_download_left_goes(tmp_path: Path, mirror: type[Mirror], small_set: None) -> None:
    left = tmp_path / "root" / "FashionMNIST" / "raw" / ".train-images-idx3-ubyte.gz.abc.partial"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert find(DatasetConfig()).origin.source == "download"
    assert not left.exists()


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
        ([12], "dataset.classes: 12 is none of its classes. Fashion-MNIST has 0 T-shirt/top, 1 Trouser,"),
        (["s"], "dataset.classes: s fits several classes."),
        ([-1], "dataset.classes: -1 is none of its classes."),
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
        "dataset.val_size=10000 leaves nothing of the 10000 training images: "
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


# --- the published binarisation of MNIST ------------------------------------------------------------------

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
    assert str(error.value) == (
        f"The images in {amat_files} are not those in {amat_files.parent / 'MNIST' / 'raw'} in the same order, whose "
        "labels would be wrong: type dataset.root=FOLDER of another copy, or dataset.binarize=static."
    )


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
    assert str(error.value) == (
        f"{path} must be 1,000 rows of 784 zeros and ones separated by spaces, and has {found}: "
        "type dataset.root=FOLDER of another copy."
    )


def test_a_run_on_the_published_binarisation_is_trained_evaluated_and_explored(
    amat_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = api.train(
        "dataset=mnist", "dataset.binarize=larochelle", "dataset.classes=[1,7]", "model.hidden=[30]", "epochs=1",
        "artifacts.every=0", "artifacts.figures=false", "artifacts.gif=false", "hydra.run.dir=run",
    )  # fmt: skip
    data = splits.load(LAROCHELLE.replace(classes=[1, 7]), CPU)
    facts = json.loads(Path("run", "run.json").read_text())["data"]
    assert facts["binarize"] == "larochelle"
    assert facts["images"] == {name: len(data.split(name)) for name in ("train", "val", "test")}
    assert {*ROWS} < {*facts["sha256"]}
    evaluated = api.evaluate(run, nll_images=20, importance_samples=5, figures=False, split="val")
    assert "−log of a probability of the 0/1 pixels that Larochelle & Murray (2011) published" in " ".join(
        evaluated.text.split()
    )
    assert "Not measured" not in evaluated.text
    assert api.explore(run).path.is_file()
