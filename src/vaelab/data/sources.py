"""Find the four files of a data set, here or by a download, or fall back to the subset.

Shapes: N images, H height, W width.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from vaelab.config import DatasetConfig, expand_home
from vaelab.data.datasets import DatasetSpec, check_root, spec_of
from vaelab.data.download import download
from vaelab.data.folders import (
    DataError,
    files_in,
    folders_near,
    is_complete,
    standard_folder,
    subset_digests,
    verified,
)
from vaelab.runs.files import FULL, StorageError

SYSTEM = Path("/usr/share/datasets")


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

    Raises DataError for a damaged file, wherever it is, where nothing is found, and for a full disk.
    """
    spec = spec_of(config.name)
    if config.source == "embedded":
        if spec.subset is None:
            raise DataError(f"{spec.title} has no embedded subset: type dataset.source=auto instead.")
        return read(spec, "embedded", spec.subset)
    root = root_of(config)
    check_root(config)
    standard = standard_folder(spec, root)
    system = [] if spec.system_folder is None else [SYSTEM / spec.system_folder]
    unusable = None
    for folder in chain(folders_near(spec, root), (each for each in system if is_complete(spec, each))):
        try:
            return read(spec, "system" if folder in system else "root", folder)
        except DataError as error:
            unusable = unusable or error
    if unusable is not None:
        raise unusable
    try:
        download(spec, standard)
    except (DataError, StorageError) as error:
        if getattr(error.__cause__, "errno", None) in FULL:  # the subset would only hide it
            raise DataError(str(error)) from error
        looked = f"{'neither' if system else 'not'} in {' nor in '.join(map(str, [standard, *system]))}"
        if there := files_in(spec, standard):
            lacking = [name for name in spec.files.values() if name not in there]
            looked = f"not complete in {standard} (no {', '.join(lacking)})"
        advice = "dataset.root=FOLDER names a folder that has it"
        if spec.subset is not None:
            advice += ", dataset.source=embedded the shipped subset"
        why = f"{spec.title} is {looked}, and {str(error).rstrip('.')}: {advice}"
        if config.source == "full" or spec.subset is None:
            raise DataError(f"{why}.") from error
        return read(spec, "embedded", spec.subset, fallback=why)
    return read(spec, "download", standard)


def root_of(config: DatasetConfig) -> Path:
    """The folder that is searched: `dataset.root`, else $VAELAB_DATA, else the user's cache folder."""
    return Path(expand_home(config.root or os.environ.get("VAELAB_DATA") or user_cache_path("vaelab")))


def holds(config: DatasetConfig, root: str) -> bool:
    """Whether the files of the data set are in a folder or near it."""
    return next(folders_near(spec_of(config.name), Path(root)), None) is not None


def read(spec: DatasetSpec, source: str, folder: Path, fallback: str | None = None) -> RawData:
    """The four files of `folder`, each checked against its digest; raises DataError naming a wrong one."""
    embedded = source == "embedded"
    digests = subset_digests(spec) if embedded else spec.digests
    arrays, keys = {}, {name: key for key, name in spec.files.items()}
    files = files_in(spec, folder)
    files |= {name: folder / name for name in keys if name not in files}
    for name, path in files.items():
        content = verified(path, digests[name], spec.largest_file)
        # IDX (Y. LeCun's page on MNIST): magic number, dimensions, big-endian sizes, values.
        dimensions = content[3]
        shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4)
        arrays[keys[name]] = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    return RawData(**arrays, origin=Origin(source, str(folder), not embedded, fallback, digests))
