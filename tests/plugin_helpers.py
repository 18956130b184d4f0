"""The plugin of tests/extensions, installed as pip would: modules and the metadata of entry points in a folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness import command_line_of, idx

EXTENSIONS = Path(__file__).parent / "extensions"

ENTRY_POINTS = {
    "vaelab.models": "residual",
    "vaelab.likelihoods": "pixel_gaussian",
    "vaelab.kl_schedules": "staircase",
    "vaelab.objectives": "rae",
    "vaelab.datasets": "stripes",
    "vaelab.loggers": "jsonl",
    "vaelab.metrics": "pixel_error",
}


def install(folder: Path) -> None:
    """The plugin, as pip leaves it in site-packages."""
    for path in EXTENSIONS.glob("*.py"):
        (folder / path.name).write_bytes(path.read_bytes())
    metadata = folder / "plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    lines = [f"[{group}]\n{name} = {name}\n" for group, name in ENTRY_POINTS.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines))


def write_stripes(folder: Path) -> None:
    """The data set of stripes.py: stripes in three directions, of several widths, phases and greys."""
    folder.mkdir(parents=True)
    for name, count, first in (("train", 600, 0), ("t10k", 120, 1000)):
        number = np.arange(first, first + count)
        row, column = np.mgrid[:20, :20]
        across = np.stack([row + 0 * column, column + 0 * row, row + column])[number % 3]
        phase, width, grey = (
            each[:, None, None] for each in (number % 7, 2 + number % 4, 128 + number % 128)
        )
        images = (across + phase) // width % 2 * grey
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(number % 3))


def commands(folder: Path, *lines: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
    """Several commands in one process, which imports vaelab and its plugins once."""
    whole = command_line_of("several_commands", folder)(json.dumps(lines))
    assert whole.returncode == 0, whole.stderr
    results = [
        subprocess.CompletedProcess(line, result["status"], result["stdout"], result["stderr"])
        for line, result in zip(lines, json.loads(whole.stdout), strict=True)
    ]
    assert not any("Traceback" in each.stderr for each in results)
    assert not [each.returncode for each in results if isinstance(each.returncode, str)]  # no exception
    return results
