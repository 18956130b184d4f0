"""Log lines on the terminal, above a progress bar where there is one, and in files."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

ROOT = logging.getLogger("vaelab")


class AboveTheBar(logging.Handler):
    """Writes log lines to stderr without tearing the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "file_only", False):
            return
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname}: "
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


def log_file(path: Path) -> logging.Handler:
    """A handler that appends lines with their time to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler
