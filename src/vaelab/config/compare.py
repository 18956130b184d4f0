"""The settings of a comparison."""

from pydantic import Field

from vaelab.config.base import Device, RunsPath, Settings, Switch
from vaelab.config.evaluate import ScoredDataConfig


class CompareConfig(Settings):
    """The settings of vaelab.compare."""

    sweep: RunsPath = Field(description="a folder of runs, such as that of a sweep")
    evaluate: Switch = Field(True, description="evaluate runs that lack numbers for the comparison")
    figures: Switch = Field(True, description="draw the figures")
    device: Device = Field("auto", description="device for evaluations; auto: CUDA if available, else cpu")
    dataset: ScoredDataConfig = ScoredDataConfig()
