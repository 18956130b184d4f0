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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

import vaelab
from conftest import TINY, CommandLine, command_line_of, encoded, environment, once, rewrite, run_folder
from vaelab import VaelabError
from vaelab.evaluation.sections import section_names
from vaelab.runs.random_streams import stream
from vaelab.training import checkpoint
from vaelab.training.checkpoint import Checkpoint

BOUND_ONLY = [f"metrics.{name}=false" for name in section_names() if name != "bound"]
KEPT = Path(__file__).parent / "checkpoints"
"""Checkpoints as each format wrote them, and what they say of themselves; written once, never again."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run whose checkpoints are of epochs 1, 2 (best.safetensors, last.safetensors) and 2."""

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


def test_a_checkpoint_is_a_safetensors_file_that_explains_itself(run: Path) -> None:
    with safe_open(run / "checkpoints" / "best.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["json"])
        names = set(file.keys())
    assert (facts["format"], facts["epoch"], facts["config"]["seed"]) == (checkpoint.FORMAT, 2, 42)
    assert {name.split(".")[0] for name in names} == {"model", "optimizer", "random", "training"}
    assert {"optimizer.0.exp_avg", "random.latent", "random.pixels", "training.step_terms"} <= names


def test_truncated_at_fifty_places(run: Path) -> None:
    path = run / "checkpoints" / "last.safetensors"
    whole = path.read_bytes()
    for part in range(50):
        path.write_bytes(whole[: part * len(whole) // 50])
        assert refusal(path).endswith(
            f"The newest good one beside it is {run}/checkpoints/best.safetensors (epoch 2): type that."
        )
    path.write_bytes(whole[:-1])
    assert "damaged" in refusal(path)


def test_flipped_bits_anywhere(run: Path) -> None:
    path = run / "checkpoints" / "last.safetensors"
    whole = path.read_bytes()
    drawn = random.Random(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in [
        *range(8),
        *drawn.sample(range(8, header), 150),
        *drawn.sample(range(header, len(whole)), 80),
    ]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << drawn.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(checkpoint.Unusable):
            checkpoint.read(path)


def test_the_newest_good_one_is_named_by_every_command(run: Path, tmp_path: Path, train: CommandLine) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        path = run / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:-200])
    better = "The newest good one beside it is run/checkpoints/epoch_0002.safetensors (epoch 2): type that."
    for command, line, name in (
        ("train", ("resume=run", "epochs=3"), "last.safetensors"), ("evaluate", ("checkpoint=run",), "best.safetensors"),
        ("explore", ("run=run",), "best.safetensors"), ("export", ("run=run",), "best.safetensors"),
    ):  # fmt: skip
        result = command_line_of(f"vaelab.{command}", tmp_path)(*line)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == (
            f"vaelab: run/checkpoints/{name} can't be read: it is damaged, or was not written by vaelab. {better}\n"
        )
    compared = command_line_of("vaelab.compare", tmp_path)("sweep=.", "figures=false")
    assert "last.safetensors can't be read: it is damaged" in compared.stdout
    result = train("resume=run/checkpoints/epoch_0002.safetensors", "epochs=3")
    assert result.returncode == 0, result.stderr
    assert checkpoint.load(run / "checkpoints" / "last.safetensors").epoch == 3
    assert checkpoint.load(run / "checkpoints" / "best.safetensors").epoch in (2, 3)


def test_without_a_good_one_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"epoch,train/loss\n1,2.0\n")
    assert refusal(tmp_path / "x.safetensors").endswith(
        "There is no good checkpoint beside it: train again, or type another run."
    )


CONTENTS = [b"", b"\xff\xfe\0", b"{}", b"[1", b"a,b\n1,x\n"]


@pytest.mark.parametrize("content", CONTENTS)
def test_a_damaged_run_json_is_written_again_by_resuming(
    run: Path, train: CommandLine, evaluate: CommandLine, tmp_path: Path, content: bytes
) -> None:
    before = json.loads((run / "run.json").read_text())
    (run / "run.json").write_bytes(content)
    said = "run/run.json is damaged: python -m vaelab.train resume=run writes it again."
    compared = command_line_of("vaelab.compare", tmp_path)("sweep=.", "figures=false", "evaluate=false")
    assert f"Not compared: run: {said}\n" in compared.stdout
    assert "Traceback" not in compared.stderr
    evaluated = evaluate("checkpoint=run", "figures=false", *BOUND_ONLY)
    assert (evaluated.returncode, evaluated.stderr) == (0, f"WARNING: {said}\n")
    resumed = train("resume=run")
    assert resumed.returncode == 0, resumed.stderr
    assert "run/run.json was damaged: it is written again, without earlier sessions.\n" in resumed.stderr
    after = json.loads((run / "run.json").read_text())
    assert {key: after[key] for key in ("status", "data", "epochs", "best", "model")} == {
        key: before[key] for key in ("status", "data", "epochs", "best", "model")
    }


@pytest.mark.parametrize("content", [*CONTENTS, None], ids=lambda content: str(content or "cut"))
def test_other_damaged_files_are_written_again_from_the_checkpoint(
    run: Path, evaluate: CommandLine, content: bytes | None
) -> None:
    whole = {path: path.read_bytes() for path in (run / "metrics.csv", run / "config.yaml")}
    for path in whole:
        path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    assert [row["epoch"] for row in vaelab.load(run).metrics] == [1, 2]
    evaluated = evaluate("checkpoint=run", "figures=false", *BOUND_ONLY)
    assert (evaluated.returncode, evaluated.stderr) == (
        0,
        "WARNING: Damaged or edited, so written again from run/checkpoints/last.safetensors: "
        "metrics.csv and config.yaml.\n",
    )
    assert {path: path.read_bytes() for path in whole} == whole


# --- planted files ----------------------------------------------------------------------------------------


class Planted:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def torch_saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def of(good: Checkpoint, **changed: Any) -> bytes:
    """A file that vaelab could have written, with other content."""
    return encoded(good.model_copy(update=changed))


def of_model(good: Checkpoint, **settings: Any) -> bytes:
    """The same with other settings of its model."""
    return of(
        good, config={**good.config, "model": {"name": "mlp", "latent_dim": 2, "hidden": [4], **settings}}
    )


def with_header(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


def with_json(text: str) -> bytes:
    return safetensors.torch.save({}, {"json": text, "sha256": checkpoint.digest(text, {})})


PLANTS: dict[str, Callable[[Checkpoint], bytes]] = {
    "a pickle": lambda good: pickle.dumps(Planted()),
    "a pickle in a tensor file": lambda good: torch_saved({"format": 2, "history": Planted()}),
    "settings of terabytes": lambda good: of_model(good, latent_dim=10**11),
    "settings beyond numbers": lambda good: of_model(good, latent_dim=10**40),
    "a hundred thousand layers": lambda good: of_model(good, hidden=[4] * 10**5),
    "a model that isn't one": lambda good: of_model(good, name="../../evil"),
    "images of terabytes": lambda good: of(good, image_shape=[1, 10**6, 10**6]),
    "images of no numbers": lambda good: of(good, image_shape=["1", None, []]),
    "other tensors": lambda good: of(good, model={"more": torch.zeros(3)}),
    "optimizer states by name": lambda good: of(good, optimizer={"a": {"b": torch.zeros(1)}}),
    "a header of terabytes": lambda good: (10**12).to_bytes(8, "little"),
    "a tensor of terabytes": lambda good: with_header(
        b'{"model.x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    ),
    "a deep header": lambda good: with_header(b"[" * 10**6),
    "a deep text": lambda good: with_json("[" * 10**6),
    "no text": lambda good: safetensors.torch.save({"x": torch.zeros(1)}),
    "an empty text": lambda good: with_json("{}"),
    "a text of one number": lambda good: with_json("3"),
    "another program's": lambda good: safetensors.torch.save(good.model),
    "nothing": lambda good: b"",
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_file_is_refused_in_one_line_and_runs_nothing(
    run: Path, tmp_path: Path, plant: str
) -> None:
    good = checkpoint.load(run / "checkpoints" / "best.safetensors")
    suffix = ".pt" if "pickle" in plant else ".safetensors"
    path = tmp_path / f"planted{suffix}"
    path.write_bytes(PLANTS[plant](good))
    before = sorted(tmp_path.rglob("*"))
    result = command_line_of("vaelab.evaluate", tmp_path)(f"checkpoint={path.name}")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"vaelab: {path.name} ")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert sorted(tmp_path.rglob("*")) == before  # nothing was executed, and nothing written


def test_looking_at_a_planted_file_takes_little_memory(run: Path, tmp_path: Path) -> None:
    """The largest size that a process ever had, against one that looks at a good file."""
    good = checkpoint.load(run / "checkpoints" / "best.safetensors")
    for number, plant in enumerate(PLANTS.values()):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "x.safetensors").write_bytes(plant(good))
    script = """
import glob, resource, sys, vaelab
vaelab.load("run/checkpoints/best.safetensors")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in glob.glob("*/x.safetensors"):
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
    {"history": [1]}, {"history": []}, {"random": {}}, {"data": {}}, {"epoch": -5}, {"epoch": 3}, {"best_epoch": 77},
    {"step": 10**9}, {"step": -1}, {"step_terms": torch.zeros(1)}, {"best_epoch": -1},
    {"history": [{"epoch": 1, "val/neg_elbo": None}, {"epoch": 2}]},
], ids=str)  # fmt: skip
def test_what_does_not_agree_is_refused(
    run: Path, tmp_path: Path, train: CommandLine, lie: dict[str, Any]
) -> None:
    rewrite(run / "checkpoints" / "last.safetensors", lambda content: content.update(lie))
    before = (run / "run.json").read_bytes()
    result = train("resume=run", "epochs=3")
    assert (result.returncode, result.stderr) == (
        1,
        "vaelab: run/checkpoints/last.safetensors is damaged: its metadata and tensors are inconsistent. "
        "The newest good one beside it is run/checkpoints/best.safetensors (epoch 2): type that.\n",
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

    rewrite(run / "checkpoints" / "best.safetensors", change)
    result = command_line_of("vaelab.evaluate", tmp_path)(
        "checkpoint=run",
        "nll_images=10",
        "importance_samples=2",
        "metrics.samples=false",
        "metrics.classes=false",
    )
    assert result.returncode == 0, result.stderr
    assert not list((tmp_path / "precious").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"precious", "run"}


# --- formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted(path for path in KEPT.iterdir() if path.suffix != ".json"), ids=lambda path: path.stem
)
def test_every_format_keeps_loading(path: Path) -> None:
    """To the same settings, epoch, rows and images: within 1e-4, which kernels and versions may differ by."""
    expected = json.loads(path.with_suffix(".json").read_text())
    if "conv" in path.stem:  # whose kernel was 4, before it was a setting
        expected["config"]["model"].setdefault("kernel", 4)
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
        "sample": run.decode(torch.randn(2, run.model.latent_dim, generator=stream(1, "sample")))
        .flatten()[::97]
        .tolist(),
        "mean": run.encode(ramp).mean.flatten().tolist(),
    }


def test_this_versions_format_is_kept() -> None:
    """A new format number needs a checkpoint of each model in it."""
    for model in ("mlp", "conv"):
        assert (
            checkpoint.load(KEPT / f"format_{checkpoint.FORMAT}_{model}.safetensors").format
            == checkpoint.FORMAT
        )


@pytest.mark.parametrize("name", ["format_1_mlp", "format_2_mlp"])
def test_a_run_of_an_older_format_goes_on(train: CommandLine, run: Path, tmp_path: Path, name: str) -> None:
    """Its *.pt is found where no *.safetensors is, and stays; what is written then is today's format."""
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    for file in ("last.pt", "best.pt"):
        shutil.copy(KEPT / f"{name}.pt", run / "checkpoints" / file)
    assert vaelab.load(run).checkpoint == run / "checkpoints" / "best.pt"
    result = train("resume=run", "epochs=3")
    assert result.returncode == 0, result.stderr
    last = checkpoint.load(run / "checkpoints" / "last.safetensors")
    assert (last.format, last.epoch, len(last.history)) == (checkpoint.FORMAT, 3, 3)
    assert last.history[:2] == checkpoint.load(KEPT / f"{name}.pt").history
    assert vaelab.load(run).epoch in (2, 3)


def test_a_kept_checkpoint_of_an_older_format_becomes_the_best_in_todays(
    train: CommandLine, run: Path
) -> None:
    folder = run / "checkpoints"
    for path in folder.iterdir():
        path.unlink()
    content = torch.load(KEPT / "format_1_mlp.pt", weights_only=True)
    content |= {"best_epoch": 1, "best_neg_elbo": 0.0}  # which no later epoch beats
    for key in ("val/loss", "val/neg_elbo"):
        content["history"][0][key] = 0.0
    torch.save(content, folder / "last.pt")
    torch.save(content | {"epoch": 1, "history": content["history"][:1]}, folder / "epoch_0001.pt")
    result = train("resume=run", "epochs=3")
    assert result.returncode == 0, result.stderr
    best = checkpoint.load(folder / "best.safetensors")
    assert (best.format, best.epoch) == (checkpoint.FORMAT, 1)


def test_a_newer_format_says_to_upgrade(run: Path, tmp_path: Path) -> None:
    rewrite(run / "checkpoints" / "best.safetensors", lambda content: content.update(format=99, vaelab="9.0"))
    assert "was written by vaelab 9.0 in a newer format: upgrade vaelab to read it." in refusal(
        run / "checkpoints" / "best.safetensors"
    )
