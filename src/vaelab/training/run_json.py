"""run.json: what was run, on what data and machine, with which versions, and how far it has come."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaelab.config import Config, quote_override
from vaelab.data.splits import Data
from vaelab.runs.environment import device_facts, git_facts, now, process_facts, versions
from vaelab.runs.folder import RunFolder
from vaelab.training.callbacks import Callback
from vaelab.training.state import TrainingState


class RunJson(Callback):
    """Keeps run.json up to date: who dies leaves the status "running" and the last complete epoch."""

    def __init__(
        self, config: Config, data: Data, folder: RunFolder, state: TrainingState, arguments: Sequence[str],
        before: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """`before` is the content of an earlier session's."""
        self.folder = folder
        self.scored = data.held_out.name
        self.epochs = config.epochs
        line = command(arguments)
        self.session = {"command": line, "started": now(), "from_epoch": state.epoch, **process_facts()}
        self.sessions = [*before.get("sessions", []), self.session]
        self.setup = {
            "command": before.get("command", line),
            "repeat": command([quote_override("repeat", folder.path)]),
            "working_directory": str(Path.cwd()),
            "objective": config.objective,
            "likelihood": config.loss.likelihood_name,
            "units": "nats per image: summed over pixels and latent dimensions, averaged over images",
            "model": {**config.model, "parameters": sum(each.numel() for each in state.model.parameters())},
            "data": {
                "name": data.spec.name,
                "description": data.description,
                "classes": {str(number): name for number, name in data.class_names.items()},
                "binarize": data.binarize,
                "images": {
                    "train": len(data.train),
                    "val": len(data.held_out) if self.scored == "val" else 0,
                    "test": len(data.test),
                },
                "scored_each_epoch": self.scored,
                **data.origin.to_dict(),
            },
            "device": device_facts(state.device),
            "versions": versions(),
            "git": git_facts(),
        }

    def on_epoch(self, state: TrainingState) -> None:
        self.write(state, "running")

    def write(self, state: TrainingState, status: str, **more: Any) -> dict[str, Any]:
        """Write the file; returns its content."""
        facts = self.content(state, status, **more)
        self.folder.write_run_json(facts)
        return facts

    def content(self, state: TrainingState, status: str, **more: Any) -> dict[str, Any]:
        ended = None if status == "running" else now()
        self.session |= {"ended": ended, "to_epoch": state.epoch, "status": status}
        best, key = None, f"{self.scored}/neg_elbo"
        if state.best_epoch:
            best = {"epoch": state.best_epoch, key: state.history[state.best_epoch - 1][key]}
        return {
            "status": status,
            **more,
            **self.setup,
            "sessions": self.sessions,
            "epochs": {"done": state.epoch, "asked": self.epochs},
            "best": best,
            "started": self.sessions[0]["started"],
            "updated": now(),
        }


def best_of(facts: Mapping[str, Any]) -> float:
    """neg_elbo of a run's best epoch on the scored images, from its run.json; infinite before one."""
    best = facts["best"] or {}
    return next((float(value) for key, value in best.items() if key.endswith("/neg_elbo")), math.inf)


def command(arguments: Sequence[str]) -> str:
    """The shell line that does the same."""
    return shlex.join(["python", "-m", "vaelab.train", *arguments])
