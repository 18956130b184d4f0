"""How fast vaelab is, as ratios: beside plain loops, beside its own arithmetic, with figures and without.

    python scripts/benchmark.py [FOLDER] [--parts loops,start,...] [--rounds 5] [--json FILE]

FOLDER has the full Fashion-MNIST in torchvision's layout; without it the embedded subset is used. The things
that a figure compares are done in turn, round after round, and the median round is shown: machines are
shared, and their speed drifts. All parts take about an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from vaelab.config import Config, DatasetConfig, VaelabError
from vaelab.data import splits
from vaelab.data.splits import Data, Split
from vaelab.models import VAE, build
from vaelab.pages.run_report import write_run_report
from vaelab.runs.environment import device_facts, git_facts, versions
from vaelab.runs.folder import RunFolder
from vaelab.training import session
from vaelab.training.callbacks import CheckFinite
from vaelab.training.loop import fit
from vaelab.training.run import load
from vaelab.training.state import TrainingState
from vaelab.training.train_step import train_step_for

BATCH = 128
WARM_UP_EPOCHS = 2
"""Epochs before the clock counts: after some 900 steps, many of Adam's moments are denormal numbers."""

IMAGE_SHAPE = (1, 28, 28)
NO_FIGURES = [
    "artifacts.every=0",
    "artifacts.figures=false",
    "artifacts.gif=false",
    "artifacts.report=false",
]


Work = Callable[[], float]
"""Does something and returns the seconds that it took."""


@dataclass(frozen=True)
class Figure:
    """One line of the table: the same thing measured in each round."""

    part: str
    what: str
    unit: str
    rounds: Sequence[float]
    target: str = ""

    def row(self) -> list[str]:
        median, low, high = statistics.median(self.rounds), min(self.rounds), max(self.rounds)
        shown = f"{median:,.3g}" if median < 1000 else f"{median:,.0f}"
        spread = f"{low:,.3g} to {high:,.3g}" if high < 1000 else f"{low:,.0f} to {high:,.0f}"
        return [self.what, shown, spread if low < high else "", self.unit, self.target]

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "rounds": list(self.rounds), "median": statistics.median(self.rounds)}


@dataclass(frozen=True)
class Setting:
    """What all parts share."""

    folder: str | None
    rounds: int

    @property
    def dataset(self) -> DatasetConfig:
        if self.folder is None:
            return DatasetConfig(source="embedded")
        return DatasetConfig(root=self.folder, source="full")

    @property
    def words(self) -> list[str]:
        """The same on a command line."""
        if self.folder is None:
            return ["dataset.source=embedded"]
        return ["dataset.source=full", f"dataset.root={self.folder}"]

    @property
    def short_epochs(self) -> int:
        """Epochs that take a second or two: the embedded subset has a fifth of the images."""
        return 2 if self.folder is not None else 20

    def in_turn(self, works: Mapping[str, Work], warm_ups: int = 1) -> list[dict[str, float]]:
        """Each work's seconds, a dict per round; every second round goes backwards."""
        for _ in range(warm_ups):
            for work in works.values():
                work()
        rounds = []
        for number in range(self.rounds):
            order = list(works)[:: 1 if number % 2 == 0 else -1]
            rounds.append({name: works[name]() for name in order})
        return rounds


def ratios(rounds: list[dict[str, float]], above: str, below: str) -> list[float]:
    return [measured[above] / measured[below] for measured in rounds]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# --- loops ------------------------------------------------------------------------------------------------


class PerImage(Dataset[tuple[Tensor, int]]):
    """What torchvision.datasets.MNIST does for each image: a row of bytes, a PIL image, ToTensor."""

    def __init__(self, split: Split) -> None:
        self.images, self.labels = split.images.cpu(), split.labels.tolist()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].numpy())), self.labels[index]


def plain_step(model: VAE, x: Tensor, optimizer: torch.optim.Optimizer, bf16: bool) -> Tensor:
    """A step as tutorials have it; returns the loss."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        mean, log_variance = model.encoder(x).float().chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        logits = model.decoder(z).float()
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    loss = (reconstruction + kl) / len(x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def bare_loop(data: Data, name: str, bf16: bool) -> Work:
    """The least that trains this model: all images as floats in memory, nothing recorded."""
    device = data.train.images.device
    images = data.train.images.unsqueeze(1).float() / 255
    model = build({"name": name}, IMAGE_SHAPE, seed=0).to(device).train()
    model.to(memory_format=torch.channels_last)  # as vaelab's loop has it
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def loop() -> None:
        for index in torch.randperm(len(images), device=device).split(BATCH):
            loss = plain_step(model, images[index], optimizer, bf16)
        loss.item()

    return partial(seconds, loop)


def data_loader_loop(data: Data, name: str, bf16: bool) -> Work:
    """The usual notebook: a DataLoader over ToTensor images, plain layers, a plain Adam, loss.item()."""
    device = data.train.images.device
    model = build({"name": name}, IMAGE_SHAPE, seed=0).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(PerImage(data.train), BATCH, shuffle=True)

    def loop() -> None:
        total = 0.0
        for x, _ in loader:
            total += plain_step(model, x.to(device), optimizer, bf16).item()

    return partial(seconds, loop)


def vaelab_loop(data: Data, name: str, bf16: bool) -> Work:
    """Epochs by vaelab's own clock, which leaves out the scoring of validation images."""
    config = Config(
        model={"name": name}, batch_size=BATCH, epochs=10**6, precision="bf16" if bf16 else "fp32"
    )
    state = TrainingState.fresh(config, data, data.train.images.device)
    callbacks, step = [CheckFinite(config)], train_step_for(state, config)

    def loop() -> float:
        """One more epoch."""
        return fit(state, data, config.replace(epochs=state.epoch + 1), callbacks, step)[-1]["seconds"]

    return loop


def products(
    model: VAE, device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format
) -> list[Callable[[], object]]:
    """The matrix products and convolutions of one training step, forward and backward, on random numbers."""
    jobs: list[Callable[[], object]] = []

    def laid_out(tensor: Tensor) -> Tensor:
        images = tensor.ndim == 4
        return (
            tensor.detach()
            .to(dtype)
            .contiguous(memory_format=memory_format if images else torch.contiguous_format)
        )

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
        x, weight, gradient = laid_out(inputs[0]), laid_out(layer.weight), laid_out(output)
        first = not jobs  # no gradient goes into the images
        if isinstance(layer, nn.Linear):
            jobs.append(lambda: x @ weight.t())
            jobs.append(lambda: gradient.t() @ x)
            if not first:
                jobs.append(lambda: gradient @ weight)
            return
        shape = (layer.stride, layer.padding, layer.dilation)
        rest = (isinstance(layer, nn.ConvTranspose2d), (0, 0), 1)
        mask = (not first, True, False)
        aten = torch.ops.aten
        jobs.append(lambda: aten.convolution(x, weight, None, *shape, *rest))
        jobs.append(lambda: aten.convolution_backward(gradient, x, weight, None, *shape, *rest, mask))

    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    x = torch.rand(BATCH, *IMAGE_SHAPE, device=device)
    model.decoder(model.encoder(x).chunk(2, dim=1)[0])
    for hook in hooks:
        hook.remove()
    return jobs


def products_loop(data: Data, name: str, bf16: bool) -> Work:
    """What the steps of an epoch multiply and nothing else, in the faster memory format."""
    device = data.train.images.device
    model = build({"name": name}, IMAGE_SHAPE, seed=0).to(device)
    dtype = torch.bfloat16 if bf16 else torch.float32
    steps = len(data.train) // BATCH
    formats = (torch.contiguous_format, torch.channels_last) if name == "conv" else (torch.contiguous_format,)
    jobs = [products(model, device, dtype, memory_format) for memory_format in formats]

    def loop(jobs: list[Callable[[], object]]) -> None:
        for _ in range(steps):
            for job in jobs:
                job()
        if device.type == "cuda":
            torch.cuda.synchronize()

    def quickest() -> float:
        with torch.no_grad():
            return min(seconds(partial(loop, each)) for each in jobs)

    return quickest


LOOPS: dict[str, Callable[[Data, str, bool], Work]] = {
    "vaelab": vaelab_loop,
    "bare": bare_loop,
    "loader": data_loader_loop,
    "products": products_loop,
}


class Loop:
    """A loop in a process of its own, which waits between two epochs.

    Whether denormal numbers are flushed to zero is a property of a process: PyTorch's threads inherit it when
    they start.
    """

    def __init__(self, kind: str, name: str, device: str, setting: Setting) -> None:
        """`kind` is one of `LOOPS`, followed by ` bf16` or ` flushed` where that applies."""
        what = [kind, name, device, *([] if setting.folder is None else [setting.folder])]
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--loop", json.dumps(what)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self) -> float:
        """One more epoch: its seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def run_loop(kind: str, name: str, device: str, folder: str | None = None) -> None:
    """What a process of `Loop` does: an epoch for each line on stdin."""
    if "flushed" in kind or kind.startswith("vaelab"):  # as vaelab.train does
        torch.set_flush_denormal(True)
    data = splits.load(Setting(folder, 1).dataset, torch.device(device))
    loop = LOOPS[kind.split()[0]](data, name, "bf16" in kind)
    for _ in sys.stdin:
        print(loop(), flush=True)


def loops(setting: Setting) -> Iterator[Figure]:
    """Images per second while training, from the third epoch on."""
    images = len(splits.load(setting.dataset, torch.device("cpu")).train)
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        for name in ("mlp", "conv"):
            kinds = ("vaelab", "bare", "bare flushed", "loader", "products", "vaelab bf16")
            works = {kind: Loop(kind, name, device, setting) for kind in kinds}
            rounds = setting.in_turn(works, WARM_UP_EPOCHS)
            for work in works.values():
                work.end()
            on, cpu, mlp = f"{name}, {device}", device == "cpu", name == "mlp"
            targets = {
                "bare": (
                    "over a bare loop in memory",
                    ("≥ 1.25" if mlp else "≥ 0.97") if cpu else "≥ 5" if mlp else "",
                ),
                "bare flushed": ("over the same, denormals flushed", "≥ 0.95" if cpu else ""),
                "loader": ("over a DataLoader loop", ("≥ 2.5" if mlp else "≥ 1.5") if cpu else ""),
                "products": ("over its products alone", ("≥ 0.70" if mlp else "≥ 0.60") if cpu else ""),
            }
            rate = [images / measured["vaelab"] for measured in rounds]
            yield Figure(
                "loops", f"{on}: images/s", "images/s", rate, "" if cpu or not mlp else "≥ 1,000,000"
            )
            for kind, (what, target) in targets.items():
                yield Figure("loops", f"{on}: {what}", "×", ratios(rounds, kind, "vaelab"), target)
            bf16 = ratios(rounds, "vaelab", "vaelab bf16")
            yield Figure("loops", f"{on}: bf16 over fp32", "×", bf16, "≥ 1.2" if cpu and not mlp else "")


# --- whole commands ---------------------------------------------------------------------------------------


def whole_run(setting: Setting) -> Iterator[Figure]:
    """A run with everything that it draws, over its training alone."""
    config = Config(dataset=setting.dataset, device="cpu")
    rounds = []
    for _ in range(setting.rounds):
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder(Path(folder) / "run")
            whole = seconds(partial(session.train, config, run, session.Caller(report=write_run_report)))
            rounds.append(whole / sum(row["seconds"] for row in run.read_metrics()))
    what = f"mlp, {config.epochs} epochs, everything drawn: the whole run over its training"
    yield Figure("run", what, "×", rounds, "≤ 1.2")


def command(*words: str, module: str = "vaelab.train") -> list[str]:
    return [sys.executable, "-m", module, *words]


def until(line: str, words: Sequence[str], folder: Path) -> float:
    """Seconds from the start of a process until it has logged `line`; it may then end."""
    started = time.perf_counter()
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=folder, text=True
    ) as p:
        assert p.stderr is not None
        (taken, *_) = [time.perf_counter() - started for said in p.stderr if line in said]
    return taken


def start_up(setting: Setting) -> Iterator[Figure]:
    """How long a user waits for help and for the first step, beside importing torch."""
    with tempfile.TemporaryDirectory() as folder:
        one_step = [
            "dataset.source=embedded", "dataset.classes=[7]", "dataset.val_size=0", "batch_size=2000",
            "epochs=1", *NO_FIGURES, f"hydra.run.dir={folder}/one_step",
        ]  # fmt: skip

        def first_step() -> float:
            shutil.rmtree(f"{folder}/one_step", ignore_errors=True)
            return until("epoch 1/1", command(*one_step), Path(folder))

        def timed(words: list[str]) -> float:
            return seconds(partial(subprocess.run, words, check=True, capture_output=True, cwd=folder))

        rounds = setting.in_turn(
            {
                "help": partial(timed, command("--help")),
                "torch": partial(timed, [sys.executable, "-c", "import torch"]),
                "first step": first_step,
            }
        )
    yield Figure("start", "import torch", "s", [measured["torch"] for measured in rounds])
    yield Figure("start", "--help", "s", [measured["help"] for measured in rounds], "≤ 1")
    beyond = [measured["first step"] - measured["torch"] for measured in rounds]
    yield Figure("start", "to the end of the first step, beyond import torch", "s", beyond, "≤ 2.5")


def evaluation(setting: Setting) -> Iterator[Figure]:
    """Evaluations of the whole test set and comparisons, as processes, beside what they can't do without."""
    for name, more, aim in (("mlp", [], "≤ 20"), ("conv", ["model=conv", "model.latent_dim=16"], "≤ 45")):
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"}

            def run(*words: str, module: str, env: dict[str, str] = environment) -> float:
                line = command(*words, module=module)
                return seconds(partial(subprocess.run, line, check=True, capture_output=True, env=env))

            data = [f"dataset.source={setting.dataset.source}"]
            data += [] if setting.folder is None else [f"dataset.root={setting.folder}"]
            run(*data, *more, "epochs=1", *NO_FIGURES, f"hydra.run.dir={folder}/run", module="vaelab.train")
            line = f"checkpoint={folder}/run"
            first = run(line, f"output={folder}/first", module="vaelab.evaluate")
            yield Figure("evaluation", f"{name}: whole process, first of a data set", "s", [first])
            model = load(f"{folder}/run").model.eval()
            rounds = setting.in_turn(
                {
                    "whole": partial(run, line, f"output={folder}/again", module="vaelab.evaluate"),
                    "decoder": partial(seconds, partial(decode, model, 500 * 1000)),
                }
            )
            content = json.loads((Path(folder) / "again" / "metrics.json").read_text())
            yield Figure("evaluation", f"{name}: whole process", "s", [each["whole"] for each in rounds], aim)
            for section, taken in content["times"]["seconds"].items():
                yield Figure("evaluation", f"{name}: {section}", "s", [taken])
            nll = content["times"]["seconds"]["nll"]
            share = [each["decoder"] / nll for each in rounds]
            yield Figure("evaluation", f"{name}: nll, speed over its decoder alone", "×", share, "≥ 0.6")
            compare = partial(run, f"sweep={folder}/sweep", "figures=false", module="vaelab.compare")
            times = []
            for seed in range(setting.rounds + 1):
                where = f"hydra.run.dir={folder}/sweep/{seed}"
                run(*data, *more, "epochs=1", f"seed={seed}", *NO_FIGURES, where, module="vaelab.train")
                times.append(compare())
            complete = compare()
            further = [taken - complete for taken in times[1:]]  # the first one measures the images too
            yield Figure("evaluation", f"{name}: each further run of a comparison", "s", further, "≤ 8")


def decode(model: VAE, latents: int) -> None:
    """Decode as many latents as the importance-weighted bound does."""
    z_BL = torch.randn(1000, model.latent_dim)
    with torch.no_grad():
        for _ in range(latents // 1000):
            model.decode(z_BL)


def sweep(setting: Setting) -> Iterator[Figure]:
    """Four jobs, two at a time, over one after the other."""
    with tempfile.TemporaryDirectory() as folder:

        def swept(*words: str) -> float:
            shutil.rmtree(f"{folder}/sweep", ignore_errors=True)
            line = command(
                "-m", "seed=1,2,3,4", "epochs=3", *setting.words, *NO_FIGURES, "device=cpu",
                "hydra.callbacks.compare.enabled=false", f"hydra.sweep.dir={folder}/sweep", *words,
            )  # fmt: skip
            return seconds(partial(subprocess.run, line, check=True, capture_output=True))

        works: dict[str, Work] = {
            "serial": swept,
            "joblib": partial(swept, "hydra/launcher=parallel", "hydra.launcher.n_jobs=2"),
        }
        rounds = setting.in_turn(works, warm_ups=0)
    what = "4 runs of 3 epochs, joblib's time over one after the other"
    yield Figure("sweep", what, "×", ratios(rounds, "joblib", "serial"), "≤ 0.9")


PEAK_OF_CHILD = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Runs a command from a small process: on Linux the peak of a child is never below that of its parent."""


def measured_run(*words: str) -> tuple[float, float]:
    """Seconds of training and peak memory in MB of a run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        line = command("device=cpu", *words, f"hydra.run.dir={folder}/run")
        ran = subprocess.run([sys.executable, "-c", PEAK_OF_CHILD, *line], stdout=subprocess.PIPE, text=True)
        if ran.returncode:
            raise SystemExit(f"This command failed: {' '.join(line)}")
        rows = RunFolder(Path(folder) / "run").read_metrics()
        peak = int(ran.stdout) * (1 if sys.platform == "darwin" else 1024)  # bytes there, kibibytes here
        return sum(row["seconds"] for row in rows), peak / 1e6


def memory(setting: Setting) -> Iterator[Figure]:
    """The most memory that a run holds, with everything drawn."""
    for name in ("mlp", "conv"):
        words = [f"model={name}", "epochs=2", *setting.words]
        peaks = [measured_run(*words)[1] for _ in range(setting.rounds)]
        yield Figure("memory", f"{name}, everything drawn: peak", "MB", peaks, "≤ 1,200")


def growth(setting: Setting) -> Iterator[Figure]:
    """Time and memory of a run that is two and four times as large, over those of the smallest."""
    axes = {
        "images": ["dataset.classes=[0]", "dataset.classes=[0,1]", "dataset.classes=[0,1,2,3]"],
        "latent dimensions": ["model.latent_dim=8", "model.latent_dim=16", "model.latent_dim=32"],
        "epochs": [f"epochs={factor * setting.short_epochs}" for factor in (1, 2, 4)],
    }
    for axis, sizes in axes.items():
        words = ["dataset.classes=[0,1]", *setting.words, *NO_FIGURES]
        words += [f"epochs={setting.short_epochs}"]
        rounds = [[measured_run(*words, size) for size in sizes] for _ in range(setting.rounds)]
        for number, factor in ((1, 2), (2, 4)):
            for index, of in ((0, "training time"), (1, "peak memory")):
                grown = [runs[number][index] / runs[0][index] for runs in rounds]
                yield Figure("growth", f"mlp, {factor} × the {axis}: {of}", "×", grown)


PARTS: dict[str, Callable[[Setting], Iterable[Figure]]] = {
    "loops": loops,
    "run": whole_run,
    "start": start_up,
    "evaluation": evaluation,
    "sweep": sweep,
    "memory": memory,
    "growth": growth,
}


def main() -> None:
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "folder", nargs="?", help="the full set, in torchvision's layout; embedded subset without"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each thing is measured")
    parser.add_argument("--json", type=Path, help="where to write all rounds as well")
    parser.add_argument("--loop", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loop is not None:
        run_loop(*given.loop)
        return
    parts = [part for part in given.parts.split(",") if part]
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts={','.join(unknown)} is unknown: type some of {','.join(PARTS)}")
    if given.rounds < 1:
        parser.error(f"--rounds={given.rounds}: type a number of at least 1")
    if given.json is not None and not given.json.parent.is_dir():
        parser.error(f"--json={given.json}: there is no folder {given.json.parent}")
    setting = Setting(None if given.folder is None else str(Path(given.folder).resolve()), given.rounds)
    device = device_facts(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        description = splits.load(setting.dataset, torch.device("cpu")).description
    except VaelabError as error:
        parser.error(str(error))
    print(
        f"{description}, batch {BATCH}, {device}, torch {torch.__version__}, median of {given.rounds} rounds"
    )
    figures: list[Figure] = []
    for part in parts:
        found = list(PARTS[part](setting))
        headers = [part, "median", "rounds", "unit", "target"]
        print("\n" + tabulate([each.row() for each in found], headers, disable_numparse=True), flush=True)
        figures += found
        if given.json is not None:
            content = {
                "data": description, "batch": BATCH, "device": device, "threads": torch.get_num_threads(),
                "versions": versions(), "git": git_facts(),
                "figures": [figure.to_dict() for figure in figures],
            }  # fmt: skip
            given.json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
