"""Runs several command lines one after the other in this process, which imports the libraries once.

The argument is JSON, a list of lines: a command's name and its arguments. On stdout the status, stdout and
stderr of each, as JSON.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module


def run(name: str, *arguments: str) -> tuple[object, str, str]:
    sys.argv[1:] = arguments
    status: object = 0
    with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        try:
            import_module(f"vaelab.{name}").main()
        except SystemExit as exit:
            status = exit.code
    return status, stdout.getvalue(), stderr.getvalue()


if __name__ == "__main__":
    print(json.dumps([run(*line) for line in json.loads(sys.argv[1])]))
