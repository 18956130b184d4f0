"""What Hydra calls before the first and after the last job of a sweep, whatever launches the jobs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict

from vaelab.config import CompareConfig, quote_override
from vaelab.runs.folder import RunFolder, natural

failed: list[str] = []
"""Folders of the jobs that failed in this process; once the sweep has ended, of all that did not finish."""

broken: list[Exception] = []
"""What a callback raised. Hydra would only warn of it; `vaelab.train` raises it when the sweep has ended."""

stopped: list[int] = []
"""Signals that have ended a job in this process: it begins no other."""


def lose(folder: RunFolder, error: Exception) -> None:
    """Note that no word came back from a job, and why: in its log, where it has not begun one as a run."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    print(f"vaelab: {folder.name} was lost: {reason}", file=sys.stderr)
    failed.append(folder.name)
    if not folder.run_json.exists():
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.write_text(folder.log, f"lost: {reason}\n")


class Folders(Callback):
    """Says where the jobs write: in folders named after what is swept only, that other machines find too."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        hydra = config.hydra
        fixed = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
        typed = OverridesParser.create().parse_overrides([*fixed, *hydra.overrides.task])
        swept = {part.key_or_group for part in typed if part.is_sweep_override()}
        constant = {part.key_or_group for part in typed} - swept
        excluded = [*hydra.job.config.override_dirname.exclude_keys, *sorted(constant)]
        with open_dict(config):
            # What a job is told: its settings are composed anew, out of these and its own.
            hydra.overrides.hydra += [
                f"hydra.job.config.override_dirname.exclude_keys=[{','.join(excluded)}]",
                quote_override("hydra.sweep.dir", Path(hydra.sweep.dir).absolute()),
            ]


class Comparing(Callback):
    """Compares the runs of a sweep, notes which jobs have failed, and packs the whole where that is asked."""

    def __init__(self, enabled: bool = True, evaluate: bool = True, figures: bool = True) -> None:
        self.enabled = enabled
        self.evaluate = evaluate
        self.figures = figures

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            self.compare_and_pack(config)
        except (KeyboardInterrupt, SystemExit):
            line = ["python", "-m", "vaelab.compare", quote_override("sweep", config.hydra.sweep.dir)]
            print(f"vaelab: all jobs have ended. To compare them: {shlex.join(line)}", file=sys.stderr)
            raise
        except Exception as error:
            broken.append(error)

    def compare_and_pack(self, config: DictConfig) -> None:
        from vaelab.comparison.compare import compare, unfinished  # torch: not for --help

        folder = Path(config.hydra.sweep.dir)
        failed.extend(name for name in unfinished(folder) if name not in failed)
        failed.sort(key=natural)
        if self.enabled:
            asked = CompareConfig(sweep=str(folder), evaluate=self.evaluate, figures=self.figures)
            outcome = compare(asked)
            print(f"{outcome.text}\nComparison: {outcome.folder}")
            failed.extend(outcome.failed)
        # What is typed for all jobs is not in the config of the sweep itself, only among its overrides.
        if config.artifacts.zip or "artifacts.zip=true" in map(str.lower, config.hydra.overrides.task):
            RunFolder(folder).remove_leftovers()
            RunFolder(folder).write_zip()
