"""What else records each epoch: one callback per module, registered there, chosen by the setting `logger`.

A constructor may take `config`, `data`, `folder`, `examples` and `epoch` (complete ones, when resumed), and
raises ConfigError where it can't work.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from vaelab.config.registry import Registry
from vaelab.runs.folder import RunFolder
from vaelab.training.callbacks import Callback

loggers: Registry[Callable[..., Callback]] = Registry("logger", __name__, "vaelab.loggers")


@loggers.register("none")
class NoLogger(Callback):
    """No other logger."""


def tracked_id(folder: RunFolder) -> str:
    """A name for a run in other programs, which resuming and moving it leave as it is."""
    first = folder.read_run_json()["sessions"][0]
    return hashlib.sha256(repr([first[key] for key in ("started", "host", "process")]).encode()).hexdigest()[
        :12
    ]


def final_figures(folder: RunFolder) -> list[Path]:
    """The pictures that a finished run has, but for those of each epoch."""
    return sorted((folder.path / "figures").glob("*.png"))
