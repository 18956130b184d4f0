"""Full, read-only and vanished disks: one line, and the run continues when there is room."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from faults_helpers import (
    SHORT,
    Undisturbed,
    assert_equal_to,
    assert_every_file_opens,
)
from harness import TINY, UNDRAWN, CommandLine, SmallDisk, status


@pytest.fixture
def disk(mounted: SmallDisk) -> SmallDisk:
    """An empty disk of 60 MB."""
    for path in mounted.seen.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return mounted


FULL = [("checkpoints/.last.safetensors", 2)]


FULL_TOO = [
    ("/.metrics.csv", 2),
    ("checkpoints/.last.safetensors", 1), ("samples/.epoch_0002.png", 1), ("checkpoints/.best.safetensors", 2), ("frames/.step_", 3), ("/.run.json", 1), ("/.run.json", 3),
    ("/.latent_evolution.gif", 1), ("/.run.zip", 1), (".lock.json", 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "time"), [*FULL, *(pytest.param(*each, marks=pytest.mark.slow) for each in FULL_TOO)]
)
def test_a_full_disk_is_named_and_the_run_continues_when_there_is_room(
    disk: SmallDisk, tmp_path: Path, undisturbed: Undisturbed, file: str, time: int
) -> None:
    """No byte is left when a certain file is about to be written."""
    reference, command, _, _ = undisturbed
    fault = {"do": "fill", "opening": file, "time": time, "where": str(disk.where)}
    result = disk.train(*command, "hydra.run.dir=run", fault=fault)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert f"can't be written: the disk at {disk.where} (62.9 MB) is full. Free some space there." in last
    assert_every_file_opens(disk.seen)
    (disk.seen / "filler").unlink()
    if (disk.seen / "run" / "run.json").exists():
        assert last.endswith("To continue: python -m vaelab.train resume=run")
        assert status(disk.seen / "run") in ("failed", "running")
        result = disk.train("resume=run")
    else:
        assert last.endswith("Nothing of this run was saved.") or file == ".lock.json"
        result = disk.train(*command, "hydra.run.dir=run")
    assert result.returncode == 0, result.stderr
    run = Path(shutil.copytree(disk.seen / "run", tmp_path / "run"))
    shutil.copy(disk.seen / "run.zip", tmp_path)
    assert_equal_to(reference, run)


def test_a_disk_that_tensorboard_finds_full_is_named(disk: SmallDisk) -> None:
    fault = {"do": "fill", "opening": "tfevents", "time": 1, "where": str(disk.where)}
    result = disk.train(*SHORT, "model.hidden=[8]", "logger=tensorboard", "hydra.run.dir=run", fault=fault)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert re.search(r"run/\S+ can't be written: .* is full\. .* vaelab\.train resume=run$", last), last


def test_a_read_only_disk_is_named(disk: SmallDisk) -> None:
    disk.remount("ro")
    small = (*TINY, *UNDRAWN, "model.hidden=[4]", "hydra.run.dir=run")
    result = disk.train(*small)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1), result.stderr
    assert "read-only" in result.stderr.lower()
    disk.remount("rw")
    assert disk.train(*small, "epochs=1").returncode == 0
    disk.remount("ro")
    result = disk.train("resume=run", "epochs=2")
    disk.remount("rw")
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1
    assert line.startswith(f"vaelab: run can't be written: the disk at {disk.where} is read-only.")


@pytest.mark.parametrize(
    "file", ["/.metrics.csv", pytest.param("checkpoints/.last.safetensors", marks=pytest.mark.slow)]
)
def test_a_run_folder_that_is_deleted_while_training_is_not_recreated(
    train: CommandLine, tmp_path: Path, file: str
) -> None:
    fault = {
        "do": "delete",
        "opening": file,
        "time": 2 if "last" in file else 1,
        "where": str(tmp_path / "run"),
    }
    result = train(*SHORT, "model.hidden=[8]", "hydra.run.dir=run", going_wrong={"fault": fault})
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert " was deleted or moved." in result.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()
