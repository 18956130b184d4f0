"""Runs many command lines of one command in one process: `python -m many_lines vaelab.train lines.json`.

Prints what became of each as JSON: exit status, stdout, stderr, and the paths that it made or removed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*")}


def outcome(module: Any, arguments: list[str]) -> dict[str, Any]:
    sys.argv = ["vaelab", *arguments]
    before, stdout, stderr = files(), io.StringIO(), io.StringIO()
    stdout.fileno = lambda: 1  # type: ignore[method-assign]
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            status: object = module.main() or 0
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            status = f"{type(error).__name__}: {error}"
    return {
        "status": status, "stdout": stdout.getvalue(), "stderr": stderr.getvalue(), "changed": sorted(files() ^ before),
    }  # fmt: skip


if __name__ == "__main__":
    module, lines = importlib.import_module(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    print(json.dumps([outcome(module, arguments) for arguments in lines]))
