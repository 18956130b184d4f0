"""Weights & Biases: settings, the rows of metrics.csv, final figures and status; offline unless set."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from vaelab.config import Config, lacks
from vaelab.runs.environment import importing
from vaelab.runs.folder import RunFolder
from vaelab.training.callbacks import Callback
from vaelab.training.loggers import cannot_start, final_figures, loggers, tracked_id
from vaelab.training.state import TrainingState


@loggers.register("wandb")
class WeightsAndBiases(Callback):
    """Writes wandb/offline-run-… into the run folder, for `wandb sync`; to a server with WANDB_MODE=online.

    Raises ConfigError if wandb is not installed.
    """

    def __init__(self, config: Config, folder: RunFolder, project: str = "vaelab") -> None:
        if find_spec("wandb") is None:
            raise lacks("logger=wandb", "wandb")
        self.config, self.folder, self.project = config, folder, project
        self.run: Any = None

    def on_start(self, state: TrainingState) -> None:
        """Start a run in Weights & Biases, or continue it under the same id."""
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        with importing():
            if mode == "offline":  # nothing is sent, not even reports of wandb's own errors
                os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            import wandb

            settings = wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True)
            try:
                self.run = wandb.init(
                    project=self.project, id=tracked_id(self.folder), name=self.folder.name, mode=mode,
                    dir=str(self.folder.path), config=self.config.to_dict(), settings=settings,
                    resume=None if mode == "offline" else "allow", reinit="create_new",
                )  # fmt: skip
            except (wandb.errors.Error, ValueError) as error:  # a server's answer, or WANDB_MODE and its like
                raise cannot_start("wandb", error) from error

    def on_epoch(self, state: TrainingState) -> None:
        self.run.log(state.history[-1], step=state.epoch)

    def on_end(self, state: TrainingState, facts: Mapping[str, Any]) -> None:
        if self.run is None:
            return
        import wandb

        finished = facts["status"] == "finished"
        if finished:
            figures = {f"figures/{path.stem}": wandb.Image(str(path)) for path in final_figures(self.folder)}
            self.run.log(figures, step=state.epoch)
        self.run.summary.update({"status": facts["status"], "best": facts["best"]})
        self.run.finish(exit_code=0 if finished else 1)
        self.run = None
