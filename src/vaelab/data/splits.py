"""Training, validation and test images as tensors on the training device, and batches of them.

Shapes: N images, B batch, C channels, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from vaelab.config import ConfigError, DatasetConfig, show
from vaelab.data.datasets import DatasetSpec, check_fixed_binarisation, class_numbers, spec_of
from vaelab.data.fixed_binarisation import find_binarised
from vaelab.data.sources import Origin, find
from vaelab.runs.folder import SPLIT_NAMES
from vaelab.runs.random_streams import stream

BINARISED = {
    "dynamic": "dynamically binarised",
    "static": "statically binarised",
    "larochelle": "binarised by Larochelle & Murray",
}


@dataclass(frozen=True, slots=True)
class Split:
    """Images with labels, in memory as uint8; nothing is converted until a batch is requested."""

    name: str  # train, val or test
    images: Tensor  # uint8, (N, H, W), or for colour images (N, C, H, W)
    labels: Tensor  # (N,) uint8, numbers of the full set's classes
    dynamic: bool = False  # whether pixels are drawn from Bernoulli(grey value) for each batch

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: Tensor | slice, noise: Generator) -> Tensor:
        """Images as floats in [0, 1], shape (B, C, H, W). `noise` is only drawn from where `dynamic`."""
        images = self.images[index]
        x_BCHW = (images.unsqueeze(1) if images.ndim == 3 else images).float().div_(255)
        if self.dynamic:
            return (torch.rand(x_BCHW.shape, generator=noise, device=x_BCHW.device) < x_BCHW).float()
        return x_BCHW


@dataclass(frozen=True, slots=True)
class Data:
    """The images of a run and their description."""

    spec: DatasetSpec
    origin: Origin
    classes: tuple[int, ...]
    train: Split
    scored: Split  # scored each epoch: the val split, or the test split where val_size is 0
    test: Split
    binarize: str
    training_file: int
    """Images in the training file, of all classes, of which the last are for validation."""

    def split(self, name: str) -> Split:
        """The train, val or test split; raises ConfigError for val where there are no validation images."""
        for split in (self.train, self.scored, self.test):
            if split.name == name:
                return split
        problem = f"split={name}, but there are no validation images (dataset.val_size=0)"
        raise ConfigError(f"{problem}: type split=test or split=train.")

    @property
    def class_names(self) -> dict[int, str]:
        """Class names by number; empty if the images have no labels."""
        if not self.spec.classes:
            return {}
        return {number: self.spec.classes[number] for number in self.classes}

    @property
    def labelled_classes(self) -> tuple[int, ...]:
        """The numbers of the classes; none where the images have no labels."""
        return self.classes if self.spec.classes else ()

    @property
    def description(self) -> str:
        """Which images these are, for titles and logs: the data set's title, with any restrictions."""
        parts = []
        if not self.origin.complete:
            parts.append("embedded subset")
        if len(self.classes) < len(self.spec.classes):
            noun = "classes" if len(self.classes) > 1 else "class"
            parts.append(f"{noun} {', '.join(self.class_names.values())}")
        if self.binarize != "none":
            parts.append(BINARISED[self.binarize])
        return f"{self.spec.title} ({'; '.join(parts)})" if parts else self.spec.title


def load(config: DatasetConfig, device: torch.device, grey: bool = False) -> Data:
    """Find, verify and split a data set, and move it to `device`. With `grey`, the images are not binarised.

    The validation images are taken from the last `val_size` of the training file, whatever the seed and the
    classes: by default a tenth of it, but at most 5,000; a published binarisation has its own. Raises
    ConfigError or DataError.
    """
    spec = spec_of(config)
    classes = class_numbers(spec, config.classes)
    check_fixed_binarisation(config, spec)
    binarize = "none" if grey else config.binarize
    raw = find_binarised(config, spec) if binarize == "larochelle" else find(config)
    count = len(raw.train_images)
    val_size = validation_size(config, count)
    if val_size >= count:
        problem = f"dataset.val_size={val_size} leaves none of the {count:,} training images for training"
        raise ConfigError(f"{problem}: type a smaller number, such as dataset.val_size={count // 12}.")

    def split(name: str, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
        wanted = np.isin(labels, classes)
        pixels, numbers = torch.from_numpy(images[wanted]), torch.from_numpy(labels[wanted])
        return Split(name, pixels.to(device), numbers.to(device), dynamic=binarize == "dynamic")

    train_images, test_images = raw.train_images, raw.test_images
    if binarize == "static":
        train_images = statically_binarised(train_images, "train")
        test_images = statically_binarised(test_images, "test")
    kept = count - val_size
    test = split("test", test_images, raw.test_labels)
    train = split("train", train_images[:kept], raw.train_labels[:kept])
    val = split("val", train_images[kept:], raw.train_labels[kept:])
    for part, advice in ((train, "smaller"), (val, "larger")):
        if val_size and not len(part):
            kind = SPLIT_NAMES[part.name]
            problem = f"dataset.val_size={val_size} leaves no {kind} images of dataset.classes="
            raise ConfigError(f"{problem}{show(config.classes)}: type a {advice} number.")
    if not len(test):
        problem = f"There are no test images of dataset.classes={show(config.classes)}"
        raise ConfigError(f"{problem}: type more classes, or a larger dataset.test_size.")
    scored = val if val_size else test
    return Data(spec, raw.origin, tuple(classes), train, scored, test, binarize, count)


def validation_size(config: DatasetConfig, count: int) -> int:
    """The number of validation images among the `count` images of the training file, of all classes."""
    if config.val_size is not None:
        return config.val_size
    if config.binarize == "larochelle":
        _, published, _ = spec_of(config).fixed_binarisation.values()
        return published
    return min(5000, count // 10)


def statically_binarised(images_NHW: NDArray[np.uint8], file: str) -> NDArray[np.uint8]:
    """Pixels of 0 or 255, drawn from grey values: the same in every run, and in the embedded subset."""
    noise = stream(0, f"static binarization of the {file} images")
    images = images_NHW.copy()
    for part in torch.from_numpy(images).split(1000):
        part.copy_((torch.rand(part.shape, generator=noise) < part / 255) * 255)
    return images


def balanced(split: Split, classes: Sequence[int], per_class: int) -> Tensor:
    """Indices of the first `per_class` images of each class, class by class; shape (at most C·per_class,)."""
    labels = split.labels.cpu()
    return torch.cat([(labels == number).nonzero().flatten()[:per_class] for number in classes])
