"""The Python API, in a process of its own: what a notebook does, and what it leaves as it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import vaelab
from harness import ONE_EPOCH, TABLE_ONLY, TINY, UNDRAWN, command_line_of, environment, run_json
from vaelab.cli import api

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
settings = sys.argv[1:]
run = vaelab.train("model=mlp", *settings, epochs=1, beta=0.5, **{"hydra.run.dir": "run"})
images = vaelab.sample(run, count=4, seed=1)
vaelab.evaluate(run, "metrics.samples=false", figures=False, nll_images=10, importance_samples=2)
loaded = vaelab.load(run.checkpoint.parents[1])
refused = []
for call in (
    lambda: vaelab.train(epochs=numpy.int64(0)),
    lambda: vaelab.train(beta="???"),
    lambda: vaelab.evaluate(run, **{"metrics.bound": 2}),
    lambda: vaelab.sample(run, count=0),
    lambda: vaelab.train("--cfg", "job"),
):
    try:
        call()
    except vaelab.VaelabError as error:
        refused.append(str(error).split()[0])
print(json.dumps({
    "beta": run.config.beta,
    "images": list(images.shape),
    "same": torch.equal(loaded.sample(4, seed=1), images),
    "evaluated": (run.checkpoint.parents[1] / "evaluation" / "best" / "metrics.json").is_file(),
    "refused": refused,
    "names": {"train", "sweep", "evaluate", "compare", "explore", "sample", "load", "Run"} <= set(dir(vaelab)),
    "untouched": state() == before,
    "shown": repr(loaded),
}))
"""


def test_python_functions_do_what_commands_do_and_leave_the_process_as_it_was(tmp_path: Path) -> None:
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", SCRIPT, *TINY, *UNDRAWN],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert result.returncode == 0
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "beta": 0.5,
        "images": [4, 1, 28, 28],
        "same": True,
        "evaluated": True,
        "refused": ["epochs", "beta", "metrics.bound", "count", "Python"],
        "names": True,
        "untouched": True,
        "shown": "<Run: mlp, fashion_mnist, beta 0.5, epoch 1, run/checkpoints/best.safetensors>",
    }


@pytest.mark.parametrize(
    "line", [["experiment=kl_ablation"], ["hydra.mode=MULTIRUN"], ["--multirun", "beta=1"], ["beta=0.5,1"]]
)
def test_a_sweep_is_not_taken_for_one_run(line: list[str]) -> None:
    with pytest.raises(vaelab.VaelabError) as error:
        api.train(*line)
    assert str(error.value) == (
        "These settings make a sweep, and vaelab.train makes one run: call vaelab.sweep with them."
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beta": [1, 2]}, "beta must be "),
        ({"beta": range(1, 3)}, "beta must be "),
        ({"beta": "0.1,0.5"}, "beta must be "),
        ({"model": ("mlp", "conv"), "model.latent_dim": 2}, "'model=[mlp,conv]' can't be read: type a name"),
    ],
)
def test_a_keyword_of_several_values_is_not_taken_for_one_run(settings: dict[str, object], said: str) -> None:
    with pytest.raises(vaelab.VaelabError) as error:
        api.train("dataset.source=embedded", epochs=1, **{"dataset.classes": ["trouser", "bag"]}, **settings)
    assert str(error.value).startswith(said)
    assert str(error.value).endswith("call vaelab.sweep.")
    with pytest.raises(vaelab.VaelabError) as error:
        api.train(beta=-1, **{"dataset.classes": ["trouser", "bag"]})
    assert "vaelab.sweep" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: api.evaluate("run", "split=val,test"),
            "split=val,test has several values: call vaelab.evaluate",
        ),
        (lambda: api.sample("run", 16), "16 lacks the name of its setting: type NAME=16."),
    ],
)
def test_what_no_function_takes_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(vaelab.VaelabError) as error:
        call()
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("beta", [0.1, 0.5], "beta=0.1,0.5"),
        ("beta", "0.1,0.5,1", "beta=0.1,0.5,1"),
        ("seed", range(1, 4), "seed=1,2,3"),
        ("seed", "range(1,4)", "seed=range(1,4)"),
        ("model.hidden", [[400], [200, 100]], "model.hidden=[400],[200,100]"),
        ("model.hidden", "[400],[200,100]", "model.hidden=[400],[200,100]"),
        ("dataset.root", Path("a,b"), "dataset.root='a,b'"),
        ("dataset.root", ["a,b", "c"], "dataset.root='a,b',c"),
        ("hydra.sweep.dir", "a,b", "hydra.sweep.dir='a,b'"),
        ("dataset.root", "a{b,c", "dataset.root='a{b,c'"),
    ],
)
def test_a_sweep_by_keyword_is_that_of_the_command_line(key: str, value: object, line: str) -> None:
    assert api.several_values(key, value) == line


def test_a_sweep_has_the_folders_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same names, files and settings, and the same training once."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    quick = [*ONE_EPOCH, *TABLE_ONLY]
    typed = command_line_of("vaelab.train", tmp_path)(
        "-m", *quick, "kl=true,false", "beta=0.5,1", "hydra.sweep.dir=typed"
    )
    assert typed.returncode == 0
    called = api.sweep(*quick, kl="true,false", beta=[0.5, 1], **{"hydra.sweep.dir": "called"})
    assert (called.folder, called.interrupted) == (Path("called"), False)
    files = [
        sorted(
            str(path.relative_to(folder))
            for path in Path(folder).rglob("*")
            if not path.name.endswith(".lock")
        )
        for folder in ("typed", "called")
    ]
    assert files[0] == files[1]
    configs = [Path(folder, "1_beta-1_kl-true", "config.yaml").read_text() for folder in ("typed", "called")]
    assert configs[0] == configs[1]
    facts = run_json(Path("called", "1_beta-1_kl-true"))
    assert facts["command"].startswith("python -m vaelab.train --multirun dataset.source=embedded")
    assert [run.config.objective_label for run in called.runs] == ["beta 0.5", "beta 1", "KL off"]
    assert called.comparison is not None
    table = called.comparison.table
    assert [row["model"] for row in table] == ["KL off", "beta 0.5", "beta 1"]
    assert table[2]["val/kl"] == called.runs[1].metrics[-1]["val/kl"]
    shown = table._repr_html_()
    for row in table:
        cell = f"{row['val/kl']:.2f}"
        assert (f" {cell} " in called.comparison.text, f">{cell}<" in shown) == (True, True)
    assert repr(called) == "<Sweep: 3 finished runs, called>"
    assert "<td>one seed each: not tested</td>" in called._repr_html_()
    again = api.compare(called, figures=False, evaluate=False)
    assert again.table == table
    assert repr(again) == "<Comparison: 3 runs, called/comparison>"

    def interrupted(*_: object) -> None:
        raise SystemExit(128 + signal.SIGINT)

    def failing(*_: object) -> SimpleNamespace:
        return SimpleNamespace(failed=["the evaluation of a"])

    monkeypatch.setattr("vaelab.comparison.compare.compare", interrupted)
    stopped = api.sweep(*quick, kl="true,false", beta=[0.5, 1], **{"hydra.sweep.dir": "called"})
    assert (stopped.interrupted, stopped.comparison, len(stopped.runs)) == (True, None, 3)
    monkeypatch.setattr("vaelab.comparison.compare.compare", failing)
    with pytest.raises(vaelab.VaelabError) as error:
        api.sweep(*quick, kl="true,false", beta=[0.5, 1], **{"hydra.sweep.dir": "called"})
    assert str(error.value) == "These steps of the comparison failed: the evaluation of a."


@pytest.mark.parametrize(
    ("overrides", "settings", "remedy"),
    [
        (["beta=-1,1"], {}, "beta must be "),
        ([], {"beta": (0.5, -1)}, "beta must be "),
        ([], {"beta": []}, "beta must be "),
        (["seed=1,2", "--version"], {}, "leave out --version"),
        (["seed=1,2", "hydra/launcher=parallel"], {}, "in Python leave it out"),
    ],
)
def test_a_sweep_is_refused_before_it_starts(
    overrides: list[str],
    settings: dict[str, object],
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(vaelab.VaelabError) as error:
        api.sweep("dataset.source=embedded", *overrides, **settings)
    assert remedy in str(error.value)
    assert not [*tmp_path.iterdir()]
