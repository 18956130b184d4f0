"""The settings of an export."""

from pydantic import Field

from vaelab.config.base import FolderPath, RunPath, Settings


class ExportConfig(Settings):
    """The settings of vaelab.export."""

    run: RunPath = Field(description="a run folder, for its best checkpoint, or a checkpoint: RUN/last")
    output: FolderPath | None = Field(None, description="folder to write to; null: export/ in the run folder")
