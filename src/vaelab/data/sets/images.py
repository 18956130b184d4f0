"""A user's own images: a folder with or without a sub-folder per class, or an .npz archive."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaelab.config import ConfigError, DatasetConfig, counted
from vaelab.data.datasets import OWN_FILES, DatasetSpec, UnpublishedSpec, datasets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vaelab.data.image_files import Layout, Pictures
    from vaelab.data.sources import RawData

NEEDED = "dataset.root=FOLDER with images or with one folder per class, or dataset.root=FILE.npz"
MOST_CLASSES = 256
DARKEST = 32
"""Smallest permitted maximum over all pixels, of 255: if it is lower, the values have another range."""
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}


@dataclass(frozen=True, kw_only=True)
class OwnImages(UnpublishedSpec):
    """The images in a folder; subclasses take them from elsewhere."""

    config: DatasetConfig
    root: Path
    layout: Layout
    paths: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()

    def identity(self) -> str:
        """SHA-256 of all files with their names."""
        found = hashlib.sha256()
        for path in self.paths:
            content = self.content(path)
            found.update(f"{path.relative_to(self.root).as_posix()}\0{len(content)}\0".encode())
            found.update(content)
        return found.hexdigest()

    def content(self, path: Path) -> bytes:
        """The bytes of a file; empty if it can't be read, which is reported when it is decoded."""
        try:
            return path.read_bytes()
        except OSError:
            return b""

    def labels(self, names: list[str]) -> NDArray[np.uint8]:
        """The number of each image's class, shape (N,)."""
        import numpy as np

        numbers = {name: number for number, name in enumerate(self.classes)}
        return np.array([numbers[class_of(name)] if numbers else 0 for name in names], np.uint8)

    def pictures(self, identity: str) -> Pictures:
        return decoded(self.root, self.paths, self.layout, self.config.skip_broken, identity)

    def read(self) -> RawData:
        """All images, the test images drawn at random. Raises ConfigError and DataError."""
        import numpy as np

        from vaelab.data.folders import DataError
        from vaelab.data.sources import Origin, RawData
        from vaelab.runs.random_streams import stream

        identity = self.identity()
        found = self.pictures(identity)
        count = len(found.pixels_NHWC)
        if (brightest := int(found.pixels_NHWC.max(initial=0))) < DARKEST:
            raise DataError(
                f"The images in {self.root} are nearly black (their largest value is {brightest} of 255): "
                "scale them so that white is 255, or 65,535 for 16-bit images, or 1 for floats."
            )
        test_size = max(1, round(count / 5)) if self.config.test_size is None else self.config.test_size
        if test_size >= count:
            given = "" if self.config.test_size is None else f"dataset.test_size={test_size} of "
            raise ConfigError(
                f"{given}{counted(count, 'image')} in {self.root} would leave nothing to train on: "
                f"type {'a smaller number' if given and count > 1 else 'a folder with more images'}."
            )
        import torch

        noise = stream(self.config.split_seed, "test images of one's own")
        order = torch.randperm(count, generator=noise).numpy()
        pixels = np.moveaxis(found.pixels_NHWC, 3, 1)
        if pixels.shape[1] == 1:
            pixels = pixels[:, 0]
        labels = self.labels(found.names)
        arrays: dict[str, NDArray[Any]] = {}
        for split, index in (("test", order[:test_size]), ("train", order[test_size:])):
            arrays[f"{split}_images"] = np.ascontiguousarray(pixels[index])
            arrays[f"{split}_labels"] = labels[index]
        digests = {OWN_FILES: identity}
        digests |= {name: hashlib.sha256(array.data).hexdigest() for name, array in arrays.items()}
        left_out = {path.relative_to(self.root).as_posix(): "not an image" for path in self.others}
        left_out |= found.left_out
        return RawData(**arrays, origin=Origin("own", str(self.root), True, None, digests, left_out))


@lru_cache(maxsize=1)
def decoded(root: Path, paths: tuple[Path, ...], layout: Layout, skip: bool, identity: str) -> Pictures:
    """All images of a folder: decoded once for all runs of a sweep in this process."""
    from vaelab.data.image_files import read_files

    advice = "repair or remove them, or type dataset.skip_broken=true to leave them out"
    return read_files(paths, root, layout, skip, advice=advice)


class ArchivedImages(OwnImages):
    """The arrays `images` and `labels` of an .npz."""

    def pictures(self, identity: str) -> Pictures:
        from vaelab.data.image_files import Pictures, fitted

        pixels_NHWC = fitted(archive(self.root)[0], self.layout, str(self.root))
        return Pictures([str(number) for number in range(len(pixels_NHWC))], pixels_NHWC, {})

    def labels(self, names: list[str]) -> NDArray[np.uint8]:
        import numpy as np

        words = archive(self.root)[1]
        if not words:
            return np.zeros(len(names), np.uint8)
        numbers = {name: number for number, name in enumerate(self.classes)}
        return np.array([numbers[word] for word in words], np.uint8)


def class_of(name: str) -> str:
    """The sub-folder that an image is in, by its name below the root."""
    return " ".join(name.partition("/")[0].split())


@datasets.register("images")
def images(config: DatasetConfig) -> DatasetSpec:
    """The specification of the images that `dataset.root` names. Raises ConfigError and DataError."""
    if config.root is None:
        raise ConfigError(f"dataset=images needs a folder or a file: type {NEEDED}.")
    if config.source == "embedded":
        raise ConfigError("dataset=images has no embedded subset: leave dataset.source out.")
    root = Path(config.root)
    if root.is_dir():
        return of_folder(root, config)
    if root.suffix.lower() == ".npz" and root.is_file():
        return of_archive(root, config)
    problem = "is neither a folder nor an .npz file" if root.exists() else "does not exist"
    raise ConfigError(f"dataset.root={root} {problem}: type {NEEDED}.")


def of_folder(root: Path, config: DatasetConfig) -> DatasetSpec:
    from vaelab.data.image_files import SUFFIXES, UnusableImage, image_files, is_colour, opened

    paths, others = image_files(root)
    if not paths:
        raise ConfigError(f"dataset.root={root} holds no images ({', '.join(SUFFIXES)}): type {NEEDED}.")
    at_top = [path for path in paths if path.parent == root]
    below = {class_of(path.relative_to(root).as_posix()): path for path in paths if path.parent != root}
    if at_top and below:
        raise ConfigError(
            f"dataset.root={root} has both images ({at_top[0].name}) and folders of images ({min(below)}): "
            "put each image into the folder of its class, or all images into one folder."
        )
    empty = sorted(
        path.name
        for path in root.iterdir()
        if below and path.is_dir() and not path.name.startswith(".") and class_of(path.name) not in below
    )
    if empty:
        raise ConfigError(
            f"dataset.root={root} has folders without images: {', '.join(empty[:3])}"
            f"{f' and {len(empty) - 3} more' if len(empty) > 3 else ''}: remove them, or fill them."
        )
    if below and {name.lower() for name in below} <= SPLITS:
        first = next((name for name in below if name.lower().startswith("train")), min(below))
        raise ConfigError(
            f"dataset.root={root} has the folders {', '.join(sorted(below))}, which are not classes: type "
            f"dataset.root={root / first}, from which dataset.test_size test images are drawn."
        )
    first_image = None
    for path in paths:
        try:
            first_image = opened(path)
            break
        except UnusableImage:
            continue  # named with all others where they are read
    size = (28, 28) if first_image is None else (first_image.height, first_image.width)
    colour = first_image is not None and is_colour(first_image)
    layout = layout_of(config, size, 3 if colour else 1, root)
    return OwnImages(
        name=config.name, title=root.name, classes=in_order(below), config=config, root=root, layout=layout,
        image_shape=(layout.channels, *layout.size), paths=tuple(paths), others=tuple(others),
    )  # fmt: skip


def of_archive(root: Path, config: DatasetConfig) -> DatasetSpec:
    pixels_NHWC, words = archive(root)
    _, height, width, channels = pixels_NHWC.shape
    layout = layout_of(config, (height, width), channels, root)
    return ArchivedImages(
        name=config.name, title=root.stem, classes=in_order(words), config=config, root=root, layout=layout,
        image_shape=(layout.channels, *layout.size), paths=(root,),
    )  # fmt: skip


def layout_of(config: DatasetConfig, size: tuple[int, int], channels: int, root: Path) -> Layout:
    """The layout of all images: as set, else that of the first image. Raises ConfigError."""
    from vaelab.config.train import LARGEST, SMALLEST
    from vaelab.data.image_files import Layout

    given = config.image_size
    if isinstance(given, int):
        size = (given, given)
    elif given is not None:
        size = (given[0], given[1])
    elif min(size) < SMALLEST or max(size) > LARGEST:
        raise ConfigError(
            f"The images in {root} have {size[0]} × {size[1]} pixels, and vaelab's models take {SMALLEST} to "
            f"{LARGEST} in each direction: type dataset.image_size=64, or another size, to scale them."
        )
    if config.grayscale is not None:
        channels = 1 if config.grayscale else 3
    return Layout(channels, size, given is not None, config.grayscale is not None)


def in_order(names: Any) -> tuple[str, ...]:
    """Distinct class names, sorted; numbers by their value. Raises ConfigError for too many."""
    distinct = {*names}
    if len(distinct) > MOST_CLASSES:
        raise ConfigError(
            f"The images have {len(distinct):,} classes, and at most {MOST_CLASSES} are allowed: put all "
            "images into one folder, without classes, or leave labels out."
        )
    return tuple(sorted(distinct, key=int if all(map(str.isdecimal, distinct)) else None))


def archive(path: Path) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The images of an .npz, (N, H, W, C), and the names of their classes, or none without labels."""
    facts = path.stat()
    return archive_at(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=1)
def archive_at(path: Path, modified: int, size: int) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    from vaelab.data.folders import DataError
    from vaelab.data.image_files import npz_array, npz_images, npz_names

    pixels_NHWC = npz_images(path)
    if "labels" not in npz_names(path):
        return pixels_NHWC, ()
    labels = npz_array(path, "labels")
    if labels.shape == (len(pixels_NHWC), 1):
        labels = labels[:, 0]
    if labels.shape != (len(pixels_NHWC),):
        raise DataError(
            f"{path}: labels has the shape {labels.shape}, but there are {len(pixels_NHWC):,} images: save "
            "one label for each."
        )
    whole = labels.dtype.kind == "f" and bool((labels % 1 == 0).all())
    if labels.dtype.kind not in "uibUS" and not whole:
        raise DataError(f"{path}: labels are neither whole numbers nor text: save them as integers.")
    if whole:
        labels = labels.astype(int)
    words = labels.astype(str).tolist() if labels.dtype.kind != "S" else [each.decode() for each in labels]
    return pixels_NHWC, tuple(" ".join(word.split()) for word in words)
