"""Find the four files of a data set, verify each by SHA-256, download them, or fall back to the subset.

Shapes: N images, H height, W width.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import re
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from platformdirs import user_cache_path
from tqdm import tqdm

from vaelab.config import ConfigError, DatasetConfig, VaelabError, show, unknown
from vaelab.runs.files import FULL, StorageError, remove_leftovers, write_bytes, writing

log = logging.getLogger(__name__)

EMBEDDED = Path(__file__).parent / "embedded"
SYSTEM = Path("/usr/share/datasets")
MIRROR_VARIABLE = "VAELAB_MIRROR"
"""Environment variable: a base URL that serves the .gz files instead of the public mirrors."""

TIMEOUT = 20.0
"""Seconds without an answer after which a download is given up."""

CHUNK = 1 << 16
"""Bytes that a download takes at once."""

LARGEST = 60_000 * 28 * 28 + 16
"""Bytes of the largest decompressed file."""

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


class DataError(VaelabError):
    """The data are missing, damaged, or can't be fetched."""


@dataclass(frozen=True)
class DatasetSpec:
    """What must be known of a data set before any of its files is read."""

    name: str
    title: str
    folder: str
    """Its folder in torchvision's layout, and its class in torchvision.datasets."""
    system_folder: str
    image_shape: tuple[int, int, int] = field(default=(1, 28, 28), kw_only=True)
    """Channels, height and width."""
    classes: tuple[str, ...]
    digests: Mapping[str, str]
    """SHA-256 of each decompressed file."""


DATASETS = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            name="mnist",
            title="MNIST",
            folder="MNIST",
            system_folder="mnist",
            classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
            digests={
                "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            },
        ),
        DatasetSpec(
            name="fashion_mnist",
            title="Fashion-MNIST",
            folder="FashionMNIST",
            system_folder="fashion-mnist",
            classes=(
                "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
            ),
            digests={
                "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            },
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """Where the images came from; written wherever their numbers are."""

    source: str
    """root, system, download or embedded."""
    folder: str
    complete: bool
    """False for the embedded subset."""
    fallback: str | None
    """Why the embedded subset stands in for the full set; None where it was asked for, or isn't used.
    Whoever prints a number says this loudly."""
    sha256: Mapping[str, str]
    """Of each decompressed file."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class RawData:
    """A whole data set as its files hold it."""

    train_images: NDArray[np.uint8]  # (N, H, W)
    train_labels: NDArray[np.uint8]  # (N,)
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]
    origin: Origin


def spec_of(name: str) -> DatasetSpec:
    """The data set of that name; raises ConfigError for an unknown one."""
    if name not in DATASETS:
        raise unknown("dataset", name, DATASETS)
    return DATASETS[name]


def find(config: DatasetConfig) -> RawData:
    """The first of root, system folder, download and embedded subset that has the data set.

    `source=full` stops before the subset, `source=embedded` starts there.
    Raises DataError for a damaged file, wherever it lies, where nothing is found, and for a full disk.
    """
    spec = spec_of(config.name)
    if config.source == "embedded":
        return read_embedded(spec, fallback=None)
    root = root_folder(config.root)
    if config.root is not None and not root.is_dir():
        raise ConfigError(
            f"dataset.root={root} is no folder: type one with {spec.folder}/raw, or make it for a download."
        )
    for source, folder in (
        ("root", root / spec.folder / "raw"),
        ("system", SYSTEM / spec.system_folder),
    ):
        if holds_all_files(folder):
            return read(folder, spec.digests, Origin(source, str(folder), True, None, spec.digests))
    try:
        folder = download(spec, root)
        return read(folder, spec.digests, Origin("download", str(folder), True, None, spec.digests))
    except (DownloadError, StorageError) as error:
        if getattr(error.__cause__, "errno", None) in FULL:  # the subset would only hide it
            raise DataError(str(error)) from error
        why = str(error).rstrip(".")
        looked = (
            f"{spec.title} is neither in {root / spec.folder / 'raw'} nor in {SYSTEM / spec.system_folder}"
        )
        advice = "dataset.root=FOLDER names a folder that has it, dataset.source=embedded the shipped subset"
        if config.source == "full":
            raise DataError(f"{looked}, and {why}: {advice}.") from error
        return read_embedded(spec, fallback=f"{looked}, and {why}: {advice}")


def root_folder(root: str | None) -> Path:
    """`dataset.root`, else $VAELAB_DATA, else the user's cache folder."""
    if root or os.environ.get("VAELAB_DATA"):
        return Path(root or os.environ["VAELAB_DATA"]).expanduser()
    return user_cache_path("vaelab")


# --- reading ----------------------------------------------------------------------------------------------


def file_in(folder: Path, name: str) -> Path | None:
    """The file of that name, raw or gzipped, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def holds(config: DatasetConfig, root: str) -> bool:
    """Whether all files of the data set are in a folder of torchvision's layout."""
    return holds_all_files(Path(root) / spec_of(config.name).folder / "raw")


def holds_all_files(folder: Path) -> bool:
    return all(file_in(folder, name) for name in FILES.values())


def read(folder: Path, digests: Mapping[str, str], origin: Origin) -> RawData:
    """The four files of `folder`, each checked against its digest; raises DataError naming a damaged one."""
    arrays = {}
    for key, name in FILES.items():
        path = file_in(folder, name)
        if path is None:
            raise DataError(f"{folder / name} is missing: install vaelab again.")
        arrays[key] = parse_idx(verified(path, digests[name]))
    return RawData(**arrays, origin=origin)


def verified(path: Path, digest: str) -> bytes:
    """The decompressed bytes of a file with that SHA-256; raises DataError where they differ."""
    advice = f"delete {path} and run again to fetch it anew, or type dataset.root=FOLDER of another copy"
    try:
        with path.open("rb") as file:
            content = unpacked(file) if path.suffix == ".gz" else file.read(LARGEST + 1)
    except DAMAGED as error:
        raise DataError(f"{path} can't be read ({error}): {advice}.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise DataError(
            f"{path} is damaged: its SHA-256 is {found[:12]}… where {digest[:12]}… is expected: {advice}."
        )
    return content


DAMAGED = (OSError, EOFError, zlib.error)
"""What reading a damaged gzip file raises."""


def unpacked(file: IO[bytes]) -> bytes:
    """What a gzip file unfolds to, as far as the largest that is expected. Raises one of DAMAGED."""
    with gzip.open(file) as content:
        return content.read(LARGEST + 1)


def holds_bytes(packed: bytes, digest: str) -> bool:
    """Whether a gzip file unfolds to bytes with that SHA-256."""
    try:
        return hashlib.sha256(unpacked(io.BytesIO(packed))).hexdigest() == digest
    except DAMAGED:
        return False


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes: a magic number, big-endian sizes, then the values.

    Format: Y. LeCun's page on MNIST. The content is verified, so the header needs no second check.
    """
    dimensions = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def read_embedded(spec: DatasetSpec, fallback: str | None) -> RawData:
    """The subset that ships inside the package: the first images of each file."""
    sums = dict(re.findall(r"(\w{64})  (\S+)", (EMBEDDED / "SHA256SUMS").read_text()))
    by_path = {path: digest for digest, path in sums.items()}
    folder = EMBEDDED / spec.folder / "raw"
    digests = {name: by_path[f"{spec.folder}/raw/{name}"] for name in FILES.values()}
    return read(folder, digests, Origin("embedded", str(folder), False, fallback, digests))


# --- downloading ------------------------------------------------------------------------------------------


class DownloadError(VaelabError):
    """No mirror gave the right bytes."""


def download(spec: DatasetSpec, root: Path) -> Path:
    """Fetch what is missing into `root` in torchvision's layout; the folder that then holds all four files.

    Safe when several processes start at once: one fetches, the others wait and find the files there.
    A file gets its name only once its digest is right. Raises DownloadError, and StorageError.
    """
    folder = root / spec.folder / "raw"
    lock = FileLock(folder / ".download.lock")
    with writing(folder / ".download.lock"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("Another process downloads %s into %s: waiting for it", spec.title, folder)
            lock.acquire()
    try:
        remove_leftovers(folder)  # of a process that was killed
        for name in FILES.values():
            if file_in(folder, name) is None:
                fetch(f"{name}.gz", spec, folder)
    finally:
        lock.release()
    return folder


def fetch(file: str, spec: DatasetSpec, folder: Path) -> None:
    """One file from the first mirror that has the right bytes; raises DownloadError, or StorageError."""
    reasons = []
    for url in mirrors(spec, file):
        try:
            content = received(url)
        except (OSError, ValueError, HTTPException) as error:  # no answer, a bad one, or a malformed URL
            reasons.append(f"{url} can't be reached ({getattr(error, 'reason', None) or error})")
            continue
        if holds_bytes(content, spec.digests[file.removesuffix(".gz")]):
            write_bytes(folder / file, content)
            return
        reasons.append(f"{url} sent damaged bytes")
    raise DownloadError("; ".join(reasons))


def received(url: str) -> bytes:
    """What a server sends, of what is no longer than any of the files; a bar shows how far it is."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        log.info("Downloading %s", url)
        expected = int(response.headers.get("Content-Length") or 0) or None
        bar = tqdm(
            total=expected, unit="B", unit_scale=True, desc=url.rpartition("/")[2],
            disable=None,  # silent unless stderr is a terminal
            leave=False, dynamic_ncols=True,
        )  # fmt: skip
        content = io.BytesIO()
        with bar:
            while (chunk := response.read1(CHUNK)) and content.tell() <= LARGEST:
                content.write(chunk)
                bar.update(len(chunk))
        if expected is not None and content.tell() < expected:
            raise OSError(f"it broke off after {content.tell():,} of {expected:,} bytes")
        return content.getvalue()


def mirrors(spec: DatasetSpec, file: str) -> Iterator[str]:
    """The addresses of a .gz file: $VAELAB_MIRROR/<folder>/<file>, or those that torchvision knows."""
    if base := os.environ.get(MIRROR_VARIABLE):
        yield f"{base.rstrip('/')}/{spec.folder}/{file}"
        return
    import torchvision.datasets  # seconds to import, so only where something is to be downloaded

    for base in getattr(torchvision.datasets, spec.folder).mirrors:
        yield base + file


def class_numbers(spec: DatasetSpec, wanted: list[Any] | None) -> list[int]:
    """Sorted class numbers from numbers or names; names match by their letters and digits, or a part of them.

    Raises ConfigError for a class the data set doesn't have, one named twice, or an ambiguous name.
    """
    if wanted is None:
        return list(range(len(spec.classes)))
    known = ", ".join(f"{number} {name}" for number, name in enumerate(spec.classes))
    if all(name.isdecimal() for name in spec.classes):
        known = f"0 to {len(spec.classes) - 1}"
    numbers = []
    for entry in wanted:
        matches = matching_classes(spec, entry)
        if len(matches) != 1:
            problem = "fits several classes" if matches else "is none of its classes"
            raise ConfigError(f"dataset.classes: {show(entry)} {problem}. {spec.title} has {known}.")
        numbers += matches
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"dataset.classes names a class twice: {show(wanted)}. Type each once.")
    return sorted(numbers)


def matching_classes(spec: DatasetSpec, entry: Any) -> list[int]:
    """The classes that a number or (the start of) a name fits; an exact name fits alone."""

    def letters(name: str) -> str:
        return re.sub(r"[^a-z0-9]", "", name.lower())

    if isinstance(entry, int) and not isinstance(entry, bool):
        return [entry] if 0 <= entry < len(spec.classes) else []
    names = [letters(name) for name in spec.classes]
    word = letters(str(entry))
    exact = [number for number, name in enumerate(names) if name == word]
    return exact or [number for number, name in enumerate(names) if word and name.startswith(word)]
