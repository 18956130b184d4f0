"""Checkpoint files: damaged ones are refused, and those of every earlier format keep loading."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import vaelab
from evaluation_helpers import only
from harness import CommandLine, command_line_of, rewrite, run_json
from vaelab import VaelabError
from vaelab.runs.random_streams import stream
from vaelab.training import checkpoint

KEPT = Path(__file__).parent / "checkpoints"
"""Checkpoints as each format wrote them, and what they say of themselves; written once, never again."""


def refusal(path: Path) -> str:
    with pytest.raises(VaelabError) as error:
        vaelab.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_checkpoint_is_a_safetensors_file_that_explains_itself(run: Path) -> None:
    with safe_open(run / "checkpoints" / "best.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["json"])
        names = set(file.keys())
    assert (facts["format"], facts["epoch"], facts["config"]["seed"]) == (checkpoint.FORMAT, 2, 42)
    assert {name.split(".")[0] for name in names} == {"model", "optimizer", "random", "training"}
    assert {"optimizer.0.exp_avg", "random.latent", "random.pixels", "training.step_terms"} <= names


def test_a_truncated_checkpoint_is_refused_and_the_newest_good_one_named(run: Path) -> None:
    path = run / "checkpoints" / "last.safetensors"
    whole = path.read_bytes()
    for part in range(50):
        path.write_bytes(whole[: part * len(whole) // 50])
        assert f"{run}/checkpoints/best.safetensors (epoch 2): type that path" in refusal(path)
    path.write_bytes(whole[:-1])
    assert "damaged" in refusal(path)


def test_a_checkpoint_with_a_flipped_bit_is_refused(run: Path) -> None:
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


def test_every_command_names_the_newest_good_checkpoint(
    run: Path, tmp_path: Path, train: CommandLine
) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        path = run / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:-200])
    better = "The newest good one in the same folder is run/checkpoints/epoch_0002.safetensors (epoch 2): type that path."
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
    assert "last.safetensors can't be read" in compared.stdout
    result = train("resume=run/checkpoints/epoch_0002.safetensors", "epochs=3")
    assert result.returncode == 0, result.stderr
    assert checkpoint.load(run / "checkpoints" / "last.safetensors").epoch == 3
    assert checkpoint.load(run / "checkpoints" / "best.safetensors").epoch in (2, 3)


def test_a_run_without_a_good_checkpoint_is_reported(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"epoch,train/loss\n1,2.0\n")
    assert "train again" in refusal(tmp_path / "x.safetensors")


CONTENTS = [pytest.param(each, marks=pytest.mark.slow) for each in (b"\xff\xfe\0", b"", b"{}", b"a,b\n1,x\n")]


@pytest.mark.parametrize("content", [b"[1", *CONTENTS])
def test_a_damaged_run_json_is_written_again_by_resuming(
    run: Path, train: CommandLine, evaluate: CommandLine, tmp_path: Path, content: bytes
) -> None:
    before = run_json(run)
    (run / "run.json").write_bytes(content)
    said = "run/run.json is damaged: python -m vaelab.train resume=run restores it."
    compared = command_line_of("vaelab.compare", tmp_path)("sweep=.", "figures=false", "evaluate=false")
    assert f"Not compared: run: {said}\n" in compared.stdout
    assert "Traceback" not in compared.stderr
    evaluated = evaluate("checkpoint=run", *only("bound"))
    assert (evaluated.returncode, evaluated.stderr) == (0, f"WARNING: {said}\n")
    resumed = train("resume=run")
    assert resumed.returncode == 0, resumed.stderr
    assert "run/run.json was damaged" in resumed.stderr
    after = run_json(run)
    assert {key: after[key] for key in ("status", "data", "epochs", "best", "model")} == {
        key: before[key] for key in ("status", "data", "epochs", "best", "model")
    }


@pytest.mark.parametrize(
    "content",
    [None, pytest.param(b"[1", marks=pytest.mark.slow), *CONTENTS],
    ids=lambda content: str(content or "cut"),
)
def test_other_damaged_files_are_written_again_from_the_checkpoint(
    run: Path, evaluate: CommandLine, content: bytes | None
) -> None:
    whole = {path: path.read_bytes() for path in (run / "metrics.csv", run / "config.yaml")}
    for path in whole:
        path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    assert [row["epoch"] for row in vaelab.load(run).metrics] == [1, 2]
    evaluated = evaluate("checkpoint=run", *only("bound"))
    (line,) = evaluated.stderr.splitlines()
    assert evaluated.returncode == 0
    assert line.startswith("WARNING: ")
    assert line.endswith("last.safetensors: metrics.csv and config.yaml.")
    assert {path: path.read_bytes() for path in whole} == whole


# --- formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted(path for path in KEPT.iterdir() if path.suffix != ".json"), ids=lambda path: path.stem
)
def test_every_format_keeps_loading(path: Path) -> None:
    """To the same settings, epoch, rows and images: within 1e-4, which kernels and versions may differ by."""
    expected = json.loads(path.with_suffix(".json").read_text())
    if "conv" in path.stem:  # whose kernel was 4, before it was a setting
        expected["config"]["model"].setdefault("kernel", 4)
    run = vaelab.load(path)
    assert run.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    found = described(run)
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


@pytest.mark.parametrize("name", ["format_2_mlp", pytest.param("format_1_mlp", marks=pytest.mark.slow)])
def test_a_run_of_an_older_format_can_be_continued(
    train: CommandLine, run: Path, tmp_path: Path, name: str
) -> None:
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
    content["best_epoch"] = 1
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
