"""Training that starts with the weights of a checkpoint."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from harness import TINY, CommandLine, fresh, run_folder, settings
from vaelab.data.splits import Data
from vaelab.training import checkpoint
from vaelab.training.checkpoint import CheckpointError
from vaelab.training.loop import fit

QUICK = (*TINY, "model.hidden=[4]", "artifacts.every=0", "artifacts.figures=false", "artifacts.gif=false")


@pytest.mark.parametrize("averaged", ["0", "0.9"])
def test_all_weights_are_those_that_were_scored_and_nothing_else_is_taken(
    averaged: str, data: Data, tmp_path: Path
) -> None:
    average = f"optimizer.weight_average={averaged}"
    before = settings(*QUICK, "loss.likelihood=gaussian", "epochs=1", average)
    source = fresh(before, data)
    fit(source, data, before)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(checkpoint.encode(checkpoint.content_of(source, before, data)))

    config = settings(*QUICK, "loss=iwae", "loss.likelihood=gaussian", "optimizer.weight_average=0.5")
    state = fresh(config, data)
    facts = checkpoint.start_from(path, state, config)
    assert facts == {
        "checkpoint": str(path), "epoch": 1, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()
    }  # fmt: skip
    assert state.average is not None
    scored = source.evaluated
    for model, objective in (state.average, (state.model, state.objective)):
        for name, weight in model.named_parameters():
            assert torch.equal(weight, scored[0].get_parameter(name)), name
        for name, weight in objective.named_parameters():
            assert torch.equal(weight, scored[1].get_parameter(name)), name
        assert [*dict(objective.named_parameters())] == ["likelihood.log_variance"]
    assert (state.epoch, state.step, state.history, state.optimizer.state) == (0, 0, [], {})


def test_the_prior_of_the_classes_is_that_of_the_new_images(data: Data, tmp_path: Path) -> None:
    config = settings(*QUICK, "model.conditional=true")
    source, state = fresh(config, data), fresh(config, data)
    own = state.model.class_prior.clone()
    source.model.class_prior.copy_(torch.tensor([0.125, 0.875]))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(checkpoint.encode(checkpoint.content_of(source, config, data)))
    checkpoint.start_from(path, state, config)
    assert torch.equal(state.model.class_prior, own)


@pytest.mark.parametrize(("override", "message"), [
    ("model.hidden=[5]", r"has model \{name:mlp,.*hidden:\[4\].* and this run has .*hidden:\[5\]"),
    ("loss.likelihood=gaussian", "has loss.likelihood bernoulli, and this run has gaussian"),
    ("model.conditional=true", "conditional:false.* and this run has .*conditional:true"),
])  # fmt: skip
def test_weights_of_another_model_are_refused(override: str, message: str, data: Data, trained: Path) -> None:
    config = settings(*QUICK, override)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.start_from(trained, fresh(config, data), config)


def test_a_resumed_run_needs_its_initial_weights_no_more(
    train: CommandLine, run: Path, tmp_path: Path
) -> None:
    command = (*QUICK, "loss=iwae", f"initial_weights={run}")
    whole = tmp_path / run_folder(train(*command, "epochs=2", "hydra.run.dir=whole"))
    result = train(*command, "epochs=1", "hydra.run.dir=part")
    part = tmp_path / run_folder(result)
    last = run / "checkpoints" / "last.safetensors"
    assert f"Training starts with the weights of {last}, epoch 2\n" in result.stderr
    digest = hashlib.sha256(last.read_bytes()).hexdigest()
    shutil.rmtree(run)
    run_folder(train(f"resume={part}", "epochs=2"))
    for folder in (whole, part):
        facts = json.loads((folder / "run.json").read_text())
        assert facts["initial_weights"] == {"checkpoint": str(last), "epoch": 2, "sha256": digest}
    left, right = (checkpoint.load(each / "checkpoints" / "last.safetensors") for each in (whole, part))
    assert all(map(torch.equal, left.model.values(), right.model.values()))


def test_a_checkpoint_that_is_not_there_is_named_before_anything_is_trained(
    train: CommandLine, tmp_path: Path
) -> None:
    advice = "does not exist. Type the path of a run folder or of a checkpoint in it."
    for arguments in ([], ["-m"]):
        result = train(*arguments, *QUICK, "initial_weights=nowhere")
        assert (result.returncode, result.stderr) == (1, f"vaelab: nowhere {advice}\n")
    assert [*tmp_path.iterdir()] == []
