"""Training that starts with the weights of a checkpoint."""

from __future__ import annotations

import csv
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness import TINY, UNDRAWN, CommandLine, fresh, rewrite, run_folder, run_json, settings
from training_helpers import SMALL, few
from vaelab.config import Config
from vaelab.data.splits import Data
from vaelab.evaluation.runs import find
from vaelab.training import checkpoint
from vaelab.training.checkpoint import CheckpointError
from vaelab.training.initial_weights import InitialWeights
from vaelab.training.loop import fit
from vaelab.training.state import TrainingState

FOUR_UNITS = (*TINY, *UNDRAWN, "model.hidden=[4]")


def saved(state: TrainingState, config: Config, data: Data, folder: Path) -> InitialWeights:
    path = folder / "checkpoint.safetensors"
    path.write_bytes(checkpoint.encode(checkpoint.content_of(state, config, data)))
    return InitialWeights.at(path)


def check(weights: InitialWeights, config: Config, data: Data) -> None:
    weights.check(config, data.spec.image_shape, data.labelled_classes)


@pytest.mark.parametrize("averaged", ["0", "0.9"])
@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_all_weights_are_those_that_were_scored_and_nothing_else_is_taken(
    model: str, averaged: str, data: Data, tmp_path: Path
) -> None:
    common, data = (*TINY, f"model={model}", SMALL[model], "loss.likelihood=gaussian"), few(data)
    before = settings(*common, "epochs=1", f"optimizer.weight_average={averaged}")
    source = fresh(before, data)
    fit(source, data, before)
    weights = saved(source, before, data, tmp_path)
    config = settings(*common, "loss=iwae", "optimizer.weight_average=0.5")
    state = fresh(config, data)
    check(weights, config, data)
    weights.copy_to(state)
    assert state.average is not None
    for ours, theirs in [
        *zip(state.average, source.evaluated, strict=True),
        (state.model, source.evaluated[0]),
    ]:
        for (name, weight), expected in zip(
            ours.state_dict().items(), theirs.state_dict().values(), strict=True
        ):
            assert torch.equal(weight, expected), name
    assert "likelihood.log_variance" in state.objective.state_dict()
    assert (state.epoch, state.step, state.history, state.optimizer.state) == (0, 0, [], {})


def test_what_older_versions_did_not_record_has_its_default(data: Data, tmp_path: Path) -> None:
    config = settings(*FOUR_UNITS)
    weights = saved(fresh(config, data), config, data, tmp_path)
    rewrite(
        weights.path, lambda content: [content["config"]["model"].pop(key) for key in ("conditional", "activation")]
    )  # fmt: skip
    check(InitialWeights.at(weights.path), config, data)
    with pytest.raises(
        CheckpointError, match=r"has model.activation=relu, and this run has model.activation=tanh"
    ):
        check(InitialWeights.at(weights.path), settings(*FOUR_UNITS, "model.activation=tanh"), data)


def test_the_prior_of_the_classes_is_that_of_the_new_images(data: Data, tmp_path: Path) -> None:
    config = settings(*FOUR_UNITS, "model.conditional=true")
    source, state = fresh(config, data), fresh(config, data)
    own = state.model.class_prior.clone()
    source.model.class_prior.copy_(torch.tensor([0.125, 0.875]))
    saved(source, config, data, tmp_path).copy_to(state)
    assert torch.equal(state.model.class_prior, own)


@pytest.mark.parametrize(
    ("override", "needed"),
    [
        ("model.hidden=[5]", "model.hidden=[4]"),
        ("model=conv", "model=mlp"),
        ("loss.likelihood=gaussian", "loss.likelihood=bernoulli"),
        ("model.conditional=true", "model.conditional=false"),
    ],
)
def test_weights_of_another_model_are_refused(override: str, needed: str, data: Data, trained: Path) -> None:
    with pytest.raises(CheckpointError) as refused:
        check(
            InitialWeights.at(trained),
            settings(*(TINY if override == "model=conv" else FOUR_UNITS), override),
            data,
        )
    assert f"has {needed}, and this run has {override}: type {needed}, or another checkpoint." in str(
        refused.value
    )


def test_images_that_the_weights_were_trained_on_are_named(data: Data, trained: Path) -> None:
    weights = InitialWeights.at(trained)
    fewer, same, more = (settings(*FOUR_UNITS, f"dataset.val_size={size}") for size in (7000, 7500, 8000))
    assert weights.seen(fewer, data) == weights.seen(same, data) == ""
    assert "validation images: type dataset.val_size=7500" in weights.seen(more, data)
    other_split = settings(*FOUR_UNITS, "dataset.split_seed=1")
    assert "test images: type dataset.split_seed=0" in weights.seen(other_split, data)
    after = replace(weights, saved=weights.saved.model_copy(update={"initial_weights": weights.facts}))
    rewritten = after.saved.config | {"dataset": more.dataset.to_dict()}
    of_a_later_run = replace(after, saved=after.saved.model_copy(update={"config": rewritten}))
    assert of_a_later_run.seen(same, data) == ""
    assert of_a_later_run.seen(more, data) == weights.seen(more, data)


def losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row["val/neg_elbo"]) for row in csv.DictReader(file)]


def test_a_resumed_run_needs_its_initial_weights_no_more(
    train: CommandLine, run: Path, tmp_path: Path
) -> None:
    command = (*FOUR_UNITS, "loss=iwae", "initial_weights=run")
    whole = tmp_path / run_folder(train(*command, "epochs=2", "hydra.run.dir=whole"))
    result = train(*command, "epochs=1", "hydra.run.dir=part")
    part = tmp_path / run_folder(result)
    last = run / "checkpoints" / "last.safetensors"
    assert f"Training starts with the weights of {last}, epoch 2\n" in result.stderr
    digest = hashlib.sha256(last.read_bytes()).hexdigest()
    before = losses(run)
    assert losses(part)[0] < before[-1] < before[0]
    (part / "run.json").write_text("{")  # which is written again from the checkpoint
    shutil.rmtree(run)
    run_folder(train(f"resume={part}", "epochs=2"))
    for folder in (whole, part):
        facts = run_json(folder)
        (before_it,) = facts["initial_weights"].pop("trained_on")
        assert before_it["dataset"]["val_size"] == 7500
        assert facts["initial_weights"] == {"checkpoint": str(last), "epoch": 2, "sha256": digest}
    left, right = (checkpoint.load(each / "checkpoints" / "last.safetensors") for each in (whole, part))
    assert all(map(torch.equal, left.model.values(), right.model.values()))


def test_a_sweep_compares_runs_by_their_initial_weights_and_knows_when_these_have_changed(
    train: CommandLine, run: Path, tmp_path: Path
) -> None:
    line = ("-m", *FOUR_UNITS, "epochs=1", "hydra.sweep.dir=sweep", "hydra.callbacks.compare.enabled=false")
    weights = "initial_weights=null,run/last"
    assert train(*line, weights).returncode == 0
    (family,) = find(tmp_path / "sweep").families
    assert [model.label for model in family.models] == [
        "random weights",
        "weights of run/last",
    ]
    assert train(*line, weights).stderr.count("is finished already") == 2
    shutil.copy(run / "checkpoints" / "epoch_0001.safetensors", run / "checkpoints" / "last.safetensors")
    again = train(*line, weights)
    assert again.returncode == 1
    assert f"holds a run that started with other weights than {run / 'last'} has now" in again.stderr
    repeated = train("repeat=sweep/1_initial_weights-run-last", "--cfg", "job")
    assert "has other weights than that run started with" in repeated.stderr


@pytest.mark.parametrize(
    ("given", "beginning"),
    [
        ("nowhere", "{here}/nowhere does not exist. "),
        ("run", "initial_weights=run/checkpoints/last.safetensors has model.latent_dim=2, "),
    ],
)
@pytest.mark.parametrize("several", [(), ("-m",)])
def test_a_checkpoint_that_cannot_be_used_is_named_before_anything_is_trained(
    several: tuple[str, ...], given: str, beginning: str, train: CommandLine, run: Path, tmp_path: Path
) -> None:
    line = (*several, *FOUR_UNITS, "model.latent_dim=3", f"initial_weights={given}")
    result = train(*line)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1
    assert line.startswith(f"vaelab: {beginning.format(here=tmp_path)}")
    assert [*tmp_path.iterdir()] == [run]
