"""Find the four files of a data set, verify each by SHA-256, download them, or fall back to the subset.

Shapes: N images, H height, W width.
"""

import hashlib
import logging
import os
import time
import urllib.request
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path
from tqdm import tqdm

from vaelab.config import ConfigError, DatasetConfig, VaelabError, expand_home
from vaelab.data.datasets import DatasetSpec, spec_of
from vaelab.runs.files import FULL, StorageError, locked, remove_leftovers, write_bytes, writing

log = logging.getLogger(__name__)
SYSTEM = Path("/usr/share/datasets")
TIMEOUT, LONGEST = 20.0, 900.0  # seconds without an answer, and in all, that a file's download may take


class DataError(VaelabError):
    """The data are missing, damaged, or can't be fetched."""


@dataclass(frozen=True)
class Origin:
    """Where the images came from; written wherever their numbers are."""

    source: str  # root, system, download or embedded
    folder: str
    complete: bool  # False for the embedded subset
    fallback: str | None  # why the subset is used instead of the full set, said with every number
    sha256: Mapping[str, str]  # of each decompressed file


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

    The root is `dataset.root`, else $VAELAB_DATA, else the user's cache folder.
    Raises DataError for a damaged file, wherever it is, where nothing is found, and for a full disk.
    """
    spec = spec_of(config.name)
    if config.source == "embedded":
        if spec.subset is None:
            raise DataError(f"{spec.title} has no embedded subset: type dataset.source=auto instead.")
        return read(spec, "embedded", spec.subset)
    root = Path(expand_home(config.root or os.environ.get("VAELAB_DATA") or user_cache_path("vaelab")))
    if config.root is not None and not root.is_dir():
        advice = f"type one with {spec.folder}/raw, or make it for a download."
        raise ConfigError(f"dataset.root={root} is not a directory: {advice}")
    places = {"root": root / spec.folder / "raw"}
    if spec.system_folder is not None:
        places["system"] = SYSTEM / spec.system_folder
    for source, folder in places.items():
        if all(file_in(folder, name) for name in spec.files.values()):
            return read(spec, source, folder)
    try:
        download(spec, places["root"])
    except (DataError, StorageError) as error:
        if getattr(error.__cause__, "errno", None) in FULL:  # the subset would only hide it
            raise DataError(str(error)) from error
        looked = f"{'neither' if len(places) > 1 else 'not'} in {' nor in '.join(map(str, places.values()))}"
        advice = "dataset.root=FOLDER names a folder that has it"
        if spec.subset is not None:
            advice += ", dataset.source=embedded the shipped subset"
        why = f"{spec.title} is {looked}, and {str(error).rstrip('.')}: {advice}"
        if config.source == "full" or spec.subset is None:
            raise DataError(f"{why}.") from error
        return read(spec, "embedded", spec.subset, fallback=why)
    return read(spec, "download", places["root"])


def file_in(folder: Path, name: str) -> Path | None:
    """The file of that name, raw or gzipped, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def holds(config: DatasetConfig, root: str) -> bool:
    """Whether all files of the data set are in a folder of torchvision's layout."""
    spec = spec_of(config.name)
    return all(file_in(Path(root) / spec.folder / "raw", name) for name in spec.files.values())


def read(spec: DatasetSpec, source: str, folder: Path, fallback: str | None = None) -> RawData:
    """The four files of `folder`, each checked against its digest; raises DataError naming a damaged one."""
    digests, embedded = spec.digests, source == "embedded"
    if embedded:
        lines = (folder / "SHA256SUMS").read_text().splitlines()
        digests = {name: digest for digest, name in map(str.split, lines)}
    arrays = {}
    for key, name in spec.files.items():
        content = verified(file_in(folder, name) or folder / name, digests[name], spec.largest_file)
        # IDX (Y. LeCun's page on MNIST): magic number, dimensions, big-endian sizes, values.
        dimensions = content[3]
        shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4)
        arrays[key] = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    return RawData(**arrays, origin=Origin(source, str(folder), not embedded, fallback, digests))


def verified(path: Path, digest: str, largest: int) -> bytes:
    """The decompressed bytes of a file with that SHA-256; raises DataError where they differ."""
    try:
        with path.open("rb") as file:
            return unpacked(file.read(largest + 1), digest, largest)
    except (OSError, DataError) as error:
        advice = f"delete {path} and run again to fetch it anew, or type dataset.root=FOLDER of another copy"
        raise DataError(f"{path} is damaged or can't be read ({error}): {advice}.") from error


def unpacked(content: bytes, digest: str, largest: int) -> bytes:
    """The bytes of a file, gzipped or not, that have that SHA-256; raises DataError where they differ."""
    if content.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):  # damaged: the digest says so
            content = zlib.decompressobj(wbits=31).decompress(content, largest + 1)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise DataError(f"its SHA-256 is {found[:12]}… where {digest[:12]}… is expected")
    return content


def download(spec: DatasetSpec, folder: Path) -> None:
    """Fetch what is missing into `folder`. Raises DataError, and StorageError.

    Where several processes start at once, one fetches, and the others wait and find the files there.
    """
    lock = folder / ".download.lock"
    with writing(lock):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(lock):
            remove_leftovers(folder)  # of a process that was killed
            for name in spec.files.values():
                if file_in(folder, name) is None:
                    fetch(name, spec, folder)


def fetch(name: str, spec: DatasetSpec, folder: Path) -> None:
    """One file from the first mirror that has the right bytes; raises DataError, or StorageError."""
    reasons = []
    for base in mirrors(spec):
        url = f"{base}{name}.gz"
        try:
            content = received(url, spec.largest_file)
            unpacked(content, spec.digests[name], spec.largest_file)
        except DataError:
            reasons.append(f"{url} sent damaged bytes")
        except (OSError, ValueError, HTTPException) as error:  # no answer, a bad one, or a malformed URL
            reasons.append(f"{url} can't be reached ({getattr(error, 'reason', None) or error})")
        else:
            return write_bytes(folder / f"{name}.gz", content)
    raise DataError("; ".join(reasons) or "nowhere to download it from is known")


def mirrors(spec: DatasetSpec) -> tuple[str, ...]:
    """Where the .gz files are: $VAELAB_MIRROR/<folder>/, or the data set's own addresses."""
    base = os.environ.get("VAELAB_MIRROR")
    return (f"{base.rstrip('/')}/{spec.folder}/",) if base else spec.urls


def received(url: str, largest: int) -> bytes:
    """What a server sends, of what is no longer than any of the files; a bar shows the progress."""
    content, give_up = bytearray(), time.monotonic() + LONGEST
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        log.info("Downloading %s", url)
        expected = int(response.headers.get("Content-Length") or 0)
        name = url.rpartition("/")[2]
        # Silent unless stderr is a terminal.
        with tqdm(desc=name, total=expected, unit="B", unit_scale=True, disable=None, leave=False) as bar:
            while (chunk := response.read1(1 << 16)) and len(content) <= largest:
                if time.monotonic() > give_up:
                    raise OSError(f"it took more than {LONGEST:.0f} s")
                content += chunk
                bar.update(len(chunk))
    if len(content) < expected:
        raise OSError(f"it was interrupted after {len(content):,} of {expected:,} bytes")
    return bytes(content)
