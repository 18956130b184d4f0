"""The settings of a comparison."""

from pydantic import Field

from vaelab.config.base import Device, RunsPath, Settings, Switch
from vaelab.config.evaluate import ScoredDataConfig


class CompareConfig(Settings):
    sweep: RunsPath = Field(description="a folder with runs in it, such as a sweep's")
    evaluate: Switch = Field(True, description="measure what no evaluation has measured yet")
    figures: Switch = Field(True, description="draw the figures")
    device: Device = Field("auto", description="auto takes CUDA where there is one")
    dataset: ScoredDataConfig = ScoredDataConfig()
