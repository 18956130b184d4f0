"""What goes wrong for real: kill -9 at any moment, full and vanishing disks, two processes at one run."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from conftest import TINY, CommandLine, SmallDisk, command_line_of, environment, once, run_folder
from test_command_line import assert_same_run, run_json, start, wait_for
from vaelab.config import quote_override
from vaelab.runs.files import held
from vaelab.training import checkpoint

SHORT = (
    *TINY, "artifacts.zip=true", "artifacts.checkpoint_every=1", "artifacts.gif_every_batches=5", "artifacts.figures=false",
    "epochs=2", "batch_size=32",
)  # fmt: skip
"""A short run with images, animation, checkpoints and zip."""

KILLED = -signal.SIGKILL

Undisturbed = tuple[Path, list[str], int, float]
"""A run that nothing disturbs, its command, its changes to files, and the seconds that it took."""

ONE_MODEL = pytest.mark.parametrize("undisturbed", ["mlp"], indirect=True)


def opens(path: Path) -> None:
    """Read a file to its end, by what it is."""
    if path.suffix == ".safetensors":
        checkpoint.load(path)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".csv":
        with path.open(newline="") as file:
            assert len({len(row) for row in csv.reader(file)}) == 1
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            assert dict(arrays)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    elif path.suffix in (".png", ".gif"):
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                frame.load()
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")
    else:
        path.read_bytes()


def assert_every_file_opens(folder: Path) -> None:
    """But for what is hidden: those are a killed process's leftovers, and a lock."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            opens(path)


def packed(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return sorted(name.partition("/")[2] for name in archive.namelist())


def assert_equal_to(undisturbed: Path, run: Path) -> None:
    """Bit for bit in weights, rows and images; all the rest is there too, and nothing else."""
    assert run_json(run)["status"] == "finished"
    assert_same_run(undisturbed, run)
    # Of a process that was killed in its very last moment, the lock's files are left, unlocked.
    files = [
        sorted(str(path.relative_to(each)) for path in each.rglob("*") if not path.name.startswith(".lock"))
        for each in (undisturbed, run)
    ]
    assert files[0] == files[1]
    assert packed(undisturbed.with_suffix(".zip")) == packed(run.with_suffix(".zip"))
    assert [path.name for path in run.parent.iterdir() if path.name.startswith(f".{run.name}")] == []
    assert_every_file_opens(run)


def continue_run(train: CommandLine, run: Path, command: Sequence[str], **going_wrong: Any) -> int:
    """Start the command, or resume its run once there is one; its exit status."""
    resume, begin = quote_override("resume", run.name), [*command, quote_override("hydra.run.dir", run.name)]
    line = [resume] if (run / "run.json").exists() else begin
    result = train(*line, going_wrong=going_wrong)
    assert result.returncode in (0, KILLED), result.stderr
    return result.returncode


# --- kill -9 ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", params=["mlp", "conv"])
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    command = [*SHORT, f"model={request.param}"]

    def make(folder: Path) -> tuple[int, float]:
        count = folder / "count"
        started = time.monotonic()
        result = command_line_of("vaelab.train", folder)(
            *command, "hydra.run.dir=run", going_wrong={"fault": {"count_into": str(count)}}
        )
        assert result.returncode == 0, result.stderr
        return int(count.read_text()), time.monotonic() - started

    folder, (changes, seconds) = once(tmp_path_factory, f"undisturbed-{request.param}", make)
    return folder / "run", command, changes, seconds


def killed_and_resumed(
    train: CommandLine,
    tmp_path: Path,
    undisturbed: Undisturbed,
    moments: Sequence[Any],
) -> int:
    """Kill a run at the first moment, its resumption at the next, …; then to the end. How often it was killed."""
    reference, command, _, _ = undisturbed
    run = tmp_path / "run (1)"  # a name that has to be quoted
    for leftover in tmp_path.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    kills = 0
    for moment in moments:
        if (run / "run.json").exists() and run_json(run)["status"] == "finished":
            break
        kills += continue_run(train, run, command, **moment) == KILLED
        assert_every_file_opens(tmp_path)
    if not (run / "run.json").exists() or run_json(run)["status"] != "finished":
        assert continue_run(train, run, command) == 0
    assert_equal_to(reference, run)
    return kills


def random_moments(seed: int, seconds: float) -> list[dict[str, Any]]:
    """One to three moments to kill at, uniform over the time that a run takes."""
    drawn = random.Random(seed)
    return [{"signals": [[drawn.uniform(0.2, seconds), signal.SIGKILL]]} for _ in range(1 + seed % 3)]


@pytest.mark.parametrize("seed", [1])
def test_killed_at_random_moments_equals_never_killed(
    train: CommandLine, tmp_path: Path, undisturbed: Undisturbed, seed: int
) -> None:
    killed_and_resumed(train, tmp_path, undisturbed, random_moments(seed, undisturbed[3]))


@pytest.mark.parametrize("half", range(2))
def test_killed_before_a_change_to_a_file_equals_never_killed(
    train: CommandLine, tmp_path: Path, undisturbed: Undisturbed, half: int
) -> None:
    """A moment in each half of the run, and in its resumption."""
    _, _, changes, _ = undisturbed
    at = 1 + (half * changes + random.Random(half).randrange(changes)) // 2
    assert killed_and_resumed(train, tmp_path, undisturbed, [{"fault": {"do": "kill", "at": at}}] * 2) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("tenth", range(10))
def test_killed_at_a_hundred_random_moments(
    train: CommandLine, tmp_path: Path, undisturbed: Undisturbed, tenth: int
) -> None:
    kills = 0
    for seed in range(100 + 10 * tenth, 110 + 10 * tenth):
        kills += killed_and_resumed(train, tmp_path, undisturbed, random_moments(seed, undisturbed[3]))
    print(f"killed {kills} times")


@pytest.mark.slow
@pytest.mark.parametrize("tenth", range(10))
def test_killed_before_every_change_to_a_file(
    train: CommandLine, tmp_path: Path, undisturbed: Undisturbed, tenth: int
) -> None:
    for at in range(1 + tenth, undisturbed[2] + 1, 10):
        assert killed_and_resumed(train, tmp_path, undisturbed, [{"fault": {"do": "kill", "at": at}}]) == 1


@pytest.mark.parametrize("file", ["checkpoints/.last.safetensors", "/.metrics.csv"])
def test_killed_while_going_back_to_an_older_checkpoint(
    train: CommandLine, tmp_path: Path, file: str
) -> None:
    """Either nothing has happened, or resuming ends as if the later epochs had never been."""
    line = (*TINY, "artifacts.checkpoint_every=1", "artifacts.figures=false", "artifacts.zip=true")
    for name, epochs in (("run", 3), ("short", 2)):
        run_folder(train(*line, f"epochs={epochs}", f"hydra.run.dir={name}"))
    fault = {"do": "kill", "opening": file, "time": 1}
    killed = train("resume=run/checkpoints/epoch_0001.safetensors", "epochs=2", going_wrong={"fault": fault})
    assert killed.returncode == KILLED
    if file == "checkpoints/.last.safetensors":
        assert (tmp_path / "run" / "samples" / "epoch_0003.png").exists()
        again = train("resume=run/checkpoints/epoch_0001.safetensors", "epochs=2")
    else:
        again = train("resume=run", "epochs=2")
    assert again.returncode == 0, again.stderr
    assert_equal_to(tmp_path / "short", tmp_path / "run")


def test_a_signal_before_the_last_figures_is_not_lost(train: CommandLine, tmp_path: Path) -> None:
    """A run whose epochs are all done, killed while it drew, is resumed and signalled at once."""
    fault = {"do": "kill", "opening": "/.latent_evolution.gif", "time": 1}
    assert train(*SHORT, "hydra.run.dir=run", going_wrong={"fault": fault}).returncode == KILLED
    script = """
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
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 128 + signal.SIGTERM, result.stderr
    assert run_json(tmp_path / "run")["status"] == "interrupted"
    assert not (tmp_path / "run" / "figures" / "latent_evolution.gif").exists()


def test_an_unforeseen_error_is_shown_whole_and_the_run_is_marked(tmp_path: Path) -> None:
    script = """
import sys
from vaelab.train import main
from vaelab.training.callbacks import LogEpochs
LogEpochs.on_epoch = lambda self, state: 1 / 0
sys.argv[1:] = ["experiment=smoke", "model.hidden=[4]", "hydra.run.dir=run"]
main()
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 1
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert run_json(tmp_path / "run")["status"] == "failed"
    assert run_json(tmp_path / "run")["error"] == "ZeroDivisionError: division by zero"


def test_what_a_run_has_left_is_not_mixed_with_another(
    train: CommandLine, tmp_path: Path, finished: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    result = train(*TINY, "epochs=1", "hydra.run.dir=run")
    assert (result.returncode, result.stderr) == (
        1, "vaelab: run holds files of a run, but no run.json: type another folder.\n"
    )  # fmt: skip


def test_a_job_that_finds_its_folder_in_use_leaves_the_log_alone(train: CommandLine, tmp_path: Path) -> None:
    job = tmp_path / "sweep" / "0_seed-1"
    with held(job):
        (job / "train.log").write_text("of another process\n")
        result = train(
            "-m",
            *TINY,
            "epochs=1",
            "artifacts.every=0",
            "artifacts.gif=false",
            "artifacts.figures=false",
            "seed=1,2",
            "hydra.sweep.dir=sweep",
            "hydra.callbacks.compare.enabled=false",
        )
        assert result.returncode == 1
        assert "0_seed-1 failed: sweep/0_seed-1 is in use by process" in result.stderr.replace(
            f"{tmp_path}/", ""
        )
        assert (job / "train.log").read_text() == "of another process\n"


def test_every_file_opens_at_every_moment(tmp_path: Path) -> None:
    """While a run continues, another process reads all its files, over and over."""
    process = start(tmp_path, *SHORT, "epochs=4", "artifacts.report=true", "hydra.run.dir=run")
    looks = 0
    while process.poll() is None:
        for path in (tmp_path / "run").rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                opens(path)
        looks += 1
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert looks > 20


def test_a_killed_evaluation_that_is_repeated_equals_one_that_was_not(tmp_path: Path, finished: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    evaluate, count = command_line_of("vaelab.evaluate", tmp_path), tmp_path / "count"
    arguments = ("checkpoint=run", "metrics.samples=false", "nll_images=10", "importance_samples=10")
    evaluate(*arguments, "output=whole", going_wrong={"fault": {"count_into": str(count)}})
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.png")}
    assert len(expected) > 8
    changes = int(count.read_text())
    killed = evaluate(*arguments, going_wrong={"fault": {"do": "kill", "at": changes // 2}})
    assert killed.returncode == KILLED
    assert_every_file_opens(run)
    assert evaluate(*arguments).returncode == 0
    folder = run / "evaluation" / "best"
    assert {path.name: path.read_bytes() for path in folder.glob("*.png")} == expected
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_killed_comparison_that_is_repeated_equals_one_that_was_not(tmp_path: Path, finished: Path) -> None:
    compare, count = command_line_of("vaelab.compare", tmp_path), tmp_path / "count"
    for sweep in ("whole", "killed"):
        shutil.copytree(finished, tmp_path / sweep / "run")
    result = compare("sweep=whole", going_wrong={"fault": {"count_into": str(count)}})
    assert result.returncode == 0, result.stderr
    changes = int(count.read_text())
    killed = compare("sweep=killed", going_wrong={"fault": {"do": "kill", "at": changes // 2}})
    assert killed.returncode == KILLED
    assert_every_file_opens(tmp_path / "killed")
    assert compare("sweep=killed").returncode == 0
    whole, again = (tmp_path / sweep / "comparison" for sweep in ("whole", "killed"))
    assert sorted(path.name for path in whole.iterdir()) == sorted(path.name for path in again.iterdir())
    for path in [*whole.glob("*.png"), *whole.glob("*.gif"), *whole.glob("*.csv")]:
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be copied."""

    def make(folder: Path) -> None:
        train = command_line_of("vaelab.train", folder)
        run_folder(
            train(*TINY, "artifacts.every=0", "artifacts.figures=false", "epochs=2", "hydra.run.dir=run")
        )

    folder, _ = once(tmp_path_factory, "finished", make)
    return folder / "run"


# --- disks ------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(mounted: SmallDisk) -> SmallDisk:
    """An empty disk of 60 MB."""
    for path in mounted.seen.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return mounted


FULL = [("checkpoints/.last.safetensors", 2), ("/.metrics.csv", 2)]
FULL_TOO = [
    ("checkpoints/.last.safetensors", 1), ("samples/.epoch_0002.png", 1), ("checkpoints/.best.safetensors", 2), ("frames/.step_", 3), ("/.run.json", 1), ("/.run.json", 3),
    ("/.latent_evolution.gif", 1), ("/.run.zip", 1), (".lock.json", 1),
]  # fmt: skip


@ONE_MODEL
@pytest.mark.parametrize(
    ("file", "time"), [*FULL, *(pytest.param(*each, marks=pytest.mark.slow) for each in FULL_TOO)]
)
def test_a_full_disk_is_named_and_the_run_continues_when_there_is_room(
    disk: SmallDisk, tmp_path: Path, undisturbed: Undisturbed, file: str, time: int
) -> None:
    """No byte is left when a certain file is about to be written."""
    reference, command, _, _ = undisturbed
    fault = {"do": "fill", "opening": file, "time": time, "where": str(disk.where)}
    result = disk.train(*command, "hydra.run.dir=run", fault=fault)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert f"can't be written: the disk at {disk.where} (62.9 MB) is full. Free some space there." in last
    assert_every_file_opens(disk.seen)
    (disk.seen / "filler").unlink()
    if (disk.seen / "run" / "run.json").exists():
        assert last.endswith("then continue with: python -m vaelab.train resume=run")
        assert run_json(disk.seen / "run")["status"] in ("failed", "running")
        result = disk.train("resume=run")
    else:
        assert last.endswith("Nothing is kept of this run.") or file == ".lock.json"
        result = disk.train(*command, "hydra.run.dir=run")
    assert result.returncode == 0, result.stderr
    run = Path(shutil.copytree(disk.seen / "run", tmp_path / "run"))
    shutil.copy(disk.seen / "run.zip", tmp_path)
    assert_equal_to(reference, run)


def test_a_disk_that_is_full_for_tensorboard(disk: SmallDisk) -> None:
    fault = {"do": "fill", "opening": "tfevents", "time": 1, "where": str(disk.where)}
    result = disk.train(*SHORT, "logger=tensorboard", "hydra.run.dir=run", fault=fault)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert re.search(r"run/\S+ can't be written: the disk at \S+ \(62.9 MB\) is full\.", last), last
    assert last.endswith("then continue with: python -m vaelab.train resume=run")


def test_a_disk_that_is_read_only(disk: SmallDisk) -> None:
    disk.remount("ro")
    result = disk.train(*TINY, "hydra.run.dir=run")
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1), result.stderr
    assert "read-only" in result.stderr.lower()
    disk.remount("rw")
    assert disk.train(*TINY, "epochs=1", "hydra.run.dir=run").returncode == 0
    disk.remount("ro")
    result = disk.train("resume=run", "epochs=2")
    disk.remount("rw")
    assert (result.returncode, result.stderr) == (
        1,
        f"vaelab: run can't be written: the disk at {disk.where} is read-only. Type another folder.\n",
    )


@pytest.mark.parametrize("file", ["/.metrics.csv", "checkpoints/.last.safetensors"])
def test_a_run_folder_that_is_deleted_while_training_is_not_recreated(
    train: CommandLine, tmp_path: Path, file: str
) -> None:
    fault = {
        "do": "delete",
        "opening": file,
        "time": 2 if "last" in file else 1,
        "where": str(tmp_path / "run"),
    }
    result = train(*SHORT, "hydra.run.dir=run", going_wrong={"fault": fault})
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert " was deleted or moved. Nothing is kept of this run." in result.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


# --- two processes ----------------------------------------------------------------------------------------


@ONE_MODEL
def test_of_two_processes_at_one_run_one_works_and_the_other_says_who_holds_it(
    train: CommandLine, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    reference, command, _, _ = undisturbed
    run = tmp_path / "run"
    first = start(tmp_path, *command, "hydra.run.dir=run")
    wait_for(run, "checkpoints/epoch_0001.safetensors", first)
    first.send_signal(signal.SIGSTOP)  # else it may end before the others start
    holder = rf"vaelab: run is in use by process {first.pid} on \S+ \(since [\d-]+ [\d:]+\): wait until it has ended, or end it\.\n"
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
    assert sorted(status for _, _, status in ends) == [0, 1, 1]
    for _, stderr, status in ends:
        if status:
            assert re.match(r"vaelab: (run is in use by |The run is finished: )", stderr), stderr
            assert len(stderr.splitlines()) == 1
    assert run_json(tmp_path / "run")["epochs"] == {"done": 8, "total": 8}


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


@ONE_MODEL
@pytest.mark.parametrize(
    "moment", [1, 3, pytest.param(0, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
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
            assert run_json(run)["status"] == "interrupted"
            assert "To continue: python -m vaelab.train resume=run" in result.stderr
        continue_run(train, run, command)
    assert_equal_to(reference, run)


@pytest.mark.parametrize(("command", "number"), [
    ("compare sweep=.", signal.SIGINT), ("explore run=run", signal.SIGTERM), ("export run=run", signal.SIGINT),
    ("evaluate checkpoint=run", signal.SIGTERM), ("compare sweep=.", signal.SIGTERM),
])  # fmt: skip
def test_a_signal_during_the_other_commands(
    tmp_path: Path, finished: Path, command: str, number: int
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    module, *arguments = command.split()
    command_line = command_line_of(f"vaelab.{module}", tmp_path)
    for seconds in (0.8, 1.5):  # after the imports
        result = command_line(*arguments, going_wrong={"signals": [[seconds, number]]})
        assert "Traceback" not in result.stderr, result.stderr
        assert result.returncode in (0, 128 + number), result.stderr
        assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_in_a_sweep_saves_the_job_and_says_how_to_continue(
    train: CommandLine, tmp_path: Path, number: int
) -> None:
    line = (
        "-m",
        *TINY,
        "epochs=400",
        "seed=1,2",
        "artifacts.every=0",
        "artifacts.figures=false",
        "hydra.sweep.dir=sweep",
    )
    process = start(tmp_path, *line)
    wait_for(tmp_path / "sweep", "0_seed-1/metrics.csv", process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert stderr.splitlines()[-1].endswith(
        f"To continue the sweep, add hydra.sweep.dir={tmp_path}/sweep to the line."
    ) or stderr.splitlines()[-1].endswith("To continue the sweep, add hydra.sweep.dir=sweep to the line."), (
        stderr
    )
    assert "Traceback" not in stderr
    assert run_json(tmp_path / "sweep" / "0_seed-1")["status"] == "interrupted"
    assert not (tmp_path / "sweep" / "1_seed-2").exists()
    assert [path.name for path in tmp_path.rglob(".*")] == [".trainings"]
