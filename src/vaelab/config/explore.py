"""The settings of an explorer."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from vaelab.config.base import Allowed, AnyPath, Count, Natural, Settings, Text
from vaelab.config.errors import ConfigError
from vaelab.config.evaluate import EvaluatedDataConfig


def check_distinct(names: list[str]) -> list[str]:
    if len({*names}) != 2:
        raise ValueError("not two names")
    return names


class ExploreConfig(Settings):
    """The settings of vaelab.explore."""

    run: Annotated[AnyPath | None, Allowed("a run folder or a checkpoint")] = Field(
        None, description="a run folder, for its best checkpoint, or a checkpoint: RUN/last"
    )
    sweep: Annotated[AnyPath | None, Allowed("a folder of runs")] = Field(
        None, description="a folder of runs, two of which are put side by side"
    )
    pair: Annotated[
        Annotated[list[Text], AfterValidator(check_distinct)] | None,
        Allowed("two folders' names, such as [0_kl-false,1_kl-true], or null"),
    ] = Field(
        None, description="the two runs, by their folders' names; null: KL off and the beta nearest to 1"
    )
    output: Annotated[AnyPath, Allowed("a file's path")] | None = Field(
        None,
        description="the file to write; null: explorer.html in the run folder, or in comparison/ of the "
        "sweep",
    )
    images: Count = Field(2000, description="number of test images in the page, the first ones")
    epochs: Natural = Field(
        5, description="number of earlier epochs in the page, from those kept by artifacts.checkpoint_every"
    )
    dataset: EvaluatedDataConfig = EvaluatedDataConfig()

    @model_validator(mode="after")
    def check_what(self) -> Self:
        if (self.run is None) == (self.sweep is None):
            raise ConfigError(
                "An explorer shows one run or two of a sweep: type either run=outputs/2026-11-21/... "
                "or sweep=outputs/multirun/2026-11-21/..."
            )
        if self.pair is not None and self.sweep is None:
            raise ConfigError("pair names two runs of a sweep: type sweep=FOLDER as well.")
        return self
