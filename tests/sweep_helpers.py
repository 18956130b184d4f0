"""The grid that tests of sweeps share, and how to read what a sweep leaves."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import pytest

from harness import TABLE_ONLY, TINY, command_line_of, once

QUICK = (
    *TINY, "epochs=2", "model.hidden=[32]", "artifacts.every=0", "artifacts.figures=false", "artifacts.gif_every_batches=4",
)  # fmt: skip
"""A short training with an animation, for a comparison that shows it."""


GRID = ("beta=0.1,0.5,1", "kl=true,false")


JOBS = ["0_beta-0.1_kl-true", "1_beta-0.1_kl-false", "2_beta-0.5_kl-true", "4_beta-1_kl-true"]


UNDRAWN_SWEEP = (*QUICK, "artifacts.gif=false", *TABLE_ONLY)
"""A sweep that is compared by its table alone."""


COMPARISON_FIGURES = {
    "curves.png", "frozen_latents.png", "latent_evolution.gif", "latent_holes.png", "latent_spaces.png",
    "rate_distortion.png", "reconstructions.png", "samples.png",
}  # fmt: skip


def table(folder: Path) -> list[dict[str, str]]:
    """comparison.csv without what measures time."""
    with (folder / "comparison" / "comparison.csv").open() as file:
        return [{key: row[key] for key in row if "seconds" not in key} for row in csv.DictReader(file)]


def last_row(run: Path) -> dict[str, str]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))[-1]


def jobs(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and path.name not in ("comparison", ".trainings")
    )


def swept_grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    def make(folder: Path) -> subprocess.CompletedProcess[str]:
        return command_line_of("vaelab.train", folder)("-m", *QUICK, *GRID, "hydra.sweep.dir=sweep")

    folder, result = once(tmp_path_factory, "swept", make)
    return folder / "sweep", result
