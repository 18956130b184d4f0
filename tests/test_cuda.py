"""The CUDA path: what a machine without CUDA can check of it, and the rest where there is one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import TINY, CommandLine, fresh, run_folder, settings
from test_command_line import assert_same_run
from test_training import assert_same, without_times
from vaelab.data import splits
from vaelab.data.splits import Data
from vaelab.models import names
from vaelab.training import cuda_graph
from vaelab.training.cuda_graph import WARM_UP, CapturedStep
from vaelab.training.loop import Loop, TrainingState, fit

has_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CASES = [
    ("model=mlp",),
    ("model=conv", "loss.kl_warmup_epochs=2"),
    ("model=mlp", "dataset.binarize=dynamic", "loss.likelihood=gaussian"),
    ("model=mlp", "loss.free_bits=0.1", "loss.likelihood=continuous_bernoulli"),
]


def dynamic(data: Data, overrides: tuple[str, ...]) -> Data:
    if "dataset.binarize=dynamic" not in overrides:
        return data
    return replace(
        data, train=replace(data.train, dynamic=True), held_out=replace(data.held_out, dynamic=True)
    )


class Uncaptured:
    """Calls the step as a graph would, with nothing but tensors to tell it which batch is next."""

    def __init__(self, step: Callable[[], None], noise: object) -> None:
        self.step = step

    def __call__(self) -> None:
        self.step()


@pytest.mark.parametrize("overrides", CASES)
def test_the_step_that_a_graph_holds_is_the_step(
    overrides: tuple[str, ...], data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, data = settings(*TINY, *overrides, "epochs=3", "batch_size=50"), dynamic(data, overrides)
    assert len(data.train) % 50, "the last batch is not a full one"
    eager, by_number = fresh(asked, data), fresh(asked, data)
    list(fit(eager, data, asked))
    monkeypatch.setattr("vaelab.training.loop.CapturedStep", Uncaptured)
    monkeypatch.setattr(Loop, "captures_on", "cpu")
    list(fit(by_number, data, asked))
    assert_same(eager, by_number)


def test_the_graph_goes_on_in_the_middle_of_an_epoch(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = settings(*TINY, "epochs=2")
    undisturbed, state = fresh(asked, data), fresh(asked, data)
    list(fit(undisturbed, data, asked))
    monkeypatch.setattr("vaelab.training.loop.CapturedStep", Uncaptured)
    monkeypatch.setattr(Loop, "captures_on", "cpu")

    def stop(now: TrainingState) -> None:
        if (now.epoch, now.step) == (1, 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(fit(state, data, asked, stop))
    list(fit(state, data, asked))
    assert_same(undisturbed, state)


# --- a stand-in for torch.cuda ----------------------------------------------------------------------------


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of CUDA, in a world where it exists; nothing runs while a graph is captured."""
    said: list[str] = []

    class Graph:
        def register_generator_state(self, generator: torch.Generator) -> None:
            said.append("generator")

        def replay(self) -> None:
            said.append("replay")

    @contextlib.contextmanager
    def capture(graph: Graph, stream: object) -> Iterator[None]:
        said.append("capture")
        try:
            yield
        finally:
            said.append("end")

    stream = SimpleNamespace(wait_stream=lambda other: None)
    world = SimpleNamespace(
        Stream=lambda: stream, CUDAGraph=Graph, graph=capture, current_stream=lambda: stream,
        stream=lambda stream: contextlib.nullcontext(), set_stream=lambda stream: said.append("stream"),
    )  # fmt: skip
    monkeypatch.setattr(cuda_graph.torch, "cuda", world)
    return said


def test_a_step_is_recorded_once_after_some_real_ones(said: list[str]) -> None:
    step = CapturedStep(
        lambda: said.append("step"), {"latent": torch.Generator(), "pixels": torch.Generator()}
    )
    for _ in range(WARM_UP + 2):
        step()
    assert said == ["step"] * WARM_UP + [
        "generator",
        "generator",
        "capture",
        "step",
        "end",
        "replay",
        "replay",
    ]


def test_a_step_that_no_graph_can_hold_runs_as_it_is(
    said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def step() -> None:
        if said[-1:] == ["capture"]:
            raise RuntimeError("operation not permitted when stream is capturing")
        said.append("step")

    noise = {"latent": torch.Generator().manual_seed(1)}
    captured = CapturedStep(step, noise)
    before = noise["latent"]
    for _ in range(WARM_UP + 2):
        captured()
    assert said == ["step"] * WARM_UP + ["generator", "capture", "end", "stream"] + ["step"] * 2
    assert noise["latent"] is not before, "the old one may still believe in the capture"
    assert torch.equal(noise["latent"].get_state(), before.get_state())
    assert "Training step by step, because no CUDA graph can be made: operation not permitted" in caplog.text


# --- where there is CUDA ----------------------------------------------------------------------------------


@has_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("overrides", CASES)
def test_graph_and_eager_give_the_same_numbers(
    overrides: tuple[str, ...], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(*TINY, *overrides, f"precision={precision}", "epochs=3", "device=cuda")
    device = torch.device("cuda")
    data = splits.load(asked.dataset, device)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    made: list[CapturedStep] = []

    class Noted(CapturedStep):
        def __init__(self, step: Callable[[], None], noise: dict[str, torch.Generator]) -> None:
            super().__init__(step, noise)
            made.append(self)

    monkeypatch.setattr("vaelab.training.loop.CapturedStep", Noted)
    rows = []
    for captures_on in ("cuda", "nowhere"):
        monkeypatch.setattr(Loop, "captures_on", captures_on)
        rows.append(without_times(list(fit(TrainingState.fresh(asked, data, device), data, asked))))
    assert made
    assert all(step.graph is not None for step in made)
    for graph, eager in zip(*rows, strict=True):
        assert graph == pytest.approx(eager, rel=1e-3)


@has_cuda
def test_cuda_learns_what_the_cpu_learns(data: Data) -> None:
    asked = settings(*TINY, "epochs=3")
    device = torch.device("cuda")
    there = splits.load(asked.dataset, device)
    *_, on_cuda = fit(TrainingState.fresh(asked, there, device), there, asked)
    *_, on_cpu = fit(fresh(asked, data), data, asked)
    assert on_cuda["val/neg_elbo"] == pytest.approx(
        on_cpu["val/neg_elbo"],
        rel=0.15,  # another shuffle and other noise: that much on so few images
    )


@has_cuda
@pytest.mark.parametrize("model", names())
def test_deterministic_repeats_every_bit(train: CommandLine, tmp_path: Path, model: str) -> None:
    line = (*TINY, f"model={model}", "epochs=2", "device=cuda", "deterministic=true", "artifacts.every=0")
    first, second = (tmp_path / run_folder(train(*line, f"hydra.run.dir={name}")) for name in ("a", "b"))
    assert_same_run(first, second)
