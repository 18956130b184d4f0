"""Log lines on the terminal, above a progress bar where there is one, and in files."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from vaelab.runs.files import writing


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    return "ipykernel.zmqshell" in sys.modules


def terminal() -> TextIO:
    """The stream for non-warnings: stderr; in a notebook, which shows stderr in red, stdout."""
    return sys.stdout if in_notebook() else sys.stderr


def progress(*of: Any, **look: Any) -> tqdm[Any]:
    """A tqdm progress bar: text on a terminal, a widget in a notebook, and nothing in a pipe."""
    look = {"leave": False, "dynamic_ncols": True, **look}
    if not in_notebook():
        return tqdm(*of, **{**look, "disable": None})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets the bar is text, and tqdm warns of it
        from tqdm.auto import tqdm as bar
    return bar(*of, **look | {"file": terminal()})


class ProgressBarHandler(logging.Handler):
    """Writes log lines above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "file_only", False):
            return
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname}: "
        stream = sys.stderr if prefix else terminal()
        with suppress(OSError):  # a terminal that was closed, or | head, ends no training
            tqdm.write(prefix + record.getMessage(), file=stream)


class LogFile(logging.FileHandler):
    """Appends log lines with their time. Raises StorageError if the file can't be opened.

    Errors while writing are ignored, because the run's other files report them.
    """

    def __init__(self, path: Path) -> None:
        with writing(path):
            super().__init__(path, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def logging_to(handler: logging.Handler) -> Iterator[None]:
    """Within the context, vaelab's log lines go to `handler`, which is closed afterwards."""
    root = logging.getLogger("vaelab")
    level, propagate = root.level, root.propagate
    root.setLevel(logging.INFO)
    root.propagate = False
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
        root.setLevel(level)
        root.propagate = propagate


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Within the context, a line on a terminal says what is being done; nothing in a pipe."""
    with progress(desc=what, bar_format="{desc} …"):
        yield


@contextmanager
def standard_streams() -> Iterator[None]:
    """Within the context, every standard stream exists: a closed one, as by `2>&-`, is the null device."""
    modes = {"stdin": "r", "stdout": "w", "stderr": "w"}
    with ExitStack() as opened:
        for name in [name for name in modes if getattr(sys, name) is None]:
            # The lowest free descriptor is the stream's own, which libraries and child processes write to.
            stream = opened.enter_context(Path(os.devnull).open(modes[name], encoding="utf-8"))
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
            opened.callback(setattr, sys, name, None)
        yield
