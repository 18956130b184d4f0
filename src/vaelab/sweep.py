"""What happens when the last job of a sweep has ended: Hydra calls it, whatever launched the jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from vaelab.config import CompareConfig
from vaelab.run_folder import RunFolder

failed: list[str] = []
"""Folders of the jobs that failed in this process; once the sweep has ended, of all that did not finish."""


class Comparing(Callback):
    """Compares the runs of a sweep, notes which jobs have failed, and packs the whole where that is asked."""

    def __init__(self, enabled: bool = True, evaluate: bool = True, figures: bool = True) -> None:
        self.enabled = enabled
        self.evaluate = evaluate
        self.figures = figures

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from vaelab.comparison import session  # torch: not for --help
        from vaelab.comparison.runs import natural

        folder = Path(config.hydra.sweep.dir)
        failed.extend(name for name in session.unfinished(folder) if name not in failed)
        failed.sort(key=natural)
        if self.enabled:
            asked = CompareConfig(sweep=str(folder), evaluate=self.evaluate, figures=self.figures)
            outcome = session.compare(asked)
            print(f"{outcome.text}\nComparison: {outcome.folder}")
            failed.extend(outcome.failed)
        # What is typed for all jobs is not in the config of the sweep itself, only among its overrides.
        if config.artifacts.zip or "artifacts.zip=true" in map(str.lower, config.hydra.overrides.task):
            RunFolder(folder).write_zip()
