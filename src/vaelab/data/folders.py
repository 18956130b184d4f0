"""The files of a data set on this machine: where they may be, and whether they are what they should be."""

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from vaelab.config import VaelabError
from vaelab.data.datasets import DatasetSpec, letters_and_digits, published


class DataError(VaelabError):
    """The data are missing, damaged, or can't be downloaded; the message says what to do."""


ANOTHER_COPY = "type dataset.root=FOLDER with another copy"
OTHER_FOLDER = "or dataset.root=FOLDER with the intended data set"


def standard_folder(spec: DatasetSpec, root: Path) -> Path:
    """Where torchvision has the files, and where they are downloaded to."""
    return root / spec.folder / "raw"


def folders_near(spec: DatasetSpec, root: Path) -> Iterator[Path]:
    """The folders with all files of a data set: in torchvision's layout, `root` itself, and below it.

    Files of other data sets have the same names, so a folder with another name counts only if its smallest
    file has the right digest.
    """
    patterns = ("*", "*/*", f"*/{spec.folder}/raw")
    below = chain.from_iterable(sorted(root.glob(pattern)) for pattern in patterns)  # only when asked for
    own = {letters_and_digits(word) for word in ("raw", spec.folder, spec.name)}
    standard = standard_folder(spec, root)
    if is_complete(spec, standard):
        yield standard
    beside = standard_folder(spec, root.parent)  # `root` may be the folder of another data set
    for folder in chain([root], below, [beside]):
        if folder != standard and is_complete(spec, folder):
            names = folder.relative_to(root).parts if folder.is_relative_to(root) else folder.parts
            if all(letters_and_digits(name) in own for name in names) or smallest_is_right(spec, folder):
                yield folder


def is_complete(spec: DatasetSpec, folder: Path) -> bool:
    return len(files_in(spec, folder)) == len(spec.files)


def smallest_is_right(spec: DatasetSpec, folder: Path) -> bool:
    name, path = next(iter(files_in(spec, folder).items()))
    try:
        verified(path, spec.digests[name], spec.largest_file, bool(spec.packed))
    except DataError:
        return False
    return True


def files_in(spec: DatasetSpec, folder: Path) -> dict[str, Path]:
    """The files of a data set that a folder has, raw or gzipped, by their names there, the smallest first.

    Capitals, dots, dashes and underscores make no difference: some archives have `train-images.idx3-ubyte`.
    """
    try:
        found = {dashed(path.name): path for path in sorted(folder.iterdir(), reverse=True) if path.is_file()}
    except OSError:  # it is not a directory, or can't be read
        return {}
    endings = {None: (".gz", ""), ".gz": (".gz",), ".zip": ("",)}[spec.packed]
    keys = [(name, dashed(name + ending)) for name in spec.files.values() for ending in endings]
    files = {name: found[key] for name, key in keys if key in found}
    return dict(sorted(files.items(), key=lambda item: item[1].stat().st_size))


def dashed(name: str) -> str:
    return name.lower().replace(".", "-").replace("_", "-")


def verified(path: Path, digest: str, largest: int, packed: bool = False) -> bytes:
    """The decompressed bytes of a file with that SHA-256; raises DataError that says what it is instead.

    With `packed` it is the SHA-256 of the file as it is.
    """
    try:
        with path.open("rb") as file:
            stored = file.read(largest + 1)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}): {ANOTHER_COPY}.") from error
    content = unpacked(stored, largest)
    found = sha256(stored if packed else content)
    if found == digest:
        return content
    for name, spec in published().items():
        if found in spec.digests.values():
            raise DataError(f"{path} is a file of {spec.title}: type dataset={name}, {OTHER_FOLDER}.")
        if found in subset_digests(spec).values():
            raise DataError(
                f"{path} belongs to the embedded subset: type dataset.source=embedded, {OTHER_FOLDER}."
            )
    problem = f"its SHA-256 is {found[:12]}… where {digest[:12]}… is expected"
    advice = f"remove it and run again to download it, or {ANOTHER_COPY}"
    raise DataError(f"{path} is damaged or belongs to another data set ({problem}): {advice}.")


def subset_digests(spec: DatasetSpec) -> dict[str, str]:
    """SHA-256 of each decompressed file of the embedded subset, by name; nothing where there is none."""
    if spec.subset is None or not (spec.subset / "SHA256SUMS").is_file():
        return {}
    lines = (spec.subset / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in map(str.split, lines)}


def unpacked(content: bytes, largest: int) -> bytes:
    """The bytes of a file, decompressed if gzipped, and at most one more than `largest`."""
    if content.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):  # damaged: the digest says so
            return zlib.decompressobj(wbits=31).decompress(content, largest + 1)
    return content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
