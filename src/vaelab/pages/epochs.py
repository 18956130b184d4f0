"""What the pages show epoch by epoch, from a run's own arrays: latents as points, samples, reconstructions.

Shapes: N images, L latent dimensions, H height, W width, and a last axis of 3 for colours.
"""

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaelab.figures.latent import LatentView, limit_for
from vaelab.figures.style import class_colour
from vaelab.pages.page import epoch_images, subsample
from vaelab.runs.folder import RunFolder

KINDS = {
    "latent": "The latent space",
    "samples": "Decoded from the same prior draws",
    "reconstructions": "Originals above reconstructions",
}
SHEET_COLUMNS = 8  # of samples
GAP = 2  # white pixels between two images
THUMBNAIL = 32  # pixels of a thumbnail's longer side at most
INTEGER = 32767  # the largest of 16 bits


@dataclass
class EpochArrays:
    """One run's arrays of some epochs, the last among them."""

    epochs: list[int]
    points: list[NDArray[np.float64]]
    """Coordinates on the plane of the last epoch, shape (N, 2), for each of `epochs`."""
    axes: tuple[str, str]
    samples: list[NDArray[np.uint8]]
    reconstructions: list[NDArray[np.uint8]]
    labels: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]
    originals: NDArray[np.uint8]

    @property
    def limit(self) -> float:
        """How far axes reach that hold the points of all epochs."""
        return max(map(limit_for, self.points))


def read_arrays(folder: RunFolder, most: int, points: int) -> EpochArrays | None:
    """The arrays of at most `most` epochs and `points` points; None if the run has none."""
    if not folder.points.is_file():
        return None
    frames = []
    for _, path in folder.numbered("latent/frames"):
        with np.load(path) as arrays:
            if "epoch" in arrays.files:  # else it is one of the animation's, inside an epoch
                frames.append((int(arrays["epoch"]), path))
    chosen = []
    for _, path in subsample(frames, most):
        with np.load(path) as arrays:
            chosen.append(dict(arrays))
    if not chosen:
        return None
    with np.load(folder.points) as arrays:
        images = dict(arrays)
    last = chosen[-1]
    across, up = (str(name) for name in last["axes"])
    view, labels_N = LatentView(last["plane"], (across, up), limit=0.0), images["labels"][:points]
    projected = [view.project(frame["means"][:points]) for frame in chosen]
    if last["plane"].shape[1] == 1:  # with one latent dimension, each class has a height of its own
        names = np.unique(labels_N)
        for points_N2 in projected:
            points_N2[:, 1] = 3 - 6 * (np.searchsorted(names, labels_N) + 0.5) / len(names)
    return EpochArrays(
        [int(frame["epoch"]) for frame in chosen],
        projected,
        (across, up),
        [frame["samples"] for frame in chosen],
        [frame["reconstructions"] for frame in chosen],
        labels_N,
        images["thumbnails"][:points],
        images["originals"],
    )


def epochs_data(
    runs: Mapping[str, RunFolder],
    class_names: Mapping[int, str],
    most: int = 25,
    points: int = 2000,
    first: int = 0,
) -> dict[str, Any] | None:
    """For assets/report.js: by kind the panels of named runs of the same images. None where there are none.

    A run that kept no arrays is shown by the figures of its epochs. `first` is the number of the first run
    among all models of the page.
    """
    found = {name: read_arrays(folder, most, points) for name, folder in runs.items()}
    arrays = {name: each for name, each in found.items() if each}
    limit = max((each.limit for each in arrays.values()), default=1.0)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        panels = []
        for place, (name, folder) in enumerate(runs.items(), first):
            own = found[name]
            shown = panel(kind, own) if own else figures_panel(folder, kind, most)
            panels += [{"name": name, "model": place, **shown}] if shown else []
        if panels:
            kinds[kind] = panels
    if not kinds:
        return None
    any_run = next(iter(arrays.values()), None)
    return {
        "kinds": kinds,
        "limit": limit,
        "classes": [
            {"number": number, "name": name, "colours": [class_colour(number), class_colour(number, True)]}
            for number, name in class_names.items()
        ],
        "labels": any_run.labels.tolist() if any_run else [],
        "thumbnails": sprite(any_run.thumbnails) if any_run else None,
    }


def panel(kind: str, arrays: EpochArrays) -> dict[str, Any]:
    """A run's panel from its arrays."""
    if kind == "latent":
        scale = max(float(np.abs(each).max()) for each in arrays.points) or 1.0
        return {
            "epochs": arrays.epochs,
            "points": [as_integers(points_N2 / scale) for points_N2 in arrays.points],
            "scale": scale,
            "limit": arrays.limit,
            "axes": arrays.axes,
        }
    if kind == "samples":
        sheets = [sheet(images, SHEET_COLUMNS) for images in arrays.samples]
    else:
        columns = len(arrays.originals)
        sheets = [sheet(np.concatenate([arrays.originals, each]), columns) for each in arrays.reconstructions]
    return {
        "epochs": arrays.epochs,
        "images": [data_uri(each, "PNG") for each in sheets],
        "pixels": True,
        **size(sheets[0]),
    }


def figures_panel(folder: RunFolder, kind: str, most: int) -> dict[str, Any]:
    """A run's panel from the figures of its epochs; empty where there are none."""
    shown = epoch_images(folder.numbered(kind), most)
    if not shown:
        return {}
    return {
        "epochs": [each["epoch"] for each in shown], "images": [each["source"] for each in shown],
        "pixels": False, "width": shown[-1]["width"], "height": shown[-1]["height"],
    }  # fmt: skip


def as_integers(points_N2: NDArray[np.float64]) -> str:
    """Numbers in [-1, 1] as 16-bit integers, little endian, in base64."""
    return base64.b64encode((points_N2 * INTEGER).round().astype("<i2").tobytes()).decode()


def sheet(images: NDArray[np.uint8], columns: int, gap: int = GAP, paper: int = 255) -> NDArray[np.uint8]:
    """Images in rows on one sheet, with lines of `paper` between two."""
    count, high, wide, *colours = images.shape
    rows = math.ceil(count / columns)
    pitch_high, pitch_wide = high + gap, wide + gap
    whole = np.full((rows * pitch_high - gap, columns * pitch_wide - gap, *colours), paper, np.uint8)
    for place, image in enumerate(images):
        top, left = (place // columns) * pitch_high, (place % columns) * pitch_wide
        whole[top : top + high, left : left + wide] = image
    return whole


def size(pixels: NDArray[np.uint8]) -> dict[str, int]:
    return {"width": pixels.shape[1], "height": pixels.shape[0]}


def data_uri(pixels: NDArray[np.uint8], kind: str, **options: int) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def sprite(images: NDArray[np.uint8]) -> dict[str, Any]:
    """All thumbnails in one image, 40 in a row: the one under the pointer is cut out of it."""
    step = max(1, math.ceil(max(images.shape[1:3]) / THUMBNAIL))
    small, columns = images[:, ::step, ::step], 40
    source = data_uri(sheet(small, columns, gap=0, paper=0), "WEBP", quality=50, method=2)
    return {
        "source": source,
        "columns": columns,
        "count": len(small),
        "width": small.shape[2],
        "height": small.shape[1],
    }
