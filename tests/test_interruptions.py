"""Interrupted, diverging, extended and refused runs on the command line."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from harness import TINY, UNDRAWN, CommandLine, command_line_of, rewrite, run_folder, run_json, status
from vaelab.training import checkpoint
from whole_runs import TRAINING_FIGURES, assert_same_run


def test_a_second_run_in_the_same_folder_is_refused(run: Path, train: CommandLine, tmp_path: Path) -> None:
    folder = run.rename(tmp_path / "a b")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = train(*TINY, *UNDRAWN, "epochs=1", "hydra.run.dir=a b")
    assert result.returncode == 1
    assert result.stderr == (
        "vaelab: a b already holds a run: type resume='a b' to continue it, or another hydra.run.dir for a new one.\n"
    )
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_training_on_from_an_earlier_checkpoint_equals_never_having_gone_further(
    train: CommandLine, tmp_path: Path
) -> None:
    """What came later goes, and the end is that of a run that had never gone there."""
    small = ("model.hidden=[8]", "artifacts.figures=false", "artifacts.gif_every_batches=4")
    command = (*TINY, *small, "artifacts.checkpoint_every=1", "optimizer.lr=0.01")
    long = tmp_path / run_folder(train(*command, "epochs=3", "hydra.run.dir=long"))
    short = tmp_path / run_folder(train(*command, "epochs=2", "hydra.run.dir=short"))
    result = train("resume=long/checkpoints/epoch_0001.safetensors", "epochs=2")
    assert run_folder(result) == Path("long")
    assert "Going back to epoch 1: the files of later epochs are removed" in result.stderr
    assert_same_run(long, short)
    assert run_json(long)["best"] == run_json(short)["best"]


def test_ctrl_c_ends_at_the_next_step(train: CommandLine) -> None:
    fault = {"do": "SIGINT", "opening": "/latent/frames/.step_0000004"}
    frames = ("artifacts.every=0", "artifacts.figures=false", "artifacts.gif_every_batches=4")
    line = (*TINY, *frames, "model.hidden=[4]", "epochs=2", "hydra.run.dir=run")
    result = train(*line, going_wrong={"fault": fault})
    assert result.returncode == 128 + signal.SIGINT
    assert "Interrupted (SIGINT) after epoch 0, step 4" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.hydra
def test_extending_a_finished_run_equals_a_longer_one(train: CommandLine, tmp_path: Path) -> None:
    # Frames further apart in the longer one.
    command = (*TINY, "model.hidden=[8]", "batch_size=16", "artifacts.gif_every_batches=1")
    long = tmp_path / run_folder(train(*command, "epochs=3", "hydra.run.dir=long"))
    extended = tmp_path / run_folder(train(*command, "epochs=1", "hydra.run.dir=extended"))
    again = train("resume=extended")
    assert again.returncode == 1
    assert again.stderr == "vaelab: The run is finished: type epochs=2 or more to extend it.\n"
    refused = train("resume=extended", "beta=2")
    assert refused.returncode == 1
    assert refused.stderr.startswith("vaelab: beta can't change ")
    (
        extended / "checkpoints" / "best.safetensors"
    ).unlink()  # as if killed after last.safetensors was written and before best.safetensors
    run_folder(train("resume=extended/checkpoints/last.safetensors", "epochs=3"))
    assert_same_run(long, extended)
    sessions = run_json(extended)["sessions"]
    assert isinstance(sessions, list)
    assert [(each["from_epoch"], each["to_epoch"]) for each in sessions] == [(0, 1), (1, 3)]


def test_a_diverging_run_is_marked_and_names_the_last_good_weights(
    train: CommandLine, tmp_path: Path
) -> None:
    """The KL weight rises to a number that overflows fp32, in the second epoch."""
    rising = ("beta=6e38", "loss.warmup_epochs=2", "epochs=3")
    result = train(*TINY, *UNDRAWN, *rising, "optimizer.lr=1e-9", "hydra.run.dir=run")
    assert result.returncode == 1
    assert re.fullmatch(
        r"vaelab: The loss is not finite in epoch 2, step \d+ \(reconstruction \d+\.\d, kl \S+, kl_weight \S+e\+38\)\. "
        r"The last good weights are in run/checkpoints/last\.safetensors\. Lowering beta is the usual remedy\.",
        result.stderr.splitlines()[-1],
    )
    assert result.stderr.count("not finite") == 1
    facts = run_json(tmp_path / "run")
    assert facts["status"] == "failed"
    assert "not finite" in str(facts["error"])


def test_diverging_in_the_first_epoch_names_no_weights(train: CommandLine) -> None:
    result = train(*TINY, *UNDRAWN, "beta=1e39")
    assert result.returncode == 1
    assert "kl_weight 1e+39). No epoch was completed. Lowering beta is" in result.stderr


def test_few_images_of_a_class_still_make_every_figure(train: CommandLine, tmp_path: Path) -> None:
    """But for the manifold of a latent space in which all images are nearly the same."""
    result = train(
        "dataset.source=embedded", "dataset.classes=[7]", "dataset.val_size=9970", "epochs=1", "batch_size=2",
        "artifacts.mp4=false",
    )  # fmt: skip
    drawn = {path.name for path in (tmp_path / run_folder(result) / "figures").iterdir()}
    assert drawn == TRAINING_FIGURES - {"latent_manifold.png"}
    assert (
        "latent_manifold.png is left out: the posterior means of the test images are nearly" in result.stderr
    )


def test_an_interruption_never_saves_broken_weights(tmp_path: Path) -> None:
    """Weights that turn NaN between two looks at the loss, then SIGTERM: a failure, and last.safetensors stays good."""
    (tmp_path / "job.py").write_text(f"""
import math, os, signal, torch
from vaelab.train import main
from vaelab.training.callbacks import StopOnSignal
before = StopOnSignal.on_step
def on_step(self, state):
    if state.step == 3:
        with torch.no_grad():
            next(state.model.parameters()).fill_(math.nan)
        os.kill(os.getpid(), signal.SIGTERM)
    before(self, state)
StopOnSignal.on_step = on_step
import sys; sys.argv[1:] = {[*TINY, *UNDRAWN, "hydra.run.dir=run"]!r}
main()
""")
    result = command_line_of("job", tmp_path)()
    assert result.returncode == 1
    assert "The loss is not finite in epoch 1, step 3" in result.stderr
    assert status(tmp_path / "run") == "failed"
    weights = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.safetensors").model
    assert all(weight.isfinite().all() for weight in weights.values())


def test_an_epoch_that_starts_again_on_another_device_is_reported_and_spoils_no_checkpoint(
    run: Path, train: CommandLine
) -> None:
    """Where a run was interrupted on a GPU, here as far as a machine without one allows."""
    folder = run / "checkpoints"
    rewrite(folder / "last.safetensors", lambda content: content.update(step=1, device="cuda"))
    kept = (folder / "epoch_0002.safetensors").read_bytes()
    result = train("resume=run", "epochs=3")
    assert result.returncode == 0, result.stderr
    assert "WARNING: The run was interrupted on another kind of device (cuda)" in result.stderr
    assert "epoch 3 starts again, and the images of 1 step are trained on twice" in result.stderr
    assert (folder / "epoch_0002.safetensors").read_bytes() == kept
    assert checkpoint.load(folder / "last.safetensors").epoch == 3


def test_data_that_changed_under_a_run_is_refused(run: Path, train: CommandLine) -> None:
    path = run / "checkpoints" / "last.safetensors"
    rewrite(path, lambda content: content["data"]["sha256"].update({"train-images-idx3-ubyte": "0" * 64}))
    result = train("resume=run", "epochs=3")
    assert result.returncode == 1
    assert "trained on images other than" in result.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="no such signal here")
def test_what_a_launcher_does_at_its_signal_happens_when_all_is_saved(tmp_path: Path) -> None:
    """As submitit does before a time limit: its handler of SIGUSR2 puts the job back into the queue and exits."""
    (tmp_path / "job.py").write_text(
        f"""
import signal, sys
signal.signal(signal.SIGUSR2, lambda *_: (print("queued again"), sys.exit(3)))
sys.argv[1:] = {[*TINY, *UNDRAWN, "epochs=500", "hydra.run.dir=run"]!r}
from vaelab.train import main
main()
"""
    )
    fault = {"do": "SIGUSR2", "opening": "/.metrics.csv", "time": 2}
    result = command_line_of("job", tmp_path)(going_wrong={"fault": fault})
    assert (result.returncode, result.stdout) == (3, "queued again\n"), result.stderr
    facts = run_json(tmp_path / "run")
    assert (facts["status"], facts["signal"]) == ("interrupted", "SIGUSR2")
    saved = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert saved.epoch == facts["epochs"]["done"]
