"""What surrounds a command: the interpreter, which stays as it was, closed streams, backends, the home directory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import ONE_EPOCH, TABLE_ONLY, command_line_of, environment, once, status
from interpreter_state import kept, main
from vaelab.cli import api
from vaelab.cli.arguments import prepare
from vaelab.cli.compose import composing, settings_of
from vaelab.cli.plan import planned
from vaelab.config import SCHEMAS, Config, VaelabError, look_up
from vaelab.runs.folder import RunFolder, RunFolderError
from vaelab.training.run import Run, load


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory, beside the working directory."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    for name, value in environment(HOME=str(tmp_path / "home"), VAELAB_DATA=str(tmp_path / "none")).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    def make(folder: Path) -> None:
        api.train(*ONE_EPOCH, f"hydra.run.dir={folder / 'run'}")

    return load(once(tmp_path_factory, "interpreter", make)[0] / "run")


# --- the interpreter --------------------------------------------------------------------------------------


def plots(run: Run) -> list[Callable[[], Any]]:
    """Every figure of `run.plot`."""
    names = [
        name for name, each in vars(type(run.plot)).items() if callable(each) and not name.startswith("_")
    ]
    assert {"latent", "loss", "manifold", "reconstructions", "samples"} <= {*names}
    return [getattr(run.plot, name) for name in names]


def refused() -> None:
    with pytest.raises(VaelabError, match="beta must be"):
        api.train(beta=-1)


async def awaited(*functions: Callable[[], object]) -> None:
    for function in functions:
        function()
        await asyncio.to_thread(function)


def in_an_event_loop(*functions: Callable[[], object]) -> None:
    """In a thread, because tests with a browser may have left a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(awaited(*functions))).result()


CALLS: dict[str, Callable[[Run], object]] = {
    "train": lambda run: api.train(
        *ONE_EPOCH, "logger=tensorboard", "artifacts.figures=true", "artifacts.gif=true", "artifacts.report=true"
    ),
    "train conv": lambda run: api.train(*ONE_EPOCH, "model=conv", precision="bf16", deterministic=True),
    "train with a wrong value": lambda run: refused(),
    "in an event loop": lambda run: in_an_event_loop(refused, lambda: api.sample(run, count=2)),
    "evaluate": lambda run: api.evaluate(run, nll_images=4, importance_samples=2),
    "compare": lambda run: api.compare(run.checkpoint.parents[2], evaluate=False),
    "sweep": lambda run: api.sweep(*ONE_EPOCH, *TABLE_ONLY, seed=[1])._repr_html_(),
    "explore": lambda run: api.explore(run, images=10, output="page.html")._repr_html_(),
    "show": lambda run: [run._repr_html_(), run.metrics._repr_html_(), run.metrics.to_pandas()],
    "plot": lambda run: [draw()._repr_png_() for draw in plots(run)],
    "load, sample, encode, decode": lambda run: load(run.checkpoint).reconstruct(run.sample(2)),
    "vaelab.train": lambda run: main("train", *ONE_EPOCH, "hydra.run.dir=new"),
    "vaelab.train -m": lambda run: main("train", "-m", *ONE_EPOCH, *TABLE_ONLY, "seed=1"),
    "vaelab.sample": lambda run: main("sample", f"run={run.checkpoint}", "output=samples"),
    "vaelab.reconstruct": lambda run: main("reconstruct", f"run={run.checkpoint}", "output=reconstructions"),
    "vaelab.interpolate": lambda run: main("interpolate", f"run={run.checkpoint}", "from=0", "to=1", "output=x"),
    "vaelab.explore": lambda run: main("explore", f"run={run.checkpoint}", "images=10", "output=page.html"),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_the_interpreter_is_as_it_was(call: str, run: Run) -> None:
    with kept():
        CALLS[call](run)


def test_arrays_that_cannot_be_written_to_are_taken(run: Run) -> None:
    images, latents = run.sample(2).numpy(), np.zeros((2, 2))
    for array in (images, latents):
        array.flags.writeable = False
    assert run.encode(images).mean.shape == (2, 2)
    assert run.decode(latents).shape == run.reconstruct(images).shape == (2, 1, 28, 28)
    assert run.decode([0.0, 0.0]).shape == (1, 1, 28, 28)  # type: ignore[arg-type]


# --- streams and backends ---------------------------------------------------------------------------------


CLOSED = """
import os, runpy, sys
for number, name in enumerate(("stdin", "stdout", "stderr")):
    os.close(number)
    setattr(sys, name, None)  # as Python has it where it finds them closed
try:
    runpy.run_module("vaelab.train", run_name="__main__", alter_sys=True)
finally:
    assert sys.stdin is sys.stdout is sys.stderr is None
    sys.stdout = sys.stderr = open(os.devnull, "w")
"""


def test_closed_streams_are_the_null_device() -> None:
    Path("closed.py").write_text(CLOSED)
    result = command_line_of("closed", Path.cwd())(*ONE_EPOCH, "hydra.run.dir=0")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert status(Path("0")) == "finished"


@pytest.mark.slow
def test_a_closed_stream_is_the_null_device_of_joblibs_processes_too() -> None:
    sweep = (
        "-m",
        "seed=1",
        "hydra/launcher=parallel",
        "hydra.sweep.dir=.",
        "hydra.callbacks.compare.enabled=false",
    )
    line = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "vaelab.train", *ONE_EPOCH, *sweep]
    result = subprocess.run(line, capture_output=True, text=True, env=environment())
    assert result.returncode == 0
    assert (result.stdout[:14], result.stderr) == ("Run folder: 0\n", "")
    assert [status(path.parent) for path in Path().glob("*/run.json")] == ["finished"]


@pytest.mark.parametrize(("named", "kept"), [("nowhere", None), ("", None), ("svg", "svg")])
def test_no_figure_needs_a_backend(named: str, kept: str | None) -> None:
    script = "import os, vaelab.figures.style, matplotlib as mpl; print([os.environ['MPLBACKEND'], mpl.get_backend(auto_select=False)])"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(MPLBACKEND=named)
    )
    assert (result.stdout, result.stderr) == (f"{[named, kept]}\n", "")


# --- the home directory -----------------------------------------------------------------------------------

PATHS = {
    "train": ("resume", "dataset.root"), "evaluate": ("checkpoint", "output", "dataset.root"), "compare": ("sweep",),
    "explore": ("run", "output"), "export": ("run", "output"), "sample": ("run", "output"),
    "reconstruct": ("run", "output"), "interpolate": ("run", "output"),
}  # fmt: skip
NEEDED = {
    "evaluate": "checkpoint=x",
    "compare": "sweep=x",
    "explore": "run=x",
    "export": "run=x",
    "sample": "run=x",
    "reconstruct": "run=x",
    "interpolate": "run=x from=1 to=2",
}


@pytest.mark.parametrize(
    ("command", "key", "value"),
    [
        *((command, key, "~/x") for command, keys in PATHS.items() for key in keys),
        ("sample", "output", "'~/x'"),
        ("sample", "output", '"~/x"'),
    ],
)
def test_a_path_may_begin_at_home(command: str, key: str, value: str, home: Path) -> None:
    (home / "x").mkdir()
    line = [
        *(each for each in NEEDED.get(command, "").split() if not each.startswith(f"{key}=")),
        f"{key}={value}",
    ]
    with composing(command) as compose:
        composed = compose(prepare(line, command, SCHEMAS[command]).overrides)
    assert look_up(settings_of(composed, SCHEMAS[command]).to_dict(), key) == str(home / "x")


def test_runs_at_home_are_found(home: Path, run: Run) -> None:
    """Folders that Hydra makes, from the command line and from a yaml; a directory of one's own; the printed line."""
    (home / "conf" / "experiment").mkdir(parents=True)
    (home / "conf" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nhydra:\n  run:\n    dir: ~/${now:%Y}/run\n  sweep:\n    dir: ~/sweep\n"
    )
    mine = ("--config-dir=~/conf", "experiment=mine")
    main("train", *ONE_EPOCH, *mine)
    (made,) = home.glob("2*/run")
    assert api.train(f"resume=~/{made.relative_to(home)}", epochs=2).epoch == 2
    assert load(f"~/{made.relative_to(home)}").epoch == 2
    main("train", *ONE_EPOCH, "repeat=~/" + str(made.relative_to(home)), "hydra.run.dir='~/repeated'")
    for line in ((*mine, "seed=1,2"), ("seed=1,2", "hydra.sweep.dir=~/sweep")):
        sweep = planned(prepare(["-m", *ONE_EPOCH, *line], "train", Config))
        assert sweep is not None
        assert sweep.folder == home / "sweep"
    assert api.compare("~", figures=False, evaluate=False).folder == home / "comparison"
    assert not [*Path().iterdir()]
    main("train", *ONE_EPOCH, "hydra.run.dir='./~/run'")
    assert load(RunFolder("./~/run").path).epoch == 1
    with pytest.raises(RunFolderError):
        load("~/run")
