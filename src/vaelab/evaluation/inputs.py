"""Images that a user gives, converted to what the model takes: files, or test images by their number.

Shapes: N images, C channels, H height, W width.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import ConfigError, EvaluatedDataConfig, EvaluationConfig, counted
from vaelab.data.image_files import read_images
from vaelab.runs.random_streams import stream
from vaelab.training.run import Run, load_data

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    names: list[str]
    images: Tensor  # (N, C, H, W), in [0, 1]
    labels: list[int | None]
    """The numbers of test images' classes; None for files."""
    preparation: str
    """What was done with them, in words."""
    file_name: str
    """What a file about them may be called."""

    def given(self, run: Run, chosen: int | str | None) -> Tensor | None:
        """The label of each image, shape (N,): the class `chosen`, or else each image's own.

        None if the run is not class-conditional. Raises VaelabError.
        """
        if not run.model.classes:
            run.class_numbers(chosen, 1, "class")  # which refuses a class
            return None
        own = self.encoded(run, chosen)
        return own if chosen is None else run.class_numbers(chosen, len(own), "class")

    def encoded(self, run: Run, chosen: int | str | None) -> Tensor:
        """The label that each image is encoded with, (N,): its own, of files the class that was chosen.

        Raises VaelabError, also where there is a file and no class was chosen.
        """
        of_files = run.class_numbers(chosen, 1, "class") if None in self.labels or chosen is not None else 0
        return torch.tensor([int(of_files) if own is None else own for own in self.labels])


def read_inputs(
    run: Run, wanted: Sequence[int | str], dataset: EvaluatedDataConfig, invert: bool, seed: int
) -> Inputs:
    """The images, prepared as the run's were. Raises VaelabError, and warns of a background unlike theirs."""
    names: list[str] = []
    parts: list[Tensor] = []
    labels: list[int | None] = []
    numbers = [each for each in wanted if isinstance(each, int)]
    tests, own, description = (
        test_images(run, numbers, dataset) if numbers else (torch.empty(0), torch.empty(0), "")
    )
    for each in wanted:
        if isinstance(each, int):
            names.append(f"test image {each}")
            parts.append(tests[numbers.index(each)][None])
            labels.append(int(own[numbers.index(each)]))
            continue
        found, pixels = read_images(Path(each), run.model.image_shape)
        names += found
        labels += [None] * len(found)
        parts.append(torch.from_numpy(inverted(pixels) if invert else pixels))
        warn_of_background(run, parts[-1], invert)
    x_NCHW, said = torch.cat(parts), []
    if len(numbers) < len(wanted):
        channels, height, width = run.model.image_shape
        colours = "grey (luminance)" if channels == 1 else "in colour"
        said.append(
            f"files: {height} × {width} pixels (scaled bilinearly, cropped to the centre), {colours}, "
            + ("inverted" if invert else "not inverted")
        )
    if numbers:
        said.append(description)
    if run.config.dataset.binarize != "none":
        # A pixel has the same threshold in every image, so that no image's result depends on the others.
        noise = stream(seed, "pixels of given images")
        x_NCHW = (torch.rand(run.model.image_shape, generator=noise) < x_NCHW).float()
        said.append(f"binarised: white with the grey value as probability, seed {seed}")
    words = [f"test-{each}" if isinstance(each, int) else Path(each).stem for each in wanted]
    file_name = re.sub(r"[^\w.+-]", "", "_".join(words).replace("_test-", "-"))[:80]
    return Inputs(names, x_NCHW, labels, " · ".join(said), file_name or "images")


def test_images(run: Run, numbers: Sequence[int], dataset: EvaluatedDataConfig) -> tuple[Tensor, Tensor, str]:
    """Test images of the run's data by number, their labels, and a description. Raises VaelabError."""
    settings = EvaluationConfig(checkpoint="the run's", device="cpu", dataset=dataset.scored())
    data, _ = load_data(run, settings)
    if (highest := max(numbers)) >= len(data.test):
        raise ConfigError(
            f"There is no test image {highest}: {data.description} has "
            f"{counted(len(data.test), 'test image')}. Type a number from 0 to {len(data.test) - 1}."
        )
    grey = replace(data.test, dynamic=False)  # pixels that are drawn are drawn later
    index = torch.tensor(numbers)
    x_NCHW = grey.batch(index, stream(0, "none is drawn"))
    return x_NCHW, grey.labels[index], f"test images of {data.description}, numbered from 0"


def warn_of_background(run: Run, x_NCHW: Tensor, invert: bool) -> None:
    """Say how many images have a light margin where the model makes dark ones, or the reverse."""
    own = margin(run.sample()).mean()
    apart = int(((margin(x_NCHW) > 0.5) != (own > 0.5)).sum())
    if apart:
        theirs, its = ("light", "dark") if own <= 0.5 else ("dark", "light")
        advice = "leave invert=true out" if invert else "type invert=true to swap black and white"
        which = f"{apart:,} of {len(x_NCHW):,} images {'has' if apart == 1 else 'have'}"
        if len(x_NCHW) == 1:
            which = "The image has"
        log.warning(f"{which} a {theirs} background, but generated images have a {its} one: {advice}.")


def margin(x_NCHW: Tensor) -> Tensor:
    """The mean grey value of the outermost pixels of each image, shape (N,)."""
    frame_HW = torch.ones(x_NCHW.shape[2:], dtype=torch.bool)
    frame_HW[1:-1, 1:-1] = False
    return x_NCHW[:, :, frame_HW].flatten(1).mean(dim=1)


def inverted(x_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 − x, rounded to the float of an 8-bit grey value."""
    whole_NCHW: NDArray[np.float32] = np.rint(255 - 255 * x_NCHW)
    return whole_NCHW / np.float32(255)
