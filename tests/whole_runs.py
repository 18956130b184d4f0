"""What tests of whole runs share."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from harness import TINY, UNDRAWN, command_line_of, environment, once, run_folder
from training_helpers import without_times
from vaelab.training import checkpoint

TRAINING_FIGURES = {
    "category_variations.png", "dataset_overview.png", "interpolations.png", "latent_evolution.gif",
    "latent_manifold.png", "latent_space.png", "latent_space_plain.png", "loss_curves.png",
}  # fmt: skip


def rows_without_times(folder: Path) -> list[dict[str, str]]:
    """metrics.csv but for the two columns that measure time."""
    with (folder / "metrics.csv").open() as file:
        return without_times([*csv.DictReader(file)])


def assert_same_run(left: Path, right: Path) -> None:
    """Bit for bit: the rows, the weights, the optimizer, and every image."""
    assert rows_without_times(left) == rows_without_times(right)
    for name in ("last.safetensors", "best.safetensors"):
        a, b = (checkpoint.load(folder / "checkpoints" / name) for folder in (left, right))
        assert (a.epoch, a.step) == (b.epoch, b.step)
        for part in ("model", "objective"):
            expected = getattr(b, part)
            assert all(torch.equal(value, expected[key]) for key, value in getattr(a, part).items())
        for index, state in a.optimizer.items():
            assert all(torch.equal(state[key], b.optimizer[index][key]) for key in state)
    images = sorted(path.relative_to(left) for path in left.rglob("*.[pg][ni][gf]"))
    assert images == sorted(path.relative_to(right) for path in right.rglob("*.[pg][ni][gf]"))
    for path in images:
        assert (left / path).read_bytes() == (right / path).read_bytes(), path


def start(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, start_new_session: bool = False
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vaelab.train", *arguments], cwd=folder, env=env or environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=start_new_session,
    )  # fmt: skip


def wait_for(folder: Path, name: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (folder / name).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        command = (*TINY, *UNDRAWN, "model=conv", "model.latent_dim=3", "epochs=1", "hydra.run.dir=run")
        run_folder(command_line_of("vaelab.train", folder)(*command))

    return once(tmp_path_factory, "from_checkpoint", make)[0] / "run"
