"""The run that tests of evaluations share, and how to read an evaluation."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness import TINY, UNDRAWN, command_line_of, once, run_folder
from vaelab.config.evaluate import ON_REQUEST
from vaelab.evaluation.numbers import Basis, Number
from vaelab.evaluation.sections import section_names

SECTIONS = [name for name in section_names() if name not in ON_REQUEST]


ROUGH_NLL = ("importance_samples=5", "nll_images=40")
"""Overrides for an evaluation that spends little on the NLL."""


def only(*names: str, figures: bool = False) -> list[str]:
    """Settings that switch all other sections off, and the figures unless these are wanted."""
    others = (f"metrics.{name}=false" for name in SECTIONS if name not in names)
    return [f"figures={str(figures).lower()}", *others]


def run_of_three_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs whose best.safetensors is not its last.safetensors."""
    command = (*TINY, *UNDRAWN, "epochs=3", "optimizer.lr=0.02", "artifacts.checkpoint_every=1")

    def make(folder: Path) -> None:
        run_folder(command_line_of("vaelab.train", folder)(*command, "hydra.run.dir=run"))

    return once(tmp_path_factory, "trained", make)[0] / "run"


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def assert_refused(result: subprocess.CompletedProcess[str], message: str) -> None:
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == f"vaelab: {message}\n"


def number(value: float, error: float = 2.0, images: int = 1000) -> Number:
    return Number(value, "a unit", Basis("test", images, 7), error)
