"""The settings of sampling."""

from typing import Annotated

from pydantic import Field

from vaelab.config.base import Allowed, FolderPath, RunPath, Seed, Settings


class SampleConfig(Settings):
    run: RunPath = Field(description="a run folder, for its best checkpoint, or a checkpoint: RUN/last")
    count: Annotated[int, Allowed("a whole number from 1 to 10,000")] = Field(
        64, ge=1, le=10_000, description="images to draw from the prior"
    )
    seed: Seed = Field(0, description="start of the random stream")
    output: FolderPath | None = Field(
        None, description="folder to write to; null: samples/ in the run folder"
    )
