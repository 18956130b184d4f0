"""What must be known of a data set, and the registry of all of them.

A new one is a module in sets/, or a plugin's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vaelab.config import ConfigError, show
from vaelab.config.registry import Registry

EMBEDDED = Path(__file__).parent / "embedded"

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Images and labels in four IDX files of bytes, as MNIST's are."""

    name: str
    title: str
    folder: str
    """Its folder in torchvision's layout: the files are in <root>/<folder>/raw."""
    classes: tuple[str, ...]
    digests: Mapping[str, str]
    """SHA-256 of each decompressed file."""
    image_shape: tuple[int, int, int] = (1, 28, 28)
    """Channels (1), height, width."""
    largest_file: int = 60_000 * 28 * 28 + 16
    """Bytes of the largest decompressed file: no more is ever read."""
    files: Mapping[str, str] = field(default_factory=lambda: FILES)
    urls: tuple[str, ...] = ()
    """Where `<file>.gz` can be downloaded: each ends with a slash."""
    system_folder: str | None = None
    """Its folder in /usr/share/datasets."""
    subset: Path | None = None
    """A folder with the first images of each file, which stands in where nothing else is found."""


datasets: Registry[DatasetSpec] = Registry("dataset", "vaelab.data.sets", "vaelab.datasets")
spec_of = datasets.get


def register(spec: DatasetSpec) -> DatasetSpec:
    """Make a data set known under its name."""
    return datasets.register(spec.name)(spec)


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

    if type(entry) is int:
        return [entry] if entry in range(len(spec.classes)) else []
    names = [letters(name) for name in spec.classes]
    word = letters(str(entry))
    exact = [number for number, name in enumerate(names) if name == word]
    return exact or [number for number, name in enumerate(names) if word and name.startswith(word)]
