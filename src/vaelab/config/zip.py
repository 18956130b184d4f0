"""The settings of packing."""

from pydantic import Field

from vaelab.config.base import RunPath, RunsPath, Settings


class ZipConfig(Settings):
    """The settings of vaelab.zip."""

    run: RunPath | None = Field(None, description="a run folder to pack")
    sweep: RunsPath | None = Field(None, description="a folder of runs to pack, with its comparison")
