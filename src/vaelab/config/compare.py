"""The settings of a comparison."""

from typing import Annotated

from pydantic import Field

from vaelab.config.base import Allowed, AnyPath, Device, Settings, Switch
from vaelab.config.evaluate import EvaluatedDataConfig


class CompareConfig(Settings):
    sweep: Annotated[AnyPath, Allowed("a folder of runs, such as outputs/multirun/2026-11-21/...")] = Field(
        description="a folder with runs in it, such as a sweep's"
    )
    evaluate: Switch = Field(True, description="measure what no evaluation has measured yet")
    figures: Switch = Field(True, description="draw the figures")
    device: Device = Field("auto", description="auto takes CUDA where there is one")
    dataset: EvaluatedDataConfig = EvaluatedDataConfig()
