"""Find the four files of a data set: on this machine, by a download, or in the embedded subset.

Shapes: N images, H height, W width.
"""

import gzip
import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from vaelab.config import DatasetConfig, expand_home
from vaelab.data.datasets import DatasetSpec, UnpublishedSpec, check_root, datasets, spec_of
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
    """Where images come from; saved with all numbers measured on them."""

    source: str  # root, system, download or embedded; own for a user's own images
    folder: str
    complete: bool  # False for the embedded subset
    fallback: str | None  # why the subset is used instead of the full set; shown with every number
    sha256: Mapping[str, str]
    """Of each decompressed file; for a user's own images, of all files together and of the arrays made of
    them."""
    left_out: Mapping[str, str] = field(default_factory=dict)  # files that are not among the images, and why


@dataclass(frozen=True)
class RawData:
    """A whole data set as it is in its files."""

    train_images: NDArray[np.uint8]  # (N, H, W), or for colour images (N, C, H, W)
    train_labels: NDArray[np.uint8]  # (N,)
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]
    origin: Origin


def find(config: DatasetConfig) -> RawData:
    """The first of root, system folder, download and embedded subset that has the data set.

    Raises DataError if the only copies on this machine are damaged, if nothing is found, and if the disk is
    full.
    """
    spec = spec_of(config)
    if isinstance(spec, UnpublishedSpec):
        return spec.read()
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
            looked = f"not complete in {standard} (missing: {', '.join(lacking)})"
        advice = "dataset.root=FOLDER selects a folder with the data"
        if spec.subset is not None:
            advice += ", and dataset.source=embedded selects the embedded subset"
        why = f"{spec.title} is {looked}, and {str(error).rstrip('.')}: {advice}"
        if spec.subset is None:
            ending = "" if spec.packed == ".zip" else ".gz"
            files = ", ".join(name + ending for name in spec.files.values())
            raise DataError(f"{why}; or put {files} into {standard}.") from error
        if config.source == "full":
            raise DataError(f"{why}.") from error
        return read(spec, "embedded", spec.subset, fallback=why)
    return read(spec, "download", standard)


def root_of(config: DatasetConfig) -> Path:
    """The folder that is searched: `dataset.root`, else $VAELAB_DATA, else the user's cache folder."""
    return Path(expand_home(config.root or os.environ.get("VAELAB_DATA") or user_cache_path("vaelab")))


def holds(config: DatasetConfig, root: str) -> bool:
    """Whether the files of the data set are in a folder or near it, as far as it can be searched for them."""
    spec = datasets.get(config.name)
    return not isinstance(spec, DatasetSpec) or next(folders_near(spec, Path(root)), None) is not None


def read(spec: DatasetSpec, source: str, folder: Path, fallback: str | None = None) -> RawData:
    """The four files of `folder`, each checked against its digest; raises DataError naming a wrong one."""
    embedded = source == "embedded"
    digests = subset_digests(spec) if embedded else spec.digests
    keys = {name: key for key, name in spec.files.items()}
    files = files_in(spec, folder)
    files |= {name: folder / name for name in keys if name not in files}
    contents: dict[str, bytes] = {}
    for name, path in files.items():
        content = verified(path, digests[name], spec.largest_file, bool(spec.packed))
        contents |= unzipped(content, spec) if spec.packed == ".zip" else {keys[name]: content}
    arrays = {key: as_array(content) for key, content in contents.items()}
    for split in ("train", "test"):
        if spec.transposed:
            arrays[f"{split}_images"] = arrays[f"{split}_images"].transpose(0, 2, 1).copy()
        arrays[f"{split}_labels"] = arrays[f"{split}_labels"] - np.uint8(spec.first_label)
    return RawData(**arrays, origin=Origin(source, str(folder), not embedded, fallback, digests))


def unzipped(content: bytes, spec: DatasetSpec) -> dict[str, bytes]:
    """The four files in a verified archive, decompressed, by their keys."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {key: gzip.decompress(archive.read(name)) for key, name in spec.members.items()}


def as_array(content: bytes) -> NDArray[np.uint8]:
    """The values of an IDX file of bytes."""
    # IDX (Y. LeCun's page on MNIST): magic number, dimensions, big-endian sizes, values.
    dimensions = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)
