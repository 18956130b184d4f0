"""run.json: what was run, on what data and machine, with which versions, and how far it has come."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
        self.session: dict[str, Any] = {
            "command": command(arguments), "started": now(), "from_epoch": state.epoch, **process_facts()
        }  # fmt: skip
        self.sessions = [*before.get("sessions", []), self.session]
        self.setup = {
            "command": before.get("command", command(arguments)),
            "repeat": command([quote_override("repeat", folder.path)]),
            "working_directory": str(Path.cwd()),
            **setup_facts(config, data, state),
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
        best = {"epoch": state.best_epoch, f"{self.scored}/neg_elbo": self.neg_elbo(state)}
        return {
            "status": status,
            **more,
            **self.setup,
            "sessions": self.sessions,
            "epochs": {"done": state.epoch, "asked": self.epochs},
            "best": best if state.best_epoch else None,
            "started": self.sessions[0]["started"],
            "updated": now(),
        }

    def neg_elbo(self, state: TrainingState) -> float:
        """neg_elbo of the best epoch on the images that are scored; infinite before the first."""
        if not state.best_epoch:
            return float("inf")
        return state.history[state.best_epoch - 1][f"{self.scored}/neg_elbo"]


def best_of(facts: Mapping[str, Any]) -> float:
    """`RunJson.neg_elbo` of a finished run, from its run.json."""
    (neg_elbo,) = (value for key, value in facts["best"].items() if key.endswith("/neg_elbo"))
    return float(neg_elbo)


def setup_facts(config: Config, data: Data, state: TrainingState) -> dict[str, Any]:
    """The part of run.json that is known before the first step."""
    return {
        "objective": config.objective,
        "likelihood": config.loss.likelihood_name,
        "units": "nats per image: summed over pixels and latent dimensions, averaged over images",
        "model": {
            **config.model,
            "parameters": sum(parameter.numel() for parameter in state.model.parameters()),
        },
        "data": {
            "name": data.spec.name,
            "description": data.description,
            "classes": {str(number): name for number, name in data.class_names.items()},
            "binarize": data.binarize,
            "images": {
                "train": len(data.train),
                "val": len(data.held_out) if data.held_out.name == "val" else 0,
                "test": len(data.test),
            },
            "scored_each_epoch": data.held_out.name,
            **asdict(data.origin),
        },
        "device": device_facts(state.device),
        "versions": versions(),
        "git": git_facts(),
    }


def command(arguments: Sequence[str]) -> str:
    """The shell line that does the same."""
    return shlex.join(["python", "-m", "vaelab.train", *arguments])
