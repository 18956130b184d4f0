"""The fixtures that test modules share."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from faults_helpers import SHORT, Undisturbed
from harness import (
    TINY,
    UNDRAWN,
    UNREACHABLE,
    CommandLine,
    SmallDisk,
    command_line_of,
    once,
    run_folder,
    settings,
    warm,
)
from vaelab.config import DatasetConfig
from vaelab.data import sources, splits
from vaelab.data.datasets import datasets, published
from vaelab.data.sources import find
from vaelab.data.splits import Data

if TYPE_CHECKING:
    from browsing import Looks, Watched


def pytest_collection_finish() -> None:
    """Exempt what is imported from garbage collection: a collection of it takes a third of a second."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    if warm.cache_info().currsize:
        warm().end()


@pytest.fixture(scope="session")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("unshare and nsenter are not here: Debian's package is util-linux")
    try:
        disk = SmallDisk(tmp_path_factory.mktemp("small") / "disk", megabytes=60)
    except OSError as error:
        pytest.skip(f"no disk of its own here: {error}")
    yield disk
    disk.end()


@pytest.fixture
def train(tmp_path: Path) -> CommandLine:
    """`train("model=conv", …)`: the command line in a folder of its own, which has no data either."""
    return command_line_of("vaelab.train", tmp_path)


@pytest.fixture
def evaluate(tmp_path: Path) -> CommandLine:
    """`evaluate("checkpoint=…", …)`, likewise."""
    return command_line_of("vaelab.evaluate", tmp_path)


@pytest.fixture(scope="session")
def data() -> Data:
    """The images of TINY."""
    return splits.load(settings(*TINY).dataset, torch.device("cpu"))


@pytest.fixture
def small_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full set's place taken by the embedded one, whose files are here: its digests count as the right ones."""
    embedded = find(DatasetConfig(source="embedded")).origin.sha256
    monkeypatch.setitem(
        datasets.registered, "fashion_mnist", replace(published()["fashion_mnist"], digests=embedded)
    )


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run whose checkpoints are of epochs 1, 2 (best.safetensors, last.safetensors) and 2."""

    def make(folder: Path) -> None:
        line = (
            *TINY,
            *UNDRAWN,
            "artifacts.checkpoint_every=1",
            "model.hidden=[4]",
            "epochs=2",
            "hydra.run.dir=run",
        )
        run_folder(command_line_of("vaelab.train", folder)(*line))

    folder, _ = once(tmp_path_factory, "trained-in-two-epochs", make)
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained`, of this module or the one above, in this test's own folder."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="session", params=["mlp", pytest.param("conv", marks=pytest.mark.slow)])
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    command = [*SHORT, f"model={request.param}", *(["model.hidden=[8]"] if request.param == "mlp" else [])]

    def make(folder: Path) -> tuple[int, float]:
        count = folder / "count"
        started = time.monotonic()
        result = command_line_of("vaelab.train", folder)(
            *command, "hydra.run.dir=run", going_wrong={"fault": {"count_into": str(count)}}
        )
        assert result.returncode == 0, result.stderr
        return int(count.read_text()), time.monotonic() - started

    folder, (changes, seconds) = once(tmp_path_factory, f"undisturbed-{request.param}", make)
    return folder / "run", command, changes, seconds


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be copied."""

    def make(folder: Path) -> None:
        train = command_line_of("vaelab.train", folder)
        run_folder(
            train(*TINY, "artifacts.every=0", "artifacts.figures=false", "epochs=2", "hydra.run.dir=run")
        )

    folder, _ = once(tmp_path_factory, "finished", make)
    return folder / "run"


# --- pages: see browsing.py, which needs more packages than most tests ------------------------------------


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep with reports, a comparison and explorers."""
    from browsing import make_pages

    return once(tmp_path_factory, "pages", make_pages)[0] / "sweep"


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep whose runs fall into four families."""
    from browsing import make_families

    return once(tmp_path_factory, "families", make_families)[0] / "sweep"


@pytest.fixture(scope="session")
def looks() -> Iterator[Looks]:
    from browsing import Looks, chromium

    with chromium() as browser:
        yield Looks(browser)


@pytest.fixture
def watched(looks: Looks, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A page that is watched, light unless a test asks for `dark` or `phone`."""
    with looks.opened(getattr(request, "param", "light")) as watched:
        yield watched


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data and no network but what a test brings."""
    monkeypatch.setenv("VAELAB_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("VAELAB_MIRROR", UNREACHABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "SYSTEM", tmp_path / "system")
