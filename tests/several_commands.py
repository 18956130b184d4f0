"""Runs several command lines one after the other in this process, which imports the libraries once.

The argument is JSON, a list of lines: a command's name and its arguments. Prints what became of each as JSON: exit
status, stdout, stderr, and the paths that it made or removed.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*")}


def outcome(name: str, *arguments: str) -> dict[str, Any]:
    sys.argv = ["vaelab", *arguments]
    before, stdout, stderr = files(), io.StringIO(), io.StringIO()
    stdout.fileno = lambda: 1  # type: ignore[method-assign]
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            status: object = import_module(f"vaelab.{name}").main() or 0
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            status = f"{type(error).__name__}: {error}"
    return {
        "status": status, "stdout": stdout.getvalue(), "stderr": stderr.getvalue(), "changed": sorted(files() ^ before),
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps([outcome(*line) for line in json.loads(sys.argv[1])]))
