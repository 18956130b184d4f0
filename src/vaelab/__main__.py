"""The commands of vaelab: `python -m vaelab`."""

import importlib

from vaelab.cli.entry import version_line
from vaelab.config import SCHEMAS


def main() -> None:
    print(version_line())
    for command in SCHEMAS:
        purpose, _, line = str(importlib.import_module(f"vaelab.{command}").__doc__).partition(": ")
        print(f"\n{purpose}:\n  {line.removesuffix('.').strip('`')}")
    print("\nEach command lists its settings with --help.")


if __name__ == "__main__":
    main()
