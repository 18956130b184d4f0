"""The settings of reconstructing images, and of interpolating between two."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from vaelab.config.base import (
    Allowed,
    FolderPath,
    Images,
    OneClass,
    OneImage,
    RunPath,
    Seed,
    Settings,
    Switch,
)
from vaelab.config.errors import ConfigError
from vaelab.config.evaluate import EvaluatedDataConfig

INVERT = "swap black and white in image files, for dark drawings on a light background"


def check_invert(invert: bool, images: Sequence[int | str]) -> None:
    """Raise ConfigError where test images alone would be inverted."""
    if invert and not any(isinstance(each, str) for each in images):
        raise ConfigError("invert=true is for image files: leave it out for test images.")


class ReconstructConfig(Settings):
    """The settings of vaelab.reconstruct."""

    run: RunPath = Field(description="a run folder, for its best checkpoint, or a checkpoint: RUN/last")
    images: Images | None = Field(
        None,
        min_length=1,
        description="files, a folder, an .npz file, or test images by number, from 0; null: the first 8 test "
        "images",
    )
    invert: Switch = Field(False, description=INVERT)
    class_: OneClass | None = Field(
        None,
        alias="class",
        description="for a class-conditional run: the class of every image; null: that of each test image",
    )
    samples: Annotated[int, Allowed("a whole number from 2 to 10,000")] = Field(
        16, ge=2, le=10_000, description="posterior samples per image over which −log p(x|z) is averaged"
    )
    seed: Seed = Field(0, description="seed of the random streams: those samples, and binarised pixels")
    output: FolderPath | None = Field(
        None, description="folder to write to; null: reconstructions/ in the run folder"
    )
    dataset: EvaluatedDataConfig = EvaluatedDataConfig()
    """Of the test images; files need no data."""

    @model_validator(mode="after")
    def check_together(self) -> Self:
        check_invert(self.invert, self.images or [0])
        return self


class InterpolateConfig(Settings):
    """The settings of vaelab.interpolate."""

    run: RunPath = Field(description="a run folder, for its best checkpoint, or a checkpoint: RUN/last")
    from_: OneImage = Field(alias="from", description="the start: a test image's number, or a file")
    to: OneImage = Field(description="the end: a test image's number, or a file")
    steps: Annotated[int, Allowed("a whole number from 2 to 10,000")] = Field(
        10, ge=2, le=10_000, description="number of images, both ends included; the figure shows at most 12"
    )
    path: Literal["linear", "spherical", "both"] = Field(
        "linear",
        description="from one posterior mean to the other on a straight line, on a great circle, or on both",
    )
    class_: OneClass | None = Field(
        None,
        alias="class",
        description="for a class-conditional run: the class of files, and of the decoded images; null: "
        "that of test image `from`",
    )
    npz: Switch = Field(False, description="also write all images and latents as a NumPy archive")
    invert: Switch = Field(False, description=INVERT)
    seed: Seed = Field(0, description="seed of the random pixels, where images are binarised")
    output: FolderPath | None = Field(
        None, description="folder to write to, or a file *.png; null: interpolations/ in the run folder"
    )
    dataset: EvaluatedDataConfig = EvaluatedDataConfig()
    """Of the test images; files need no data."""

    @model_validator(mode="after")
    def check_together(self) -> Self:
        check_invert(self.invert, [self.from_, self.to])
        return self
