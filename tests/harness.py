"""What tests use: the command line in a subprocess, settings composed as Hydra does it, checkpoints with other content."""

from __future__ import annotations

import atexit
import copy
import json
import os
import pickle
import select
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

# One thread per process: tests run in parallel, and more threads than cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that wait sleep, so that they leave their core to other tests.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


import numpy as np
import pytest
import torch
from filelock import FileLock

from vaelab.cli.compose import composing, plain
from vaelab.config import Config, resolve
from vaelab.data.splits import Data
from vaelab.training import checkpoint
from vaelab.training.state import TrainingState

REPOSITORY = Path(__file__).parents[1]

TINY = (
    "dataset.source=embedded",
    "dataset.classes=[trouser,sneaker]",
    "dataset.val_size=7500",
    "batch_size=64",
    "artifacts.report=false",
    "artifacts.mp4=false",
)
"""Overrides for real images of two classes, about 500 for training: 8 or 9 steps per epoch."""

UNDRAWN = ("artifacts.every=0", "artifacts.figures=false", "artifacts.gif=false")
"""Overrides for a run without figures and animations."""

ONE_EPOCH = (*TINY, *UNDRAWN, "epochs=1")
"""Overrides for the shortest run whose numbers are real."""

TABLE_ONLY = ("hydra.callbacks.compare.figures=false", "hydra.callbacks.compare.evaluate=false")
"""Overrides for a sweep whose comparison evaluates and draws nothing."""

CACHE = tempfile.TemporaryDirectory(prefix="vaelab-cache-")
"""Cache folder of this session: results that depend on images alone are computed once, then deleted."""
atexit.register(CACHE.cleanup)
os.environ["SQLALCHEMY_SILENCE_UBER_WARNING"] = "1"  # Optuna 2 uses SQLAlchemy 1.4, which warns about 2.0

UNREACHABLE = "http://127.0.0.1:9"
"""A mirror that refuses every connection at once."""


def settings(*overrides: str) -> Config:
    """The settings of a command line, composed in this process."""
    return composed(overrides).model_copy(deep=True)


@cache
def composed(overrides: tuple[str, ...]) -> Config:
    """Cached, because composing settings takes longer than the rest of many tests."""
    with composing("train") as compose:
        return resolve(plain(compose(list(overrides))), Config)


def environment(**more: str | None) -> dict[str, str]:
    """A subprocess's environment: no network, no data of this machine, warnings are errors.

    None takes a variable away.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("VAELAB", "HYDRA"))}
    # PyTorch 2.6 leaves a temporary folder to the end of the interpreter.
    strict = "error,ignore:Implicitly cleaning up:ResourceWarning"
    whole = kept | {"VAELAB_MIRROR": UNREACHABLE, "PYTHONWARNINGS": strict, "COLUMNS": "120"}
    whole |= {"XDG_CACHE_HOME": CACHE.name, **more}
    return {key: value for key, value in whole.items() if value is not None}


CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]


def command_line_of(module: str, tmp_path: Path) -> CommandLine:
    """`python -m module …`, in a folder that has no data. `going_wrong`: further fields of the job, see warm.py."""

    def run(
        *arguments: str, cwd: Path = tmp_path, going_wrong: Mapping[str, Any] | None = None, **env: str | None
    ) -> subprocess.CompletedProcess[str]:
        whole = environment(VAELAB_DATA=str(tmp_path / "no-data"), **env)
        if going_wrong is not None:
            return warm().run(module, arguments, cwd, whole, going_wrong)
        if (
            not env.keys() - {"PYTHONIOENCODING"}
            and hasattr(os, "fork")
            and not any(word in COLD for each in arguments for word in each.split("="))
        ):
            return warm().run(module, arguments, cwd, whole)
        return subprocess.run(
            [sys.executable, "-m", module, *arguments], cwd=cwd, env=whole, capture_output=True, text=True,
            timeout=240,
        )  # fmt: skip

    return run


COLD = ("hydra/launcher", "hydra/sweeper")
"""Command lines with these get a process of their own: they start processes."""


class Warm:
    """A process of tests/warm.py: see there."""

    def __init__(self, *within: str) -> None:
        """`within` is a command that runs the rest of its line, in another namespace, say."""
        self.process = subprocess.Popen(
            [*within, sys.executable, str(Path(__file__).with_name("warm.py"))], env=environment(),
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        if self.read() != "warm":
            raise OSError(f"{within} does not run here")

    def read(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 240)
        if not ready:
            self.process.kill()
            warm.cache_clear()
            raise TimeoutError("a command line took more than 240 s")
        return self.process.stdout.readline().strip()

    def run(
        self,
        module: str,
        arguments: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        going_wrong: Mapping[str, Any] = MappingProxyType({}),
    ) -> subprocess.CompletedProcess[str]:
        assert self.process.stdin is not None
        with tempfile.TemporaryDirectory() as folder:
            stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
            job = {
                "module": module, "arguments": arguments, "cwd": str(cwd), "env": dict(env), "stdout": str(stdout),
                "stderr": str(stderr), "plugins": any(cwd.glob("*.dist-info")), **going_wrong,
            }  # fmt: skip
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            status = int(self.read())
            texts = [path.read_text() if path.exists() else "" for path in (stdout, stderr)]
        return subprocess.CompletedProcess([module, *arguments], status, *texts)

    def end(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process.wait()


@cache
def warm() -> Warm:
    """One for each of pytest's workers."""
    return Warm()


class SmallDisk:
    """A disk in memory, of its own for the command lines that run on it."""

    def __init__(self, where: Path, megabytes: int) -> None:
        where.mkdir()
        self.where = where
        mount = 'mount -t tmpfs -o size="$0"m tmpfs "$1" && echo mounted && exec cat'
        self.holder = subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(megabytes), str(where)],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.holder.stdout is not None
        mounted = self.holder.stdout.readline()
        self.within = [
            "nsenter",
            "--user",
            "--mount",
            "--preserve-credentials",
            f"--target={self.holder.pid}",
        ]
        if not mounted:
            self.end()
            raise OSError("unshare and mount do not run here")

    @cached_property
    def warm(self) -> Warm:
        """Not every test of a disk runs command lines on it."""
        return Warm(*self.within)

    def end(self) -> None:
        if "warm" in vars(self):
            self.warm.end()
        self.holder.communicate()

    @property
    def seen(self) -> Path:
        """The disk, seen from outside."""
        return Path(f"/proc/{self.holder.pid}/root{self.where}")

    def train(self, *arguments: str, **going_wrong: Any) -> subprocess.CompletedProcess[str]:
        env = environment(
            VAELAB_DATA=str(self.where / "no-data"),
            VAELAB_MIRROR=os.environ.get("VAELAB_MIRROR", UNREACHABLE),
        )
        return self.warm.run("vaelab.train", arguments, self.where, env, going_wrong)

    def remount(self, options: str) -> None:
        subprocess.run([*self.within, "mount", "-o", f"remount,{options}", str(self.where)], check=True)


Made = TypeVar("Made")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> tuple[Path, Made]:
    """A folder that is made once for all of pytest's workers, and the return value of `make`."""
    shared = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder, done = shared / name, shared / f"{name}.pickle"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            folder.mkdir()
            done.write_bytes(pickle.dumps(make(folder)))
    return folder, pickle.loads(done.read_bytes())


def run_folder(result: subprocess.CompletedProcess[str]) -> Path:
    """The folder that a successful run has printed."""
    assert result.returncode == 0, result.stderr
    first = result.stdout.splitlines()[0]
    assert first.startswith("Run folder: ")
    return Path(first.removeprefix("Run folder: "))


def run_json(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return facts


def status(folder: Path) -> str:
    return str(run_json(folder)["status"])


def rewrite(path: Path, change: Callable[[dict[str, Any]], object], to: Path | None = None) -> None:
    """A checkpoint with other content, as vaelab would have written it; in its place, or `to` another."""
    content = copy.deepcopy(dict(checkpoint.load(path)))
    content["data"] = content["data"].model_dump()
    change(content)
    (to or path).write_bytes(encoded(checkpoint.Checkpoint.model_construct(**content)))


def encoded(content: checkpoint.Checkpoint) -> bytes:
    """A checkpoint's file, whatever pydantic thinks of its content."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return checkpoint.encode(content)


def fresh(config: Config, data: Data) -> TrainingState:
    return TrainingState.fresh(config, data, torch.device("cpu"))


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def idx(values: np.ndarray) -> bytes:
    """An array of bytes as an IDX file."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return header + values.astype(np.uint8).tobytes()
