"""The settings of sampling."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from vaelab.config.base import Allowed, FolderPath, OneClass, RunPath, Seed, Settings
from vaelab.config.errors import ConfigError
from vaelab.config.evaluate import EvaluatedDataConfig

LARGEST_GRID = 2500
"""Largest number of images in a grid, 50 × 50: ten times as many take more memory than a laptop has."""


class SampleConfig(Settings):
    """The settings of vaelab.sample."""

    run: RunPath = Field(description="a run folder, for its best checkpoint, or a checkpoint: RUN/last")
    count: Annotated[int, Allowed("a whole number from 1 to 100,000")] = Field(
        64, ge=1, le=100_000, description="number of images to draw"
    )
    format: Literal["grid", "npz", "png"] = Field(
        "grid",
        description="grid: one picture of all images; npz: a NumPy archive of bytes and latents; png: one "
        "file per image",
    )
    source: Literal["prior", "mixture"] = Field(
        "prior",
        description="where latents are drawn from: N(0, I), or 10 Gaussians fitted to posterior samples",
    )
    class_: OneClass | None = Field(
        None,
        alias="class",
        description="for a class-conditional run: the class of the images; all: every class, decoded "
        "from the same latents; null: drawn from p(y)",
    )
    sigma: Annotated[float, Allowed("a number from 0 to 100")] = Field(
        1.0, ge=0, le=100, description="standard deviation of the prior draws, dimensionless"
    )
    seed: Seed = Field(0, description="seed of the random stream; the first images do not depend on count")
    output: FolderPath | None = Field(
        None, description="folder to write to, or a file *.png or *.npz; null: samples/ in the run folder"
    )
    dataset: EvaluatedDataConfig = EvaluatedDataConfig()
    """Where the training images are that the mixture is fitted to; the prior needs none."""

    @model_validator(mode="after")
    def check_together(self) -> Self:
        if self.format == "grid" and self.count > LARGEST_GRID:
            raise ConfigError(
                f"format=grid draws at most {LARGEST_GRID:,} images in one picture, and count={self.count}: "
                "type format=npz or format=png."
            )
        if self.source == "prior" and self.dataset != EvaluatedDataConfig():
            raise ConfigError(
                "dataset.root and dataset.source are only for the images that source=mixture is fitted to: "
                "leave them out with source=prior."
            )
        if self.source == "mixture" and self.sigma != 1:
            raise ConfigError(
                f"sigma={self.sigma:g} scales draws from the prior: leave it out with source=mixture."
            )
        return self
