"""Signals, and several processes at one run or sweep."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest

from faults_helpers import (
    KILLED,
    SHORT,
    Undisturbed,
    assert_equal_to,
    continue_run,
)
from harness import TINY, UNDRAWN, CommandLine, command_line_of, run_json, status
from vaelab.runs.files import held
from whole_runs import start, wait_for


def test_a_signal_before_the_last_figures_is_not_lost(train: CommandLine, tmp_path: Path) -> None:
    """A run whose epochs are all done, killed while it drew, is resumed and signalled at once."""
    fault = {"do": "kill", "opening": "/.latent_evolution.gif", "time": 1}
    line = (*SHORT, "model.hidden=[8]", "hydra.run.dir=run")
    assert train(*line, going_wrong={"fault": fault}).returncode == KILLED
    (tmp_path / "job.py").write_text("""
import os, signal, sys
from vaelab.train import main
from vaelab.training import session
begin = session.TrainingRun.begin
def begin_and_be_told(self):
    begin(self)
    os.kill(os.getpid(), signal.SIGTERM)
session.TrainingRun.begin = begin_and_be_told
sys.argv[1:] = ["resume=run"]
main()
""")
    result = command_line_of("job", tmp_path)()
    assert result.returncode == 128 + signal.SIGTERM, result.stderr
    assert status(tmp_path / "run") == "interrupted"
    assert not (tmp_path / "run" / "figures" / "latent_evolution.gif").exists()


def test_an_unforeseen_error_is_shown_whole_and_the_run_is_marked(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("""
import sys
from vaelab.train import main
from vaelab.training.callbacks import LogEpochs
LogEpochs.on_epoch = lambda self, state: 1 / 0
sys.argv[1:] = ["experiment=smoke", "model.hidden=[4]", "hydra.run.dir=run"]
main()
""")
    result = command_line_of("job", tmp_path)()
    assert result.returncode == 1
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert status(tmp_path / "run") == "failed"
    assert run_json(tmp_path / "run")["error"] == "ZeroDivisionError: division by zero"


def test_what_a_run_has_left_is_not_mixed_with_another(
    train: CommandLine, tmp_path: Path, finished: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    result = train(*TINY, "epochs=1", "hydra.run.dir=run")
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1
    assert line.startswith("vaelab: run has files of a run")
    assert line.endswith("type another hydra.run.dir.")


def test_a_job_that_finds_its_folder_in_use_leaves_the_log_alone(train: CommandLine, tmp_path: Path) -> None:
    job = tmp_path / "sweep" / "0_seed-1"
    with held(job):
        (job / "train.log").write_text("of another process\n")
        result = train(
            "-m",
            *TINY,
            *UNDRAWN,
            "model.hidden=[4]",
            "epochs=1",
            "seed=1,2",
            "hydra.sweep.dir=sweep",
            "hydra.callbacks.compare.enabled=false",
        )
        assert result.returncode == 1
        assert "0_seed-1 is in use by process" in result.stderr
        assert (job / "train.log").read_text() == "of another process\n"


# --- two processes ----------------------------------------------------------------------------------------


def test_of_two_processes_at_one_run_one_works_and_the_other_says_who_holds_it(
    train: CommandLine, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    reference, command, _, _ = undisturbed
    run = tmp_path / "run"
    first = start(tmp_path, *command, "hydra.run.dir=run")
    wait_for(run, "checkpoints/epoch_0001.safetensors", first)
    first.send_signal(signal.SIGSTOP)  # else it may end before the others start
    holder = rf"vaelab: run is in use by process {first.pid} on \S+ \(since [\d-]+ [\d:]+\): wait for that process to end, or end it\.\n"
    try:
        seconds = [train(*line) for line in (["resume=run"], [*command, "hydra.run.dir=run"])]
    finally:
        first.send_signal(signal.SIGCONT)
    for second in seconds:
        assert second.returncode == 1
        assert re.fullmatch(holder, second.stderr), second.stderr
    _, stderr = first.communicate(timeout=60)
    assert first.returncode == 0, stderr
    assert_equal_to(reference, run)


@pytest.mark.slow
def test_of_processes_that_resume_one_run_at_once_one_does(tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    processes = [start(tmp_path, "resume=run", "epochs=8") for _ in range(3)]
    ends = [(*process.communicate(timeout=200), process.returncode) for process in processes]
    assert sorted(code for _, _, code in ends) == [0, 1, 1]
    for _, stderr, code in ends:
        if code:
            assert re.match(r"vaelab: (run is in use by |The run is finished: )", stderr), stderr
            assert len(stderr.splitlines()) == 1
    assert run_json(tmp_path / "run")["epochs"] == {"done": 8, "total": 8}


@pytest.mark.slow
def test_two_processes_that_run_one_sweep_share_its_jobs(tmp_path: Path) -> None:
    line = ("-m", *TINY, "epochs=12", "seed=1,2", "artifacts.every=0", "artifacts.figures=false", "hydra.sweep.dir=sweep",
            "hydra.callbacks.compare.enabled=false")  # fmt: skip
    first = start(tmp_path, *line)
    wait_for(tmp_path / "sweep", "0_seed-1/run.json", first)
    second = command_line_of("vaelab.train", tmp_path)(*line)
    _, stderr = first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), stderr + second.stderr
    assert "sweep/0_seed-1 is finished already" in second.stderr
    for job in ("0_seed-1", "1_seed-2"):
        facts = run_json(tmp_path / "sweep" / job)
        assert (facts["status"], len(facts["sessions"])) == ("finished", 1)


# --- signals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moment", [3, *(pytest.param(moment, marks=pytest.mark.slow) for moment in (0, 1, 2))]
)
def test_a_signal_at_any_moment_leaves_nothing_incomplete(
    train: CommandLine, tmp_path: Path, undisturbed: Undisturbed, moment: int
) -> None:
    """Before the first step, in an epoch, while drawing, while packing: and the resumed run ends as if undisturbed."""
    reference, command, _, seconds = undisturbed
    number = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[moment % 3]
    run = tmp_path / "run"
    result = train(
        *command, "hydra.run.dir=run", going_wrong={"signals": [[(0.8 + moment) * seconds / 5, number]]}
    )
    assert "Traceback" not in result.stderr
    if result.returncode:
        assert result.returncode == 128 + number
        assert not list(tmp_path.rglob(".*"))
        if (run / "run.json").exists():
            assert status(run) == "interrupted"
            assert "To continue: python -m vaelab.train resume=run" in result.stderr
        continue_run(train, run, command)
    assert_equal_to(reference, run)


@pytest.mark.parametrize(("command", "number"), [
    ("compare sweep=.", signal.SIGINT), ("explore run=run", signal.SIGTERM), ("evaluate checkpoint=run", signal.SIGTERM),
])  # fmt: skip
def test_a_signal_ends_the_other_commands_and_leaves_nothing_incomplete(
    tmp_path: Path, finished: Path, command: str, number: signal.Signals
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    module, *arguments = command.split()
    command_line = command_line_of(f"vaelab.{module}", tmp_path)
    fault = {"do": number.name, "at": 4}  # while its second file is made
    result = command_line(*arguments, going_wrong={"fault": fault})
    assert "Traceback" not in result.stderr, result.stderr
    assert result.returncode == 128 + number, result.stderr
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_in_a_sweep_saves_the_job_and_says_how_to_continue(
    train: CommandLine, tmp_path: Path, number: signal.Signals
) -> None:
    line = ("-m", *TINY, *UNDRAWN, "epochs=400", "seed=1,2", "hydra.sweep.dir=sweep")
    fault = {"do": number.name, "opening": "0_seed-1/.metrics.csv", "time": 2}
    result = train(*line, going_wrong={"fault": fault})
    stderr = result.stderr
    assert result.returncode == 128 + number
    last = stderr.splitlines()[-1].replace(f"{tmp_path}/", "")
    assert last.endswith("To continue the sweep, add hydra.sweep.dir=sweep to the command."), stderr
    assert "Traceback" not in stderr
    assert status(tmp_path / "sweep" / "0_seed-1") == "interrupted"
    assert not (tmp_path / "sweep" / "1_seed-2").exists()
    assert [path.name for path in tmp_path.rglob(".*")] == [".trainings"]
