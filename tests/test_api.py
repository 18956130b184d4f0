"""The Python API, in a process of its own: what a notebook does, and what it leaves as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import vaelab
from conftest import TINY, environment

SCRIPT = """
import json, os, random, sys, warnings
import numpy
import torch

def state():
    "What importing libraries changes; scikit-learn's variables are for OpenMP, which reads them later."
    variables = {name: value for name, value in os.environ.items() if not name.startswith("KMP_")}
    return [*warnings.filters], variables, random.getstate()

before = state()
import vaelab
settings = [*sys.argv[1:], "artifacts.every=0", "artifacts.figures=false", "artifacts.gif=false"]
run = vaelab.train("model=mlp", *settings, epochs=1, beta=0.5, **{"hydra.run.dir": "run"})
images = vaelab.sample(run, count=4, seed=1)
vaelab.evaluate(run, figures=False, nll_images=10, importance_samples=2)
loaded = vaelab.load(run.checkpoint.parents[1])
try:
    vaelab.train(beta=-1)
except vaelab.VaelabError as error:
    message = str(error)
refused = []
for call in (
    lambda: vaelab.train(kl=2),
    lambda: vaelab.train(epochs=numpy.int64(0)),
    lambda: vaelab.train(beta="???"),
    lambda: vaelab.evaluate(run, **{"metrics.bound": 2}),
    lambda: vaelab.sample(run, count=0),
    lambda: vaelab.train("--cfg", "job"),
):
    try:
        call()
    except vaelab.VaelabError as error:
        refused.append(str(error))
print(json.dumps({
    "beta": run.config.beta,
    "images": list(images.shape),
    "same": torch.equal(loaded.sample(4, seed=1), images),
    "evaluated": (run.checkpoint.parents[1] / "evaluation" / "best" / "metrics.json").is_file(),
    "message": message,
    "refused": refused,
    "names": {"train", "evaluate", "compare", "sample", "load", "Run"} <= set(dir(vaelab)),
    "untouched": state() == before,
    "shown": repr(loaded),
}))
"""


def test_train_sample_evaluate_and_load(tmp_path: Path) -> None:
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", SCRIPT, *TINY],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert result.returncode == 0
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "beta": 0.5,
        "images": [4, 1, 28, 28],
        "same": True,
        "evaluated": True,
        "message": "beta must be a number of at least 0, got -1.0.",
        "refused": [
            "kl must be true or false, got 2.",
            "epochs must be a whole number from 1 to 1,000,000, got 0.",
            "beta has no value yet (it is ???): type beta=VALUE.",
            "metrics.bound must be true or false, got 2.",
            "count must be a whole number from 1 to 10,000, got 0.",
            "A function takes settings alone: leave --cfg=job out.",
        ],
        "names": True,
        "untouched": True,
        "shown": "<Run: mlp, fashion_mnist, beta 0.5, epoch 1, run/checkpoints/best.safetensors>",
    }


@pytest.mark.parametrize(
    "line", [["experiment=kl_ablation"], ["hydra.mode=MULTIRUN"], ["--multirun", "beta=1"]]
)
def test_a_sweep_is_not_taken_for_one_run(line: list[str]) -> None:
    with pytest.raises(vaelab.VaelabError) as error:
        vaelab.train(*line)
    typed = f"python -m vaelab.train {' '.join(line)}"
    assert str(error.value) == f"This is a sweep, and a function makes one run: type {typed}"
