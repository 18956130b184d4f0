"""What tests of faults share: a run that nothing disturbed, and how to compare with it."""

from __future__ import annotations

import csv
import json
import signal
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from harness import TINY, CommandLine, status
from vaelab.config import quote_override
from vaelab.training import checkpoint
from whole_runs import assert_same_run

SHORT = (
    *TINY, "artifacts.zip=true", "artifacts.checkpoint_every=1", "artifacts.gif_every_batches=5", "artifacts.figures=false",
    "epochs=2", "batch_size=32",
)  # fmt: skip
"""A short run with images, animation, checkpoints and zip."""


KILLED = -signal.SIGKILL


Undisturbed = tuple[Path, list[str], int, float]
"""A run that nothing disturbs, its command, its changes to files, and the seconds that it took."""


def opens(path: Path) -> None:
    """Read a file to its end, by what it is."""
    if path.suffix == ".safetensors":
        checkpoint.load(path)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".csv":
        with path.open(newline="") as file:
            assert len({len(row) for row in csv.reader(file)}) == 1
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            assert dict(arrays)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    elif path.suffix in (".png", ".gif"):
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                frame.load()
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")
    else:
        path.read_bytes()


def assert_every_file_opens(folder: Path) -> None:
    """But for what is hidden: those are a killed process's leftovers, and a lock."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            opens(path)


def packed(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return sorted(name.partition("/")[2] for name in archive.namelist())


def assert_equal_to(undisturbed: Path, run: Path) -> None:
    """Bit for bit in weights, rows and images; all the rest is there too, and nothing else."""
    assert status(run) == "finished"
    assert_same_run(undisturbed, run)
    # Of a process that was killed in its very last moment, the lock's files are left, unlocked.
    files = [
        sorted(str(path.relative_to(each)) for path in each.rglob("*") if not path.name.startswith(".lock"))
        for each in (undisturbed, run)
    ]
    assert files[0] == files[1]
    assert packed(undisturbed.with_suffix(".zip")) == packed(run.with_suffix(".zip"))
    assert [path.name for path in run.parent.iterdir() if path.name.startswith(f".{run.name}")] == []
    assert_every_file_opens(run)


def continue_run(train: CommandLine, run: Path, command: Sequence[str], **going_wrong: Any) -> int:
    """Start the command, or resume its run once there is one; its exit status."""
    resume, begin = quote_override("resume", run.name), [*command, quote_override("hydra.run.dir", run.name)]
    line = [resume] if (run / "run.json").exists() else begin
    result = train(*line, going_wrong=going_wrong)
    assert result.returncode in (0, KILLED), result.stderr
    return result.returncode
