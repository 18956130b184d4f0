"""The specification of a data set, and the registry of data sets.

A new data set is a module in sets/ or in a plugin.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaelab.config import ConfigError, DatasetConfig, expand_home, show
from vaelab.config.registry import Registry

if TYPE_CHECKING:
    from vaelab.data.sources import RawData

OWN_FILES = "files"
"""The name under which the `identity` of a user's own images is among the digests of files."""

EMBEDDED = Path(__file__).parent / "embedded"

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """The specification of a data set: images and labels in four IDX files of bytes, like MNIST's.

    `register`, in a module of sets/ or of a plugin (group vaelab.datasets), makes it known.

    >>> files = dict.fromkeys(FILES.values(), 64 * "0")  # the SHA-256 of each decompressed file
    >>> spec = DatasetSpec(
    ...     name="shapes", title="Shapes", classes=("disc", "square"), folder="Shapes", digests=files
    ... )
    >>> spec.image_shape
    (1, 28, 28)
    """

    name: str  # what is typed: dataset=NAME
    title: str  # in figures, tables and messages
    classes: tuple[str, ...]  # none where the images have no labels
    folder: str  # in torchvision's layout: the files are in <root>/<folder>/raw
    digests: Mapping[str, str]
    """SHA-256 of each decompressed file, or of each file as published if `packed` is set."""
    image_shape: tuple[int, int, int] = (1, 28, 28)  # channels (1 or 3), height, width
    largest_file: int = 60_000 * 28 * 28 + 16  # bytes, decompressed: no more is ever read
    files: Mapping[str, str] = field(default_factory=lambda: FILES)
    packed: str | None = None
    """Suffix of files that are verified as published: ".gz", or ".zip" for an archive of all four."""
    members: Mapping[str, str] = field(default_factory=dict)
    """With ".zip": the gzipped files in the archive, by the keys of FILES."""
    transposed: bool = False  # whether the images are stored column by column
    first_label: int = 0
    urls: tuple[str, ...] = ()
    """Folders to download `<file>.gz`, or with ".zip" the archive, from; each ends with a slash."""
    system_folder: str | None = None  # in /usr/share/datasets
    subset: Path | None = None  # the first images of each file, which are used where nothing else is found
    fixed_binarisation: Mapping[str, int] = field(default_factory=dict)
    """Published files of 0/1 pixels, training, validation and test, and how many images each has."""

    def __post_init__(self) -> None:
        """Remove line breaks from title and classes, which tables and titles of figures show."""
        object.__setattr__(self, "title", " ".join(self.title.split()))
        object.__setattr__(self, "classes", tuple(" ".join(name.split()) for name in self.classes))

    def identity(self) -> str:
        """SHA-256 of the images' files, if the data set's name does not determine them; else empty."""
        return ""


@dataclass(frozen=True, kw_only=True)
class UnpublishedSpec(DatasetSpec, ABC):
    """The specification of a user's own images. A subclass reads them, because no digests are known."""

    folder: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)

    @abstractmethod
    def read(self) -> RawData:
        """All images. Raises ConfigError and DataError."""

    @abstractmethod
    def identity(self) -> str: ...


datasets: Registry[DatasetSpec | Callable[[DatasetConfig], DatasetSpec]] = Registry(
    "dataset", "vaelab.data.sets", "vaelab.datasets"
)
"""Specifications, and functions that make a specification from the settings."""


def spec_of(config: DatasetConfig) -> DatasetSpec:
    """The specification of the data set that is chosen. Raises ConfigError for what it can't be."""
    found = datasets.get(config.name)
    if not isinstance(found, DatasetSpec):
        return found(config)
    untouched = DatasetConfig()
    for setting in ("image_size", "grayscale", "test_size", "split_seed", "skip_broken"):
        if getattr(config, setting) != getattr(untouched, setting):
            raise ConfigError(
                f"dataset.{setting} is for your own images, dataset=images: leave it out with "
                f"dataset={config.name}."
            )
    return found


def published() -> dict[str, DatasetSpec]:
    """The specifications that need no settings, by name."""
    every = {name: datasets.get(name) for name in datasets.names()}
    return {name: spec for name, spec in every.items() if isinstance(spec, DatasetSpec)}


def register(spec: DatasetSpec, module: str) -> DatasetSpec:
    """Make a data set known under its name; `module` is the `__name__` of the module that does so."""
    return datasets.register(spec.name, module)(spec)


def class_numbers(spec: DatasetSpec, wanted: list[Any] | None) -> list[int]:
    """Sorted class numbers from numbers or names.

    Names are compared by their letters and digits alone; a beginning that fits only one name is enough.
    Raises ConfigError for a class the data set doesn't have, one named twice, or an ambiguous name.
    """
    if wanted is None:
        return list(range(max(1, len(spec.classes))))  # without labels all have the number 0
    if not spec.classes:
        raise ConfigError(
            f"dataset.classes={show(wanted)}: the images of {spec.title} have no labels. Leave "
            "dataset.classes out."
        )
    numbers = [class_number(spec.classes, entry, "dataset.classes", spec.title) for entry in wanted]
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"dataset.classes names a class twice: {show(wanted)}. Type each once.")
    return sorted(numbers)


def class_number(classes: Sequence[str], entry: object, setting: str, title: str) -> int:
    """The number of the class with the name `entry`, or else with that number or a name that begins so.

    `title` names the data set in messages. Raises ConfigError, whose message begins with `setting`.
    """
    words = [letters_and_digits(name) for name in classes]
    numbered = all(name.isdecimal() for name in classes)  # 5 is then the class that is called so
    if isinstance(entry, float) and entry.is_integer():
        entry = int(entry)
    word = "" if isinstance(entry, float) else letters_and_digits(str(entry))
    matches = [number for number, name in enumerate(words) if word and name == word]
    if not matches and not numbered:
        if type(entry) is int:
            matches = [entry] if entry in range(len(words)) else []
        else:
            matches = [number for number, name in enumerate(words) if word and name.startswith(word)]
    if len(matches) != 1:
        problem = f"{title} has no class {show(entry)}"
        if matches:
            problem = f"{show(entry)} matches several classes of {title}"
        advice = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
        advice = f"a number or a name: {advice}"
        if numbered:
            advice = f"one of {', '.join(classes)}"
            if [*classes] == [*map(str, range(len(classes)))]:
                advice = f"a number from 0 to {len(classes) - 1}"
        raise ConfigError(f"{setting}: {problem}. Type {advice}.")
    return matches[0]


def check_root(config: DatasetConfig) -> None:
    """Raise ConfigError where `root` is to be searched and is not a directory."""
    spec = spec_of(config)  # a user's own images are looked for there
    if config.root is None or config.source == "embedded" or isinstance(spec, UnpublishedSpec):
        return
    root = Path(expand_home(config.root))
    if not root.is_dir():
        advice = f"type one with {spec.folder}/raw, or create it for a download."
        raise ConfigError(f"dataset.root={root} is not a directory: {advice}")


def check_fixed_binarisation(config: DatasetConfig, spec: DatasetSpec) -> None:
    """Raise ConfigError for settings that the published files can't be used with."""
    if config.binarize != "larochelle":
        return
    if not spec.fixed_binarisation:
        raise ConfigError(
            f"dataset.binarize=larochelle is a binarisation of MNIST, not of {spec.title}: type "
            "dataset=mnist, or dataset.binarize=dynamic or static."
        )
    if config.source == "embedded":
        raise ConfigError(
            "dataset.binarize=larochelle exists only for the full set, not for the embedded subset: type "
            "dataset.source=full, or dataset.binarize=static."
        )
    _, validation, _ = spec.fixed_binarisation.values()
    if config.val_size not in (None, 0, validation):
        raise ConfigError(
            f"dataset.val_size={config.val_size} is not the published split of "
            "dataset.binarize=larochelle: leave val_size out for the published validation "
            "images, or type dataset.val_size=0 to train on them too."
        )


def letters_and_digits(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())
