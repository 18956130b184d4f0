"""The binarised images that Larochelle & Murray (2011) published: text files of 0 and 1, without labels.

Shapes: N images, D pixels, H height, W width.
"""

import math
from dataclasses import replace
from io import BytesIO
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vaelab.config import DatasetConfig
from vaelab.data.datasets import DatasetSpec, check_root
from vaelab.data.folders import ANOTHER_COPY, DataError, files_in, is_complete, sha256, unpacked
from vaelab.data.sources import RawData, find, root_of


def find_binarised(config: DatasetConfig, spec: DatasetSpec) -> RawData:
    """The data set with the published pixels, 0 or 255, in place of its grey ones; their SHA-256 is added.

    The validation images are the last ones of the training images. The published files have no labels: those
    of the data set are theirs only if both have the same order, and this is checked for every image.
    Raises DataError for files that are not there, hold something else, or are of images in another order.
    """
    published, root = replace(spec, files={name: name for name in spec.fixed_binarisation}), root_of(config)
    check_root(config)
    folders = chain([root], sorted(root.glob("*")), sorted(root.glob("*/*")))
    folder = next((each for each in folders if is_complete(published, each)), None)
    if folder is None:
        raise DataError(
            f"dataset.binarize=larochelle needs {', '.join(published.files)}, gzipped or not, together in "
            f"{root} or up to two levels below it: type dataset.root=FOLDER, or dataset.binarize=static."
        )
    raw = find(config.replace(source="full"))  # the subset has labels for a part of the images only
    images, digests = {}, dict(raw.origin.sha256)
    for name, path in files_in(published, folder).items():
        images[name], digests[name] = read(path, spec.fixed_binarisation[name], spec.image_shape)
    train, validation, test = (images[name] for name in spec.fixed_binarisation)
    train = np.concatenate([train, validation])
    for pixels, grey in ((train, raw.train_images), (test, raw.test_images)):
        if pixels.shape != grey.shape or not same_order(pixels, grey):
            raise DataError(
                f"The images in {folder} are not those in {raw.origin.folder}, or not in the same order, so "
                f"their labels would be wrong: {ANOTHER_COPY}, or dataset.binarize=static."
            )
    return replace(raw, train_images=train, test_images=test, origin=replace(raw.origin, sha256=digests))


def read(path: Path, count: int, image_shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], str]:
    """The images of a file, 0 or 255, shape (N, H, W), and the SHA-256 of its text; raises DataError."""
    _, height, width = image_shape
    pixels, largest = math.prod(image_shape), 4 * count * math.prod(image_shape)
    try:
        with path.open("rb") as file:
            content = unpacked(file.read(largest + 1), largest)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}): {ANOTHER_COPY}.") from error
    characters = np.frombuffer(content, dtype=np.uint8)
    values_ND = characters[characters > ord(" ")]  # what is not a space or the end of a line
    rows = content.count(b"\n") + (content[-1:] not in (b"\n", b""))
    first_row = BytesIO(content).readline().split()
    if rows != count or len(values_ND) != count * pixels or len(first_row) != pixels:
        found = f"{rows:,} rows, {len(first_row):,} values in the first"
    elif values_ND.min() < ord("0") or values_ND.max() > ord("1"):
        found = "other characters"
    else:
        return (values_ND - ord("0")).reshape(count, height, width) * np.uint8(255), sha256(content)
    expected = f"{count:,} rows of {pixels} zeros and ones separated by spaces"
    raise DataError(f"{path} must be {expected}, and has {found}: {ANOTHER_COPY}.")


def same_order(pixels_NHW: NDArray[np.uint8], grey_NHW: NDArray[np.uint8]) -> bool:
    """Whether each image can be a draw from the grey values at its place.

    A pixel drawn with its grey value as probability is never 1 where that value is 0, and nearly always 1
    where it is 255. This does not hold for the pixels of another image.
    """
    drawn, white = pixels_NHW > 0, grey_NHW == 255
    return not (drawn & (grey_NHW == 0)).any() and drawn[white].mean() > 0.98
