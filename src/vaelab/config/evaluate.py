"""The settings of an evaluation."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from vaelab.config import base
from vaelab.config.base import Allowed, NamesFrom, Settings
from vaelab.config.errors import ConfigError

SECTIONS = NamesFrom("evaluation/sections", "vaelab.metrics")


ON_REQUEST = ("fid_untrained",)
"""Sections that are measured only if their setting says so."""


class EvaluatedDataConfig(Settings):
    """Where an evaluation takes its images from; the checkpoint determines which ones."""

    source: base.Source | None = Field(
        None, description="where the images come from: auto, full or embedded; null: as for the run"
    )
    root: base.FolderPath | None = Field(
        None,
        description="folder with the data in torchvision's layout, or your own images; null: as for the run",
    )

    @model_validator(mode="after")
    def check_root(self) -> Self:
        if self.root is not None and not (Path(self.root).is_dir() or self.root.lower().endswith(".npz")):
            raise ConfigError(
                f"dataset.root={self.root} is not a directory: type one with the data, or create it for a "
                "download."
            )
        return self

    def scored(self) -> "ScoredDataConfig":
        """The same source and root, with the default feature network."""
        return ScoredDataConfig(source=self.source, root=self.root)


class ScoredDataConfig(EvaluatedDataConfig):
    """Where the images come from, and which feature network scores samples."""

    features: Annotated[base.AnyPath, Allowed("a file's path")] | None = Field(
        None,
        description="feature network for FID and similar scores, from scripts/make_classifiers.py; null: the "
        "one beside the data, else a shipped one",
    )

    @model_validator(mode="after")
    def check_features(self) -> Self:
        if self.features is not None and not Path(self.features).is_file():
            raise ConfigError(
                f"dataset.features={self.features} is not a file: type a feature network's path."
            )
        return self


class EvaluationConfig(Settings):
    """The settings of vaelab.evaluate."""

    checkpoint: base.RunPath = Field(
        description="a run folder, for its best checkpoint, or a checkpoint: RUN/last"
    )
    output: base.FolderPath | None = Field(
        None, description="folder to write to; null: evaluation/ in the run folder"
    )
    split: Literal["test", "val", "train"] = Field("test", description="the images that are scored")
    seed: base.Seed | None = Field(
        None, description="seed of all random streams; null: the run's, for the same numbers as in training"
    )
    device: base.Device = Field(
        "auto", description="device to evaluate on; auto: CUDA if available, else cpu; with mps, cpu is used"
    )
    importance_samples: base.Count = Field(
        500, description="K, the number of importance samples per image, for nll"
    )
    proposal: Literal["mixture", "posterior"] = Field(
        "mixture",
        description="distribution of nll's importance samples: q(z|x) and wider Gaussians, or q(z|x) alone",
    )
    nll_images: Annotated[int | None, Allowed("a whole number of at least 1, or null for all")] = Field(
        1000, ge=1, description="number of images for nll, the first of the split; null: all"
    )
    figures: base.Switch = Field(True, description="draw the figures")
    metrics: Annotated[dict[str, base.Switch], SECTIONS] = Field(
        default_factory=lambda: {name: name not in ON_REQUEST for name in SECTIONS.names()}
    )
    """The sections to measure: by default all, except for those on request."""
    dataset: ScoredDataConfig = ScoredDataConfig()
