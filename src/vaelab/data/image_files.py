"""Image files as arrays: PNG, JPEG and other formats, folders of them, and .npz archives.

Values with more than 8 bits are rounded to 8, in which images are kept for training. Shapes: N images, C
channels (1 or 3), H height, W width.
"""

import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vaelab.data.folders import DataError
from vaelab.runs.logs import progress

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")
MOST_BYTES = 4 * 2**30
"""Largest size in memory: 350,000 colour images of 64 × 64 pixels."""

Size = tuple[int, int]  # height, width


class UnusableImage(Exception):
    """Why a file can't be used, as a clause."""


@dataclass(frozen=True)
class Layout:
    """The size and number of channels to which images are converted."""

    channels: int  # 1: grey, 3: colour
    size: Size
    scale: bool = True  # whether images of another size are scaled to this one, or refused
    convert: bool = True  # with channels=1: convert colour images to grey, or refuse them


@dataclass(frozen=True)
class Pictures:
    """Images with their names, and the files that were left out with the reason."""

    names: list[str]
    pixels_NHWC: NDArray[np.uint8]
    left_out: dict[str, str]


def read_images(path: Path, shape: tuple[int, int, int]) -> tuple[list[str], NDArray[np.float32]]:
    """The names and images (N, C, H, W), in [0, 1], of an image file, a folder of them or an .npz.

    They are scaled to cover `shape` (channels, height, width), and what exceeds it is cropped.
    Raises DataError, which names the files that can't be read.
    """
    layout = Layout(shape[0], shape[1:])
    if path.suffix.lower() == ".npz":
        pixels_NHWC = fitted(npz_images(path), layout, str(path))
        names = [f"{path.name}[{number}]" for number in range(len(pixels_NHWC))]
    else:
        files = [path] if path.is_file() else image_files(path)[0]
        if not files:
            raise DataError(f"{path} holds no images: type a folder with {', '.join(SUFFIXES)} files.")
        root = files[0].parent if path.is_file() else path
        found = read_files(files, root, layout, advice="type other images")
        names, pixels_NHWC = found.names, found.pixels_NHWC
    return names, np.moveaxis(pixels_NHWC, 3, 1).astype(np.float32) / np.float32(255)


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The image files in a folder and all folders below it, and the other files, each sorted.

    Hidden files and folders are ignored. Links are followed, and a folder is entered once.
    Raises DataError for a folder that can't be read.
    """
    found: list[Path] = []
    seen: set[str] = set()
    pending = [folder]
    while pending:
        current = pending.pop()
        if (real := os.path.realpath(current)) in seen:
            continue
        seen.add(real)
        try:
            entries = [entry for entry in os.scandir(current) if not entry.name.startswith(".")]
        except OSError as error:
            raise DataError(f"{current} can't be read ({error.strerror}): type another folder.") from error
        pending += [Path(entry.path) for entry in entries if entry.is_dir()]
        found += [Path(entry.path) for entry in entries if not entry.is_dir()]
    found.sort()
    images = [path for path in found if path.suffix.lower() in SUFFIXES]
    return images, [path for path in found if path.suffix.lower() not in SUFFIXES]


def read_files(
    files: Sequence[Path], root: Path, layout: Layout, skip: bool = False, *, advice: str
) -> Pictures:
    """All files in one layout; their names are relative to `root`.

    Raises DataError, which counts the files that can't be used and names the first ones. With `skip` these
    are left out.
    """
    check_memory(len(files), layout, str(root))
    pixels_NHWC = np.empty((len(files), *layout.size, layout.channels), np.uint8)
    names: list[str] = []
    unusable: dict[str, str] = {}
    for path in progress(files, "reading images", unit=" files", delay=1):
        name = path.relative_to(root).as_posix()
        try:
            pixels_NHWC[len(names)] = pixels_of(opened(path), layout)
            names.append(name)
        except UnusableImage as reason:
            unusable[name] = str(reason)
        except DataError as error:
            raise DataError(f"{path} {error}") from error
    if unusable and not (skip and names):
        refuse(unusable, len(files), root, advice)
    return Pictures(names, pixels_NHWC[: len(names)], unusable)


def refuse(unusable: dict[str, str], count: int, root: Path, advice: str) -> None:
    """Raise DataError for files that can't be used."""
    first = "; ".join(f"{name}: {reason}" for name, reason in list(unusable.items())[:3])
    more = f"; and {len(unusable) - 3:,} more" if len(unusable) > 3 else ""
    which = f"{len(unusable):,} of {count:,} image files in {root} can't be used"
    if count == 1:
        which = f"The image file in {root} can't be used"
    raise DataError(f"{which} ({first}{more}): {advice}.")


def check_memory(count: int, layout: Layout, where: str) -> None:
    """Raise DataError for more images than are kept in memory."""
    needed = count * layout.size[0] * layout.size[1] * layout.channels
    if needed > MOST_BYTES:
        raise DataError(
            f"The {count:,} images in {where} would take {needed / 2**30:,.1f} GiB at {layout.size[0]} × "
            f"{layout.size[1]} pixels, and at most {MOST_BYTES / 2**30:.0f} GiB are read: use fewer images, "
            "or for a training a smaller dataset.image_size."
        )


def opened(path: Path) -> Image.Image:
    """An image as grey (L) or colour (RGB) of 8 bits, upright, on white where it is transparent.

    Raises UnusableImage.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if (frames := getattr(image, "n_frames", 1)) > 1:
                    raise UnusableImage(f"it contains {frames} images")
                return in_eight_bits(ImageOps.exif_transpose(image))
    except UnusableImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableImage("it has too many pixels") from error
    except FileNotFoundError as error:
        raise UnusableImage("it does not exist") from error
    except PermissionError as error:
        raise UnusableImage("there is no permission to read it") from error
    except Exception as error:  # decoders raise many kinds for a damaged file
        raise UnusableImage("it is damaged or not an image") from error


def in_eight_bits(image: Image.Image) -> Image.Image:
    """An image in any of Pillow's modes, as L or RGB. Raises UnusableImage."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(eight_bits(np.asarray(image)))
    if image.has_transparency_data or "A" in image.mode or "a" in image.mode:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB" if image.mode != "LA" else "L")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 from booleans, 8 and 16 bits, or floats from 0 to 1. Raises UnusableImage for other ranges."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "uif":
        raise UnusableImage(f"its values are {values.dtype}")
    if not np.isfinite(values).all():
        raise UnusableImage("it holds NaN or infinite values")
    low, high = float(values.min()), float(values.max())
    whole = values.dtype.kind in "ui"
    if whole and low >= 0 and high <= 255 and values.dtype != np.uint16:
        return values.astype(np.uint8)
    if whole and low >= 0 and high <= 65535 and values.dtype.itemsize <= 4:
        return np.rint(values / 257).astype(np.uint8)
    if not whole and low >= 0 and high <= 1:
        return np.rint(values * 255).astype(np.uint8)
    wanted = "integers from 0 to 255 or 65,535" if whole else "floats from 0 to 1"
    raise UnusableImage(f"its values are from {low:g} to {high:g}, not {wanted}")


def is_colour(image: Image.Image) -> bool:
    """Whether any pixel is not grey: many grey images are saved as RGB."""
    if image.mode == "L":
        return False
    pixels_HWC = np.asarray(image)
    return bool((pixels_HWC != pixels_HWC[:, :, :1]).any())


def pixels_of(image: Image.Image, layout: Layout) -> NDArray[np.uint8]:
    """The pixels of an L or RGB image in a layout, (H, W, C). Raises DataError if it can't be converted."""
    height, width = layout.size
    if not layout.scale and image.size != (width, height):
        raise DataError(
            f"has {image.height} × {image.width} pixels, but others have {height} × {width}: type "
            f"dataset.image_size={min(layout.size)}, or another size, to scale all of them."
        )
    if layout.channels == 1 and not layout.convert and is_colour(image):
        raise DataError("is in colour, but others are grey: type dataset.grayscale=true or false.")
    image = image.convert("L" if layout.channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, layout.channels)


def fitted(pixels_NHWC: NDArray[np.uint8], layout: Layout, where: str) -> NDArray[np.uint8]:
    """Images of an array in a layout; as they are where they fit it already."""
    if pixels_NHWC.shape[1:] == (*layout.size, layout.channels):
        return pixels_NHWC
    check_memory(len(pixels_NHWC), layout, where)
    images = (Image.fromarray(each.squeeze(2) if each.shape[2] == 1 else each) for each in pixels_NHWC)
    return np.stack([pixels_of(image, layout) for image in images])


def npz_images(path: Path) -> NDArray[np.uint8]:
    """The array `images` of an .npz, shape (N, H, W, C). Raises DataError."""
    images = npz_array(path, "images")
    layout = "(N, H, W), (N, H, W, 1) or (N, H, W, 3)"
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        advice = f"save them as {layout}"
        if images.ndim == 4 and images.shape[1] in (1, 3) and 0 not in images.shape:
            advice = "save images.transpose(0, 2, 3, 1)"
        raise DataError(f"{path}: images has the shape {images.shape} and must have {layout}: {advice}.")
    whole = images.dtype.kind in "ui"
    if whole and images.min() >= 0 and images.max() <= 255:
        images = images.astype(np.uint8)  # whatever integers they were
    try:
        pixels = eight_bits(images)
    except UnusableImage as reason:
        text = str(reason).replace("its values", "the values of images").replace("it holds", "images hold")
        advice = "save integers from 0 to 255, or floats from 0 to 1"
        raise DataError(f"{path}: {text}: {advice}.") from reason
    if whole and pixels.max() == 1 == images.max():
        raise DataError(
            f"{path}: images are integers of 0 and 1, where 255 is white: save images.astype(bool), or "
            "images * 255."
        )
    return pixels


def npz_array(path: Path, name: str) -> NDArray[Any]:
    """An array of an .npz. Raises DataError where it is missing, too large, or would have to be unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {each.filename.removesuffix(".npy"): each.file_size for each in archive.infolist()}
        if name not in sizes:
            raise DataError(
                f"{path} has no array '{name}' (it has {', '.join(sorted(sizes)) or 'none'}): create it with "
                "np.savez(FILE, images=…, labels=…)."
            )
        if sizes[name] > 2 * MOST_BYTES:
            limit = 2 * MOST_BYTES / 2**30
            raise DataError(
                f"{path}: {name} takes {sizes[name] / 2**30:,.1f} GiB, and at most {limit:.0f} GiB are read: "
                "use a smaller file."
            )
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]
    except DataError:
        raise
    except OSError as error:
        why = error.strerror or "it is damaged"
        raise DataError(f"{path} can't be read ({why}): type another file.") from error
    except ValueError as error:  # objects are pickled
        raise DataError(f"{path}: {name} holds Python objects: save it as numbers.") from error
    except Exception as error:  # damaged archives raise many kinds
        raise DataError(f"{path} is damaged or not an .npz file: type another file.") from error


def npz_names(path: Path) -> Iterator[str]:
    """The names of the arrays of an .npz. Nothing where it can't be read."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (each.removesuffix(".npy") for each in archive.namelist())
