"""Hydra's own sweeper, but each distinct training once.

Hydra finds sweepers only in this namespace package.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from omegaconf import open_dict

from vaelab.config import Config, ConfigError, effective, resolve

SAID = 4
"""Repetitions that are named; of more, only the number is."""


class DistinctSweeper(BasicSweeper):
    """Checks all jobs' settings before the first one starts, and leaves out those that repeat another."""

    def split_arguments(  # type: ignore[override]  # a static method there, but called on the instance
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The jobs in batches, as Hydra wants them. Raises ConfigError for a job that could never run."""
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
        swept = {override.get_key_element() for override in overrides if override.is_sweep_override()}
        distinct: dict[str, list[str]] = {}
        repeated = []
        for job in map(lower_booleans, jobs):
            config = self.settings(job)
            # Without the KL term beta says nothing: not in the name of a folder either.
            kept = [override for override in job if config.kl or not override.startswith("beta=")]
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

    def settings(self, job: Sequence[str]) -> Config:
        """What a job will be told."""
        assert self.hydra_context is not None
        assert self.config is not None
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, list(job))
        with open_dict(composed):
            del composed["hydra"]
        config = resolve(composed, Config)
        if config.resume is not None:
            raise ConfigError(
                "resume continues one run: leave -m out. A sweep goes on with its own command and "
                "hydra.sweep.dir=FOLDER."
            )
        return config

    def number_folders(self, jobs: int) -> None:
        """Number the jobs' folders so that their names sort."""
        assert self.config is not None
        width = len(str(jobs - 1))
        name = f"${{sweep_name:${{hydra:job.num}},${{hydra:job.override_dirname}},{width}}}"
        with open_dict(self.config):
            self.config.hydra.overrides.hydra.append(f"hydra.sweep.subdir='{name}'")


def lower_booleans(job: Sequence[str]) -> list[str]:
    """Overrides as a person types them: Hydra makes `kl=True` of `kl=true`."""
    return [re.sub(r"=(True|False)$", lambda match: match[0].lower(), override) for override in job]


def shown(job: Sequence[str], swept: Collection[str]) -> str:
    """The part of a job's overrides in which jobs differ."""
    return " ".join(override for override in job if override.split("=")[0].lstrip("+~") in swept)
