"""Find the four files of a data set, verify each by SHA-256, download them, or fall back to the subset.

Shapes: N images, H height, W width.
"""

import gzip
import hashlib
import io
import logging
import os
import time
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from platformdirs import user_cache_path
from tqdm import tqdm

from vaelab.config import ConfigError, DatasetConfig, VaelabError
from vaelab.data.datasets import DatasetSpec, spec_of
from vaelab.runs.files import FULL, StorageError, remove_leftovers, write_bytes, writing

log = logging.getLogger(__name__)

SYSTEM = Path("/usr/share/datasets")
MIRROR_VARIABLE = "VAELAB_MIRROR"
"""Environment variable: a base URL that serves the .gz files instead of the public mirrors."""

TIMEOUT = 20.0
"""Seconds without an answer after which a download is given up."""

LONGEST = 900.0
"""Seconds after which a file that still comes, drop by drop, is given up."""

CHUNK = 1 << 16
"""Bytes that a download takes at once."""


class DataError(VaelabError):
    """The data are missing, damaged, or can't be fetched."""


class DownloadError(VaelabError):
    """No mirror gave the right bytes."""


@dataclass(frozen=True)
class Origin:
    """Where the images came from; written wherever their numbers are."""

    source: str
    """root, system, download or embedded."""
    folder: str
    complete: bool
    """False for the embedded subset."""
    fallback: str | None
    """Why the embedded subset stands in for the full set; None where it was chosen, or isn't used.
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


def find(config: DatasetConfig) -> RawData:
    """The first of root, system folder, download and embedded subset that has the data set.

    `source=full` stops before the subset, `source=embedded` starts there.
    Raises DataError for a damaged file, wherever it lies, where nothing is found, and for a full disk.
    """
    spec = spec_of(config.name)
    if config.source == "embedded":
        if spec.subset is None:
            raise DataError(f"{spec.title} has no embedded subset: type dataset.source=auto instead.")
        return read_embedded(spec, spec.subset, fallback=None)
    root = root_folder(config.root)
    if config.root is not None and not root.is_dir():
        raise ConfigError(
            f"dataset.root={root} is not a directory: type one with {spec.folder}/raw, or make it for a "
            "download."
        )
    places = {"root": root / spec.folder / "raw"}
    if spec.system_folder is not None:
        places["system"] = SYSTEM / spec.system_folder
    for source, folder in places.items():
        if holds_all_files(spec, folder):
            return read(spec, folder, Origin(source, str(folder), True, None, spec.digests))
    try:
        folder = download(spec, root)
        return read(spec, folder, Origin("download", str(folder), True, None, spec.digests))
    except (DownloadError, StorageError) as error:
        if getattr(error.__cause__, "errno", None) in FULL:  # the subset would only hide it
            raise DataError(str(error)) from error
        looked = (
            f"{'neither in' if len(places) > 1 else 'not in'} {' nor in '.join(map(str, places.values()))}"
        )
        why = f"{spec.title} is {looked}, and {str(error).rstrip('.')}"
        advice = "dataset.root=FOLDER names a folder that has it"
        if spec.subset is not None:
            advice += ", dataset.source=embedded the shipped subset"
        if config.source == "full" or spec.subset is None:
            raise DataError(f"{why}: {advice}.") from error
        return read_embedded(spec, spec.subset, fallback=f"{why}: {advice}")


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
    spec = spec_of(config.name)
    return holds_all_files(spec, Path(root) / spec.folder / "raw")


def holds_all_files(spec: DatasetSpec, folder: Path) -> bool:
    return all(file_in(folder, name) for name in spec.files.values())


def read_embedded(spec: DatasetSpec, folder: Path, fallback: str | None) -> RawData:
    """The subset that ships inside the package: the first images of each file."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    digests = {name: digest for digest, name in map(str.split, lines)}
    return read(spec, folder, Origin("embedded", str(folder), False, fallback, digests))


def read(spec: DatasetSpec, folder: Path, origin: Origin) -> RawData:
    """The four files of `folder`, each checked against its digest; raises DataError naming a damaged one."""
    arrays = {}
    for key, name in spec.files.items():
        path = file_in(folder, name)
        if path is None:
            raise DataError(f"{folder / name} is missing: install vaelab again.")
        arrays[key] = parse_idx(verified(path, origin.sha256[name], spec.largest_file))
    height, width = arrays["train_images"].shape[1:]
    if (height, width) != spec.image_shape[1:]:
        raise DataError(
            f"{folder} has images of {height}x{width} pixels: {spec.title} has another image_shape."
        )
    return RawData(**arrays, origin=origin)


DAMAGED = (OSError, EOFError, ValueError, zlib.error)
"""What reading a damaged file raises."""


def verified(path: Path, digest: str, largest: int) -> bytes:
    """The decompressed bytes of a file with that SHA-256; raises DataError where they differ."""
    try:
        with path.open("rb") as file:
            return unpacked(file.read(largest + 1), digest, largest)
    except DAMAGED as error:
        advice = f"delete {path} and run again to fetch it anew, or type dataset.root=FOLDER of another copy"
        raise DataError(f"{path} is damaged or can't be read ({error}): {advice}.") from error


def unpacked(content: bytes, digest: str, largest: int) -> bytes:
    """The bytes of a file, gzipped or not, that have that SHA-256. Raises one of DAMAGED."""
    if content.startswith(b"\x1f\x8b"):
        with gzip.open(io.BytesIO(content)) as file:
            content = file.read(largest + 1)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ValueError(f"its SHA-256 is {found[:12]}… where {digest[:12]}… is expected")
    return content


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes: a magic number, big-endian sizes, then the values.

    Format: Y. LeCun's page on MNIST. The content is verified, so the header needs no second check.
    """
    dimensions = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)


# --- downloading ------------------------------------------------------------------------------------------


def download(spec: DatasetSpec, root: Path) -> Path:
    """Fetch what is missing into `root` in torchvision's layout; the folder that then holds all four files.

    Safe when several processes start at once: one fetches, the others wait and find the files there.
    A file gets its name only once its digest is right. Raises DownloadError, and StorageError.
    """
    folder = root / spec.folder / "raw"
    lock = folder / ".download.lock"
    with writing(lock):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            remove_leftovers(folder)  # of a process that was killed
            for name in spec.files.values():
                if file_in(folder, name) is None:
                    fetch(name, spec, folder)
    return folder


def fetch(name: str, spec: DatasetSpec, folder: Path) -> None:
    """One file from the first mirror that has the right bytes; raises DownloadError, or StorageError."""
    reasons = []
    for base in mirrors(spec):
        url = f"{base}{name}.gz"
        try:
            content = received(url, spec.largest_file)
        except (OSError, ValueError, HTTPException) as error:  # no answer, a bad one, or a malformed URL
            reasons.append(f"{url} can't be reached ({getattr(error, 'reason', None) or error})")
            continue
        try:
            unpacked(content, spec.digests[name], spec.largest_file)
        except DAMAGED:
            reasons.append(f"{url} sent damaged bytes")
            continue
        return write_bytes(folder / f"{name}.gz", content)
    raise DownloadError("; ".join(reasons) or "nowhere to download it from is known")


def mirrors(spec: DatasetSpec) -> tuple[str, ...]:
    """Where the .gz files are: $VAELAB_MIRROR/<folder>/, or the data set's own addresses."""
    base = os.environ.get(MIRROR_VARIABLE)
    return (f"{base.rstrip('/')}/{spec.folder}/",) if base else spec.urls


def received(url: str, largest: int) -> bytes:
    """What a server sends, of what is no longer than any of the files; a bar shows the progress."""
    content, give_up = io.BytesIO(), time.monotonic() + LONGEST
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        log.info("Downloading %s", url)
        expected = int(response.headers.get("Content-Length") or 0)
        name = url.rpartition("/")[2]
        # Silent unless stderr is a terminal.
        with tqdm(desc=name, total=expected, unit="B", unit_scale=True, disable=None, leave=False) as bar:
            while (chunk := response.read1(CHUNK)) and content.tell() <= largest:
                if time.monotonic() > give_up:
                    raise OSError(f"it took more than {LONGEST:.0f} s")
                content.write(chunk)
                bar.update(len(chunk))
    if content.tell() < expected:
        raise OSError(f"it broke off after {content.tell():,} of {expected:,} bytes")
    return content.getvalue()
