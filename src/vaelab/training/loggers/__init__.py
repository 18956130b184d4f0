"""Loggers, which record each epoch elsewhere: one callback per module, chosen by the setting `logger`.

    @loggers.register("print")
    class PrintLoss(Callback):
        def on_epoch(self, state: TrainingState) -> None:
            print(state.history[-1]["train/loss"])  # nats per image

A constructor may take `config`, `data`, `folder`, `examples` and `epoch` (the number of complete epochs when
resumed) as arguments of these names, and raises ConfigError if the logger can't work.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from vaelab.config import VaelabError
from vaelab.config.registry import Registry
from vaelab.runs.folder import RunFolder
from vaelab.training.callbacks import Callback

loggers: Registry[Callable[..., Callback]] = Registry("logger", __name__, "vaelab.loggers")


@loggers.register("none")
class NoLogger(Callback):
    """No additional logger: the default."""


def cannot_start(name: str, error: Exception) -> VaelabError:
    """The error for a logger that another program's error keeps from starting."""
    reason = " ".join(str(error).split()).rstrip(".")
    return VaelabError(f"logger={name} can't start: {reason}. Type logger=none to train without it.")


def tracked_id(folder: RunFolder) -> str:
    """An identifier of a run for other programs, unchanged when the run is resumed or its folder moved."""
    first = folder.read_run_json()["sessions"][0]
    return hashlib.sha256(repr([first[key] for key in ("started", "host", "process")]).encode()).hexdigest()[
        :12
    ]


def final_figures(folder: RunFolder) -> list[Path]:
    """The PNG files of a finished run's figures/ folder, without those of single epochs."""
    return sorted((folder.path / "figures").glob("*.png"))
