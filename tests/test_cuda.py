"""The CUDA path: what a machine without CUDA can check of it, and the rest where there is one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harness import TINY, CommandLine, fresh, run_folder, settings
from training_helpers import SMALL, assert_same, few, without_times
from vaelab.config import ConfigError, EvaluationConfig
from vaelab.data import splits
from vaelab.data.splits import Data
from vaelab.evaluation.evaluate import load_data
from vaelab.models import models
from vaelab.runs.environment import pick_device
from vaelab.training.cuda_graph import WARM_UP, CapturedStep
from vaelab.training.loop import fit
from vaelab.training.state import TrainingState
from vaelab.training.train_step import EagerStep
from whole_runs import assert_same_run

has_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CASES = [
    ("model=mlp",),
    ("model=conv", "loss.warmup_epochs=2"),
    ("model=resnet", "loss.likelihood=gaussian"),
    ("model=mlp", "dataset.binarize=dynamic"),
    ("model=mlp", "loss.likelihood=gaussian"),
    ("model=mlp", "loss.free_bits=0.1", "loss.likelihood=continuous_bernoulli"),
    ("model=mlp", "loss.schedule=cyclical", "loss.cycles=2"),
    ("model=mlp", "loss=capacity"),
    ("model=mlp", "loss=geco"),
    ("model=mlp", "loss=beta_tcvae"),
    ("model=mlp", "loss=mmd_vae"),
    ("model=mlp", "loss=iwae", "loss.objective.dreg=true"),
]


def dynamic(data: Data, overrides: tuple[str, ...]) -> Data:
    if "dataset.binarize=dynamic" not in overrides:
        return data
    return replace(data, train=replace(data.train, dynamic=True), scored=replace(data.scored, dynamic=True))


# --- a stand-in for torch.cuda ----------------------------------------------------------------------------


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which calls CUDA receives, in a world where it exists. A graph is the last function that was captured."""
    said: list[str] = []

    class Graph:
        step: CapturedStep

        def register_generator_state(self, generator: torch.Generator) -> None:
            said.append("generator")

        def replay(self) -> None:
            said.append("replay")
            self.step.run()

    @contextlib.contextmanager
    def capture(graph: Graph, stream: object) -> Iterator[None]:
        said.append("capture")
        try:
            yield
        finally:
            said.append("end")

    stream = SimpleNamespace(wait_stream=lambda other: None)
    world = {
        "Stream": lambda: stream, "CUDAGraph": Graph, "graph": capture, "current_stream": lambda: stream,
        "stream": lambda stream: contextlib.nullcontext(), "set_stream": lambda stream: said.append("stream"),
    }  # fmt: skip
    for name, value in world.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return said


def captured(step: Callable[..., torch.Tensor], state: TrainingState, said: list[str]) -> CapturedStep:
    """Captured in that world: nothing runs during the capture itself, and a replay runs it."""

    def unless_capturing(x: torch.Tensor, labels: torch.Tensor, kl_weight: torch.Tensor) -> torch.Tensor:
        return (
            torch.zeros_like(state.step_terms_ST[0])
            if said[-1:] == ["capture"]
            else step(x, labels, kl_weight)
        )

    made = CapturedStep(unless_capturing, 50, state)
    torch.cuda.CUDAGraph.step = made  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("overrides", CASES)
def test_captured_and_eager_steps_train_alike(
    overrides: tuple[str, ...], data: Data, said: list[str]
) -> None:
    """With a KL weight that changes in every step, and a last batch that is not a full one."""
    small = SMALL[overrides[0].removeprefix("model=")]
    config = settings(*TINY, *overrides, small, "epochs=3", "batch_size=50")
    data = dynamic(few(data), overrides)
    assert len(data.train) % 50
    eager, other = fresh(config, data), fresh(config, data)
    fit(eager, data, config)
    fit(other, data, config, train_step=captured(EagerStep(other, config), other, said))
    assert_same(eager, other)
    assert said.count("capture") == 1
    assert said.count("replay") == 3 * (len(data.train) // 50) - WARM_UP


def test_a_step_that_no_graph_can_hold_runs_as_it_is(
    data: Data, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = settings(*TINY, "epochs=1", "batch_size=50")
    eager, other = fresh(config, data), fresh(config, data)
    fit(eager, data, config)
    eager_step = EagerStep(other, config)

    def step(x: torch.Tensor, labels: torch.Tensor, kl_weight: torch.Tensor) -> torch.Tensor:
        if said[-1:] == ["capture"]:
            raise RuntimeError("operation not permitted when stream is capturing")
        return eager_step(x, labels, kl_weight)

    before = dict(other.noise)
    fit(other, data, config, train_step=CapturedStep(step, 50, other))
    assert_same(eager, other)
    assert said == ["generator", "generator", "capture", "end", "stream"]
    assert other.noise["latent"] is not before["latent"], "the old one may still believe in the capture"
    assert (
        "Training without a CUDA graph, which is slower: the step can't be captured (operation not"
        in caplog.text
    )


# --- where there is CUDA ----------------------------------------------------------------------------------


@has_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("overrides", CASES)
def test_graph_and_eager_give_the_same_numbers(
    overrides: tuple[str, ...], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(*TINY, *overrides, f"precision={precision}", "epochs=3", "device=cuda")
    device = torch.device("cuda")
    data = splits.load(config.dataset, device)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    rows = []
    for graphs in (True, False):
        state = TrainingState.fresh(config, data, device)
        step = EagerStep(state, config)
        used = CapturedStep(step, config.batch_size, state) if graphs else step
        rows.append(without_times(fit(state, data, config, train_step=used)))
        assert not isinstance(used, CapturedStep) or used.graph is not None
    for graph, eager in zip(*rows, strict=True):
        assert graph == pytest.approx(eager, rel=1e-3)


@has_cuda
def test_cuda_learns_what_the_cpu_learns(data: Data) -> None:
    config = settings(*TINY, "epochs=3")
    device = torch.device("cuda")
    there = splits.load(config.dataset, device)
    *_, on_cuda = fit(TrainingState.fresh(config, there, device), there, config)
    *_, on_cpu = fit(fresh(config, data), data, config)
    assert on_cuda["val/neg_elbo"] == pytest.approx(
        on_cpu["val/neg_elbo"],
        rel=0.15,  # another shuffle and other noise: that much on so few images
    )


@has_cuda
@pytest.mark.parametrize("model", models.names())
def test_deterministic_repeats_every_bit(train: CommandLine, tmp_path: Path, model: str) -> None:
    line = (*TINY, f"model={model}", "epochs=2", "device=cuda", "deterministic=true", "artifacts.every=0")
    first, second = (tmp_path / run_folder(train(*line, f"hydra.run.dir={name}")) for name in ("a", "b"))
    assert_same_run(first, second)


def test_an_apple_gpu_is_taken_where_there_is_one_and_evaluated_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As far as a machine without one allows."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("mps") == torch.device("mps")
    run = SimpleNamespace(config=settings(*TINY), trained_on={"sha256": {}})
    caplog.set_level("INFO", "vaelab")
    data, _ = load_data(run, EvaluationConfig(checkpoint="x", device="mps"))  # type: ignore[arg-type]
    assert data.test.images.device.type == "cpu"
    assert "Evaluating on the CPU: MPS has no float64" in caplog.text


@pytest.mark.parametrize(
    ("device", "present", "problem"),
    [
        ("cuda", 0, "has no CUDA device that PyTorch can use"),
        ("cuda:99", 0, "has no CUDA device that PyTorch can use"),
        ("cuda:1", 1, "has only 1 CUDA device, numbered from cuda:0"),
        ("cuda:2", 2, "has only 2 CUDA devices, numbered from cuda:0"),
        ("mps", 2, "has no Apple GPU that PyTorch can use"),
    ],
)
def test_a_device_that_is_not_there_is_named_with_what_is(
    monkeypatch: pytest.MonkeyPatch, device: str, present: int, problem: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: present)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError) as refused:
        pick_device(device)
    assert str(refused.value).startswith(f"device={device}, but this machine {problem}: type device=cpu")
