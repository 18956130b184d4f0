"""Files that someone planted in a run folder: refused in one line, and nothing in them runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import vaelab
from evaluation_helpers import only
from harness import CommandLine, command_line_of, encoded, environment, rewrite
from vaelab import VaelabError
from vaelab.training import checkpoint
from vaelab.training.checkpoint import Checkpoint


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


@pytest.mark.parametrize(
    "plant",
    ["a pickle", *(pytest.param(plant, marks=pytest.mark.slow) for plant in PLANTS if plant != "a pickle")],
)
def test_a_command_refuses_a_planted_file_in_one_line_and_runs_nothing(
    run: Path, tmp_path: Path, plant: str
) -> None:
    """For the other files, the next test loads them as commands do."""
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


LOADING = """
import json, pathlib, resource, sys, vaelab
vaelab.load("run/checkpoints/best.safetensors")
before, said = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, {}
for path in sorted(pathlib.Path("planted").iterdir()):
    try:
        vaelab.load(path)
    except vaelab.VaelabError as error:
        said[str(path)] = str(error)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"said": said, "grown": grown * (1 if sys.platform == "darwin" else 1024)}))
"""


def test_planted_files_are_refused_in_one_line_run_nothing_and_take_little_memory(
    run: Path, tmp_path: Path
) -> None:
    """The largest size that a process ever had, against one that looks at a good file."""
    good = checkpoint.load(run / "checkpoints" / "best.safetensors")
    (tmp_path / "planted").mkdir()
    for plant, content in PLANTS.items():
        suffixes = (".pt", ".safetensors") if "pickle" in plant else (".safetensors",)
        for suffix in suffixes:
            (tmp_path / "planted" / f"{plant}{suffix}").write_bytes(content(good))
    before = sorted(tmp_path.rglob("*"))
    result = subprocess.run(
        [sys.executable, "-c", LOADING], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert sorted(found["said"]) == [
        str(path.relative_to(tmp_path)) for path in sorted((tmp_path / "planted").iterdir())
    ]
    for path, message in found["said"].items():
        assert message.startswith(f"{path} "), message
        assert "\n" not in message
    assert found["grown"] < 200e6
    assert sorted(tmp_path.rglob("*")) == before  # nothing was executed, and nothing written


INCONSISTENT = "run/checkpoints/last.safetensors is damaged: its metadata and tensors are inconsistent"


@pytest.mark.parametrize("lie", [
    {"history": [1]}, {"history": []}, {"random": {}}, {"data": {}}, {"epoch": -5}, {"epoch": 3}, {"best_epoch": 77},
    {"step": 10**9}, {"step": -1}, {"step_terms": torch.zeros(1)}, {"best_epoch": -1},
    {"history": [{"epoch": 1, "val/neg_elbo": None}, {"epoch": 2}]},
], ids=str)  # fmt: skip
def test_inconsistent_content_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: dict[str, Any]
) -> None:
    rewrite(run / "checkpoints" / "last.safetensors", lambda content: content.update(lie))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VaelabError) as error:
        vaelab.load("run/checkpoints/last.safetensors")
    assert str(error.value).startswith(INCONSISTENT)


def test_a_run_of_inconsistent_content_is_not_resumed(run: Path, train: CommandLine) -> None:
    rewrite(run / "checkpoints" / "last.safetensors", lambda content: content.update(epoch=3))
    before = (run / "run.json").read_bytes()
    result = train("resume=run", "epochs=3")
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1
    assert line.startswith(f"vaelab: {INCONSISTENT}")
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
    result = command_line_of("vaelab.evaluate", tmp_path)("checkpoint=run", *only("bound"))
    assert result.returncode == 0, result.stderr
    assert not list((tmp_path / "precious").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"precious", "run"}
