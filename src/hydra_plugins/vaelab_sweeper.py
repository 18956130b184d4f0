"""Hydra's own sweeper and Optuna's, but each distinct training once.

Hydra finds sweepers only in this namespace package.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from vaelab.cli.command_line import settings_from
from vaelab.config import Config, ConfigError, VaelabError, effective
from vaelab.runs.files import held, remove_if_empty

SAID = 4
"""Repetitions that are named; of more, only the number is."""


@contextmanager
def alone_in(folder: str) -> Iterator[None]:
    """Inside, no other sweep writes into the folder; one of which no job began is taken back."""
    try:
        with held(Path(folder)):
            yield
    finally:
        remove_if_empty(Path(folder))


class DistinctSweeper(BasicSweeper):
    """Checks all jobs' settings before the first one starts, and leaves out those that repeat another."""

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        with alone_in(self.config.hydra.sweep.dir):
            return super().sweep(arguments)

    def split_arguments(  # type: ignore[override]  # a static method there, but called on the instance
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The jobs in batches, as Hydra wants them. Raises ConfigError for a job that could never run."""
        assert self.hydra_context is not None
        assert self.config is not None
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
        swept = {override.key_or_group for override in overrides if override.is_sweep_override()}
        distinct: dict[str, list[str]] = {}
        repeated = []
        for job in map(lower_booleans, jobs):
            config = settings_of_job(self.hydra_context, self.config, job)
            # Without the KL term beta says nothing: not in the name of a folder either.
            kept = [
                override
                for override in job
                if not config.kl_off or not override.lstrip("+").startswith("beta=")
            ]
            key = repr(effective(config))
            if key in distinct:
                repeated.append(f"{shown(job, swept)} is the same training as {shown(distinct[key], swept)}")
            else:
                distinct[key] = kept
        if repeated:
            more = f"; and {len(repeated) - SAID} more" if len(repeated) > SAID else ""
            line = f"{len(jobs)} combinations, {len(distinct)} trainings: {'; '.join(repeated[:SAID])}{more}."
            print(line, file=sys.stderr)
        self.number_folders(len(distinct))
        size = max_batch_size or len(distinct)
        return [list(batch) for batch in BasicSweeper.split_overrides_to_chunks([*distinct.values()], size)]

    def number_folders(self, jobs: int) -> None:
        """Number the jobs' folders so that their names sort."""
        assert self.config is not None
        if any(typed.startswith("hydra.sweep.subdir=") for typed in self.config.hydra.overrides.hydra):
            return
        width = len(str(jobs - 1))
        name = f"${{sweep_name:${{hydra:job.num}},${{hydra:job.override_dirname}},{width}}}"
        with open_dict(self.config):
            self.config.hydra.overrides.hydra.append(f"hydra.sweep.subdir='{name}'")


class OptunaSweeper(Sweeper):
    """Optuna's, in which a failed trial ends no search, and one that repeats another is not trained again.

    The arguments are those of Hydra's sweeper.
    """

    def __init__(self, **params: Any) -> None:
        from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper as Hydras

        self.hydras = Hydras(**params)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydras.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        assert self.hydras.sweeper.launcher is not None
        self.trials = Trials(self.hydras.sweeper.launcher, hydra_context, config)
        self.hydras.sweeper.launcher = cast(Launcher, self.trials)

    def sweep(self, arguments: list[str]) -> None:
        try:
            with alone_in(self.trials.config.hydra.sweep.dir):
                self.hydras.sweep(arguments)
        except ValueError as error:
            if not self.trials.known:
                raise VaelabError(f"Optuna refuses this search: {error}") from error
            if (
                self.trials.succeeded
            ):  # else Optuna only says that it has no best trial: the end names them all
                raise


class Trials:
    """Stands between a search and what launches its trials."""

    def __init__(self, launcher: Launcher, hydra_context: HydraContext, config: DictConfig) -> None:
        self.launcher = launcher
        self.hydra_context = hydra_context
        self.config = config
        self.known: dict[str, JobReturn] = {}
        """What a training returned, by its effective settings."""

    @property
    def succeeded(self) -> bool:
        return any(each.status == JobStatus.COMPLETED for each in self.known.values())

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        keys = [
            repr(effective(settings_of_job(self.hydra_context, self.config, job))) for job in job_overrides
        ]
        new = {key: job for key, job in zip(keys, job_overrides, strict=True) if key not in self.known}
        returned = self.launcher.launch([*new.values()], initial_job_idx) if new else []
        self.known |= dict(zip(new, map(failed_if_nan, returned), strict=True))
        return [self.known[key] for key in keys]


def failed_if_nan(returned: JobReturn) -> JobReturn:
    """A job that has failed, or was lost, returns NaN: for Optuna it has to be a failure."""
    if math.isnan(returned.return_value):
        return JobReturn(status=JobStatus.FAILED, _return_value=VaelabError("the training failed"))
    return returned


def settings_of_job(hydra_context: HydraContext, config: DictConfig, job: Sequence[str]) -> Config:
    """What a job will be told. Raises ConfigError for what could never run."""
    composed = hydra_context.config_loader.load_sweep_config(config, list(job))
    with open_dict(composed):
        del composed["hydra"]
    resolved = settings_from(composed, Config)
    if resolved.resume is not None:
        raise ConfigError(
            "resume continues one run: leave -m out. A sweep goes on with its own command and "
            "hydra.sweep.dir=FOLDER."
        )
    return resolved


def lower_booleans(job: Sequence[str]) -> list[str]:
    """Overrides as a person types them: Hydra makes `kl=True` of `kl=true`."""
    return [re.sub(r"=(True|False)$", lambda match: match[0].lower(), override) for override in job]


def shown(job: Sequence[str], swept: Collection[str]) -> str:
    """The part of a job's overrides in which jobs differ."""
    return " ".join(override for override in job if override.split("=")[0].lstrip("+~") in swept)
