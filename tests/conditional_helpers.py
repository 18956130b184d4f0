"""The class-conditional run that tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import TINY, command_line_of, once, run_folder
from vaelab.models import VAE, build

SHAPE, CLASSES = (1, 28, 28), (1, 7, 9)


TRAIN = (*TINY, "model.conditional=true", "epochs=2", "artifacts.figures=false", "artifacts.gif=false")


def conditional(name: str) -> VAE:
    return build({"name": name, "conditional": True}, SHAPE, seed=0, classes=CLASSES).eval()


def conditional_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        run_folder(command_line_of("vaelab.train", folder)(*TRAIN, "artifacts.every=2", "hydra.run.dir=run"))

    return once(tmp_path_factory, "conditional", make)[0] / "run"
