"""What must be known of a data set, and the registry: a new one is a module in sets/, or a plugin's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vaelab.config import ConfigError, DatasetConfig, expand_home, show
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
    folder: str  # in torchvision's layout: the files are in <root>/<folder>/raw
    classes: tuple[str, ...]
    digests: Mapping[str, str]  # SHA-256 of each decompressed file
    image_shape: tuple[int, int, int] = (1, 28, 28)  # channels (1), height, width
    largest_file: int = 60_000 * 28 * 28 + 16  # bytes, decompressed: no more is ever read
    files: Mapping[str, str] = field(default_factory=lambda: FILES)
    urls: tuple[str, ...] = ()  # where `<file>.gz` can be downloaded: each ends with a slash
    system_folder: str | None = None  # in /usr/share/datasets
    subset: Path | None = None  # the first images of each file, which are used where nothing else is found
    fixed_binarisation: Mapping[str, int] = field(default_factory=dict)
    """Published files of 0/1 pixels, training, validation and test, and how many images each has."""

    def __post_init__(self) -> None:
        """Title and classes on one line each, as tables and the titles of figures have them."""
        object.__setattr__(self, "title", " ".join(self.title.split()))
        object.__setattr__(self, "classes", tuple(" ".join(name.split()) for name in self.classes))


datasets: Registry[DatasetSpec] = Registry("dataset", "vaelab.data.sets", "vaelab.datasets")
spec_of = datasets.get


def register(spec: DatasetSpec) -> DatasetSpec:
    """Make a data set known under its name."""
    return datasets.register(spec.name)(spec)


def class_numbers(spec: DatasetSpec, wanted: list[Any] | None) -> list[int]:
    """Sorted class numbers from numbers or names.

    Of names, letters and digits count; where none is the same, the start of one is enough.
    Raises ConfigError for a class the data set doesn't have, one named twice, or an ambiguous name.
    """
    if wanted is None:
        return list(range(len(spec.classes)))
    words = [letters_and_digits(name) for name in spec.classes]
    numbers = []
    for entry in wanted:
        if type(entry) is int:
            matches = [entry] if entry in range(len(words)) else []
        else:
            word = letters_and_digits(str(entry))
            exact = [number for number, name in enumerate(words) if name == word]
            matches = exact or [number for number, name in enumerate(words) if word and name.startswith(word)]
        if len(matches) != 1:
            problem = "fits several classes" if matches else "is none of its classes"
            known = ", ".join(f"{number} {name}" for number, name in enumerate(spec.classes))
            if all(name.isdecimal() for name in spec.classes):
                known = f"0 to {len(spec.classes) - 1}"
            raise ConfigError(f"dataset.classes: {show(entry)} {problem}. {spec.title} has {known}.")
        numbers += matches
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"dataset.classes names a class twice: {show(wanted)}. Type each once.")
    return sorted(numbers)


def check_root(config: DatasetConfig) -> None:
    """Raise ConfigError where `root` is to be searched and is not a directory."""
    if config.root is None or config.source == "embedded":
        return
    root = Path(expand_home(config.root))
    if not root.is_dir():
        advice = f"type one with {spec_of(config.name).folder}/raw, or make it for a download."
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
            "dataset.binarize=larochelle is of the full set, not of the embedded subset: type "
            "dataset.source=full, or dataset.binarize=static."
        )
    if config.val_size:
        raise ConfigError(
            f"dataset.val_size={config.val_size} is not the published split of "
            "dataset.binarize=larochelle: leave it out for the published validation "
            "images, or type dataset.val_size=0 to train on them too."
        )


def letters_and_digits(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
