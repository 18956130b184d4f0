"""Log lines on the terminal, above a progress bar where there is one, and in files."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from vaelab.runs.files import writing

ROOT = logging.getLogger("vaelab")


class AboveTheBar(logging.Handler):
    """Writes log lines to stderr without tearing the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "file_only", False):
            return
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname}: "
        with suppress(OSError):  # a terminal that was closed, or | head, ends no training
            tqdm.write(prefix + record.getMessage(), file=sys.stderr)


@contextmanager
def logging_to(handler: logging.Handler) -> Iterator[None]:
    """Send vaelab's log lines to `handler` for a while."""
    ROOT.setLevel(logging.INFO)
    ROOT.propagate = False
    ROOT.addHandler(handler)
    try:
        yield
    finally:
        ROOT.removeHandler(handler)
        handler.close()


class LogFile(logging.FileHandler):
    """A file handler that ignores full disks: whatever else is written there reports them."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def log_file(path: Path) -> logging.Handler:
    """A handler that appends lines with their time to a file. Raises StorageError."""
    with writing(path):
        handler = LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler
