"""Files of checkpoints: damaged, planted, of older formats; what is refused, and what keeps loading."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import vaelab
from conftest import TINY, CommandLine, command_line_of, environment, once, rewrite, run_folder
from vaelab import VaelabError
from vaelab.training import checkpoint, sealed

KEPT = Path(__file__).parent / "checkpoints"
"""Checkpoints as each format wrote them, and what they say of themselves; written once, never again."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run whose checkpoints are of epochs 1, 2 (best.pt, last.pt) and 2."""

    def make(folder: Path) -> None:
        quiet = (
            "artifacts.every=0",
            "artifacts.figures=false",
            "artifacts.gif=false",
            "artifacts.checkpoint_every=1",
        )
        run_folder(
            command_line_of("vaelab.train", folder)(
                *TINY, *quiet, "model.hidden=[4]", "epochs=2", "hydra.run.dir=run"
            )
        )

    folder, _ = once(tmp_path_factory, "trained-in-two-epochs", make)
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def refusal(path: Path) -> str:
    with pytest.raises(VaelabError) as error:
        vaelab.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- damage -----------------------------------------------------------------------------------------------


def test_a_checkpoint_is_a_file_that_pytorch_reads(run: Path) -> None:
    content = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    assert content["format"] == checkpoint.FORMAT
    with zipfile.ZipFile(run / "checkpoints" / "best.pt") as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"vaelab sha256 ")


def test_truncated_at_fifty_places(run: Path) -> None:
    path = run / "checkpoints" / "last.pt"
    whole = path.read_bytes()
    for part in range(50):
        path.write_bytes(whole[: part * len(whole) // 50])
        assert refusal(path).endswith(
            f"The newest good one beside it is {run}/checkpoints/best.pt (epoch 2): type that."
        )
    path.write_bytes(whole[:-1])
    assert "damaged" in refusal(path)


def test_flipped_bits_anywhere(run: Path) -> None:
    path = run / "checkpoints" / "last.pt"
    whole = path.read_bytes()
    drawn = random.Random(0)
    last = range(len(whole) - 120, len(whole))  # the end of the archive, and the digest itself
    for place in [*drawn.sample(range(len(whole) - 120), 80), *last]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << drawn.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(sealed.Unsealed, match="damaged"):
            checkpoint.read(path)


def test_the_newest_good_one_is_named_by_every_door(run: Path, tmp_path: Path, train: CommandLine) -> None:
    for name in ("last.pt", "best.pt"):
        path = run / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:-200])
    better = "The newest good one beside it is run/checkpoints/epoch_0002.pt (epoch 2): type that."
    for door, line, name in (
        ("train", ("resume=run", "epochs=3"), "last.pt"), ("evaluate", ("checkpoint=run",), "best.pt"),
        ("explore", ("run=run",), "best.pt"), ("export", ("run=run", "format=safetensors"), "best.pt"),
    ):  # fmt: skip
        result = command_line_of(f"vaelab.{door}", tmp_path)(*line)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == (
            f"vaelab: run/checkpoints/{name} can't be read: it is damaged, or was not written by vaelab. {better}\n"
        )
    compared = command_line_of("vaelab.compare", tmp_path)("sweep=.", "figures=false")
    assert "last.pt can't be read: it is damaged" in compared.stdout
    result = train("resume=run/checkpoints/epoch_0002.pt", "epochs=3")
    assert result.returncode == 0, result.stderr
    assert checkpoint.load(run / "checkpoints" / "last.pt")["epoch"] == 3
    assert checkpoint.load(run / "checkpoints" / "best.pt")["epoch"] in (2, 3)


def test_without_a_good_one_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"epoch,train/loss\n1,2.0\n")
    assert refusal(tmp_path / "x.pt").endswith(
        "There is no good checkpoint beside it: train again, or type another run."
    )


@pytest.mark.parametrize("file", ["run.json", "metrics.csv"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"{}", b"[1", b"a,b\n1,x\n"])
def test_other_damaged_files_are_named(run: Path, tmp_path: Path, file: str, content: bytes) -> None:
    (run / file).write_bytes(content)
    result = command_line_of("vaelab.compare", tmp_path)("sweep=.", "figures=false", "evaluate=false")
    assert "Traceback" not in result.stderr
    if file == "run.json":
        result = command_line_of("vaelab.train", tmp_path)("resume=run", "epochs=3")
        assert (result.returncode, result.stderr) == (
            1, "vaelab: run/run.json is damaged: type a checkpoint of the folder instead, or another run.\n"
        )  # fmt: skip
    else:
        assert "metrics.csv is damaged" in refusal(run)


# --- plants -----------------------------------------------------------------------------------------------


class Planted:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, call: Callable[..., object] = os.system, *arguments: object) -> None:
        self.call, self.arguments = call, arguments or ("touch executed",)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def torch_saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def with_more(good: bytes, **files: bytes) -> bytes:
    """An archive that unpacks to gigabytes: `files` of zeros, deflated."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name), compress_type=zipfile.ZIP_STORED)
        for name, content in files.items():
            new.writestr(f"archive/data/{name}", content)
    return file.getvalue()


def overlapping(good: bytes) -> bytes:
    """An archive whose directory lists one large member a thousand times."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
        start, count = archive.start_dir, len(archive.infolist())
    end = good.rindex(b"PK\5\6")
    directory = good[start : good.rindex(b"PK\6\6")] if b"PK\6\6" in good else good[start:end]
    entry_at = directory.index(largest.filename.encode()) - 46
    entry = directory[entry_at : directory.index(b"PK\1\2", entry_at + 1)]
    more = b"".join(
        entry.replace(largest.filename.encode(), largest.filename.encode()[:-3] + f"{i:03d}".encode()) for i in range(1000)
    )  # fmt: skip
    total = (count + 1000).to_bytes(2, "little")
    size = (len(directory) + len(more)).to_bytes(4, "little")
    return (
        good[:start]
        + directory
        + more
        + b"PK\5\6\0\0\0\0"
        + total
        + total
        + size
        + start.to_bytes(4, "little")
        + b"\0\0"
    )


def legacy(content: object) -> bytes:
    """What PyTorch wrote before it took to archives."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def on_one_memory(weights: dict[str, Any]) -> dict[str, Any]:
    memory = torch.zeros(max(weight.numel() for weight in weights.values()))
    return {name: memory[: weight.numel()].view(weight.shape) for name, weight in weights.items()} | {
        f"more.{number}": memory[:] for number in range(1000)
    }


def unfolding() -> object:
    """Lists of lists that are few in a pickle and a billion when they are gone through."""
    value: object = 1
    for _ in range(9):
        value = [value] * 10
    return value


PLANTS: dict[str, Callable[[bytes, dict[str, Any]], bytes]] = {
    "a pickle": lambda good, content: pickle.dumps(Planted()),
    "a pickle in a tensor file": lambda good, content: torch_saved(content | {"history": Planted()}),
    "a sealed pickle": lambda good, content: sealed.seal(content | {"history": Planted()}),
    "eval": lambda good, content: torch_saved(content | {"history": Planted(eval, "open('executed', 'w')")}),
    "a bytearray of 12 GB": lambda good, content: sealed.seal(content | {"history": Planted(bytearray, 12 * 10**9)}),
    "a zip bomb": lambda good, content: with_more(good, bomb=bytes(4 * 10**8)),
    "overlapping members": lambda good, content: overlapping(good),
    "a tensor of terabytes": lambda good, content: sealed.seal(
        content | {"model": {name: torch.zeros(1).expand(10**12) for name in content["model"]}}
    ),
    "settings of terabytes": lambda good, content: sealed.seal(
        content | {"config": content["config"] | {"model": {"name": "mlp", "latent_dim": 10**11, "hidden": [4]}}}
    ),
    "settings beyond numbers": lambda good, content: sealed.seal(
        content | {"config": content["config"] | {"model": {"name": "mlp", "latent_dim": 10**40, "hidden": [4]}}}
    ),
    "a million layers": lambda good, content: sealed.seal(
        content | {"config": content["config"] | {"model": {"name": "mlp", "latent_dim": 2, "hidden": [4] * 10**6}}}
    ),
    "images of terabytes": lambda good, content: sealed.seal(content | {"image_shape": [1, 10**6, 10**6]}),
    "lists that unfold": lambda good, content: sealed.seal(content | {"history": unfolding()}),
    "two files in one": lambda good, content: legacy(Planted(bytearray, 10**9)) + good,
    "capitals": lambda good, content: torch_saved({"history": Planted(bytearray, 10**9)}).replace(b"data.pkl", b"DATA.PKL"),
    "many weights on one memory": lambda good, content: sealed.seal(content | {"model": on_one_memory(content["model"])}),
    "another program's": lambda good, content: torch_saved(content["model"]),
    "a model that isn't one": lambda good, content: sealed.seal(
        content | {"config": content["config"] | {"model": {"name": "../../evil"}}}
    ),
    "nothing": lambda good, content: b"",
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_file_is_refused_in_one_line_and_runs_nothing(
    run: Path, tmp_path: Path, plant: str
) -> None:
    good = (run / "checkpoints" / "best.pt").read_bytes()
    path = tmp_path / "planted.pt"
    path.write_bytes(PLANTS[plant](good, checkpoint.load(run / "checkpoints" / "best.pt")))
    before = sorted(tmp_path.rglob("*"))
    result = command_line_of("vaelab.evaluate", tmp_path)("checkpoint=planted.pt")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("vaelab: planted.pt ")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert sorted(tmp_path.rglob("*")) == before  # nothing was executed, and nothing written


def test_looking_at_a_planted_file_takes_little_memory(run: Path, tmp_path: Path) -> None:
    """The largest size that a process ever had, against one that looks at a good file."""
    good = (run / "checkpoints" / "best.pt").read_bytes()
    content = checkpoint.load(run / "checkpoints" / "best.pt")
    for number, plant in enumerate(PLANTS.values()):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "x.pt").write_bytes(plant(good, content))
    script = """
import glob, resource, sys, vaelab
vaelab.load("run/checkpoints/best.pt")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in glob.glob("*/x.pt"):
    try:
        vaelab.load(path)
    except vaelab.VaelabError:
        print(path)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024))
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    *refused, grown = result.stdout.split()
    assert len(refused) == len(PLANTS), result.stderr
    assert int(grown) < 200e6


@pytest.mark.parametrize("lie", [
    {"optimizer": {}}, {"history": [1]}, {"history": []}, {"noise": {}}, {"data": {}}, {"epoch": -5}, {"epoch": 3}, {"best_epoch": 77},
    {"step": 10**9}, {"step": -1}, {"sums": torch.zeros(1)}, {"best_epoch": -1},
    {"history": [{"epoch": 1, "val/neg_elbo": float("nan")}, {"epoch": 2}]},
], ids=str)  # fmt: skip
def test_what_does_not_agree_is_refused(
    run: Path, tmp_path: Path, train: CommandLine, lie: dict[str, Any]
) -> None:
    rewrite(run / "checkpoints" / "last.pt", lambda content: content.update(lie))
    before = (run / "run.json").read_bytes()
    result = train("resume=run", "epochs=3")
    assert (result.returncode, result.stderr) == (
        1,
        "vaelab: run/checkpoints/last.pt is damaged: what it says of its epochs doesn't agree. "
        "The newest good one beside it is run/checkpoints/best.pt (epoch 2): type that.\n",
    )
    assert (run / "run.json").read_bytes() == before


def test_what_a_checkpoint_names_is_never_written_to(run: Path, tmp_path: Path) -> None:
    """Not even where a download would go."""
    (tmp_path / "precious").mkdir()

    def change(content: dict[str, Any]) -> None:
        content["config"]["dataset"] |= {"source": "auto", "root": str(tmp_path / "precious")}
        content["config"] |= {"resume": str(tmp_path / "precious")}
        content["config"]["artifacts"] |= {"watermark": "../../precious/<b>${oc.env:HOME}</b>"}
        content["data"]["name"] = "../precious"

    rewrite(run / "checkpoints" / "best.pt", change)
    result = command_line_of("vaelab.evaluate", tmp_path)(
        "checkpoint=run",
        "nll_images=10",
        "importance_samples=2",
        "metrics.samples=false",
        "metrics.classes=false",
    )
    assert result.returncode == 0, result.stderr
    assert not list((tmp_path / "precious").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"precious", "run", "no-data"}


# --- formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.pt")), ids=lambda path: path.stem)
def test_every_format_keeps_loading(path: Path) -> None:
    """To the same settings, epoch, rows and images: within 1e-4, which kernels and versions may differ by."""
    expected = json.loads(path.with_suffix(".json").read_text())
    found = described(vaelab.load(path))
    for key in ("config", "epoch", "metrics"):
        assert found[key] == expected[key], key
    assert found["sample"] == pytest.approx(expected["sample"], abs=1e-4)
    assert found["mean"] == pytest.approx(expected["mean"], abs=1e-4)


def described(run: vaelab.Run) -> dict[str, Any]:
    """What a checkpoint's model does, in few numbers."""
    ramp = torch.linspace(0, 1, 784).view(1, 28, 28)
    return {
        "config": {key: run.config.to_dict()[key] for key in ("model", "beta", "kl", "seed")},
        "epoch": run.epoch,
        "metrics": run.metrics,
        "sample": run.sample(2, seed=1).flatten()[::97].tolist(),
        "mean": run.encode(ramp).mean.flatten().tolist(),
    }


def test_this_versions_format_is_kept() -> None:
    """Whoever raises the number keeps a checkpoint of each model in it."""
    for model in ("mlp", "conv"):
        path = KEPT / f"format_{checkpoint.FORMAT}_{model}.pt"
        assert path.is_file()
        assert torch.load(path, weights_only=True)["format"] == checkpoint.FORMAT


@pytest.mark.parametrize("name", ["format_1_mlp", "format_2_mlp"])
def test_a_run_of_an_older_format_goes_on(train: CommandLine, run: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(KEPT / f"{name}.pt", run / "checkpoints" / "last.pt")
    result = train("resume=run", "epochs=3")
    assert result.returncode == 0, result.stderr
    last = checkpoint.load(run / "checkpoints" / "last.pt")
    assert (last["format"], last["epoch"], len(last["history"])) == (checkpoint.FORMAT, 3, 3)
    before = checkpoint.load(KEPT / f"{name}.pt")
    assert last["history"][:2] == before["history"]


def test_a_newer_format_says_to_upgrade(run: Path, tmp_path: Path) -> None:
    rewrite(run / "checkpoints" / "best.pt", lambda content: content.update(format=99, vaelab="9.0"))
    assert "was written by vaelab 9.0 in a newer format: upgrade vaelab to read it." in refusal(
        run / "checkpoints" / "best.pt"
    )
