"""Trackers on this machine alone: what the readers of Weights & Biases and MLflow find, with TensorBoard beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import ONE_EPOCH, TINY, UNDRAWN, command_line_of, run_folder, status
from vaelab.cli import api
from vaelab.config import ConfigError, VaelabError
from vaelab.runs.folder import RunFolder
from vaelab.training.loggers import loggers


def test_trackers_have_settings_epochs_figures_and_status_and_go_on_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("tensorboard", "wandb"):
        pytest.importorskip(each)
    mlflow = pytest.importorskip("mlflow")
    train = command_line_of("vaelab.train", tmp_path)
    undrawn = (*TINY, *UNDRAWN)
    first = train(*undrawn, "epochs=1", "beta=0.5", "logger=[tensorboard,wandb,mlflow]", "hydra.run.dir=run")
    folder = RunFolder(tmp_path / run_folder(first))
    assert all(
        "epoch " in line or "Trained" in line or "images" in line for line in first.stderr.splitlines()
    )
    run_folder(train("resume=run", "epochs=2", "artifacts.figures=true"))
    rows = folder.read_metrics()
    assert {path.name for path in tmp_path.iterdir()} == {"run"}  # nothing is written elsewhere

    assert [*(folder.path / "tensorboard").glob("events.out.tfevents.*")]
    offline = sorted((folder.path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(offline) == 2
    assert len({path.name for path in offline}) == 1  # one id
    for row, path, figures in zip(rows, offline, (0, 1), strict=True):
        content = path.read_bytes()
        assert b"val/neg_elbo" in content
        assert json.dumps(row["val/neg_elbo"]).encode() in content
        assert b"finished" in content
        assert len([*path.parent.glob("files/media/images/figures/loss_curves*.png")]) == figures

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient((folder.path / "mlruns").absolute().as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("vaelab").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert run.data.params["beta"] == "0.5"
    assert ("epochs" in run.data.params, run.data.tags["epochs"]) == (False, "2")  # a parameter can't change
    found = client.get_metric_history(run.info.run_id, "val/neg_elbo")
    assert [(each.step, each.value) for each in found] == [
        (row["epoch"], row["val/neg_elbo"]) for row in rows
    ]
    assert "figures/loss_curves.png" in {
        each.path for each in client.list_artifacts(run.info.run_id, "figures")
    }


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard"])
def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loggers.names()
    monkeypatch.setattr(f"vaelab.training.loggers.{name}.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"type pip install 'vaelab\[{name}\]'"):
        loggers.build(name, config=None, folder=None, examples=None, epoch=0)


def test_a_tracker_that_cannot_start_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    with pytest.raises(
        VaelabError,
        match=r"^logger=mlflow can't start: [^\n]+[^.]\. Type logger=none [^\n]+\Z",
    ):
        api.train(*ONE_EPOCH, f"hydra.run.dir={tmp_path / 'run'}", logger="mlflow")
    assert status(tmp_path / "run") == "failed"
