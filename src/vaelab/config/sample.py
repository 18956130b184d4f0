"""The settings of sampling."""

from pydantic import Field

from vaelab.config.base import Count, FolderPath, RunPath, Seed, Settings


class SampleConfig(Settings):
    run: RunPath = Field(description="a run folder, for its best checkpoint, or a checkpoint")
    count: Count = Field(64, description="images to draw from the prior")
    seed: Seed = Field(0, description="start of the random stream")
    output: FolderPath | None = Field(
        None, description="folder to write to; null: samples/ in the run folder"
    )
