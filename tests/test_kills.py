"""Killed at any moment and resumed equals never killed."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from evaluation_helpers import only
from faults_helpers import (
    KILLED,
    SHORT,
    Undisturbed,
    assert_equal_to,
    assert_every_file_opens,
    continue_run,
)
from harness import TINY, CommandLine, command_line_of, run_folder, status


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
        if (run / "run.json").exists() and status(run) == "finished":
            break
        kills += continue_run(train, run, command, **moment) == KILLED
        assert_every_file_opens(tmp_path)
    if not (run / "run.json").exists() or status(run) != "finished":
        assert continue_run(train, run, command) == 0
    assert_equal_to(reference, run)
    return kills


def random_moments(seed: int, seconds: float) -> list[dict[str, Any]]:
    """One to three moments to kill at, uniform over the time that a run takes."""
    drawn = random.Random(seed)
    return [{"signals": [[drawn.uniform(0.2, seconds), signal.SIGKILL]]} for _ in range(1 + seed % 3)]


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
def test_killed_at_random_moments_equals_never_killed(
    train: CommandLine, tmp_path: Path, undisturbed: Undisturbed, tenth: int
) -> None:
    seeds = range(100 + 10 * tenth, 110 + 10 * tenth)
    moments = [random_moments(seed, undisturbed[3]) for seed in seeds]
    kills = sum(killed_and_resumed(train, tmp_path, undisturbed, each) for each in moments)
    assert kills >= 1, "some of these moments are within the run"


@pytest.mark.slow
@pytest.mark.parametrize("tenth", range(10))
def test_killed_before_any_change_to_a_file_equals_never_killed(
    train: CommandLine, tmp_path: Path, undisturbed: Undisturbed, tenth: int
) -> None:
    for at in range(1 + tenth, undisturbed[2] + 1, 10):
        assert killed_and_resumed(train, tmp_path, undisturbed, [{"fault": {"do": "kill", "at": at}}]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("file", ["checkpoints/.last.safetensors", "/.metrics.csv"])
def test_killed_while_going_back_to_an_older_checkpoint_equals_never_killed(
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


def test_every_file_opens_at_every_moment(train: CommandLine, tmp_path: Path) -> None:
    """While a run continues, another process reads all its files, over and over."""
    line = (*SHORT, "model.hidden=[8]", "artifacts.report=true", "hydra.run.dir=run")
    looks = 0
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train, *line)
        while not training.done():
            if (tmp_path / "run").exists():
                assert_every_file_opens(tmp_path / "run")
                looks += 1
            time.sleep(0.02)
    run_folder(training.result())
    assert looks >= 3


def test_a_killed_evaluation_that_is_repeated_equals_one_that_was_not(tmp_path: Path, finished: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    evaluate, count = command_line_of("vaelab.evaluate", tmp_path), tmp_path / "count"
    arguments = ("checkpoint=run", *only("bound", figures=True))
    evaluate(*arguments, "output=whole", going_wrong={"fault": {"count_into": str(count)}})
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.png")}
    assert len(expected) > 4
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
    result = compare("sweep=whole", "evaluate=false", going_wrong={"fault": {"count_into": str(count)}})
    assert result.returncode == 0, result.stderr
    changes = int(count.read_text())
    fault = {"do": "kill", "at": changes // 2}
    killed = compare("sweep=killed", "evaluate=false", going_wrong={"fault": fault})
    assert killed.returncode == KILLED
    assert_every_file_opens(tmp_path / "killed")
    assert compare("sweep=killed", "evaluate=false").returncode == 0
    whole, again = (tmp_path / sweep / "comparison" for sweep in ("whole", "killed"))
    assert sorted(path.name for path in whole.iterdir()) == sorted(path.name for path in again.iterdir())
    for path in [*whole.glob("*.png"), *whole.glob("*.gif"), *whole.glob("*.csv")]:
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
