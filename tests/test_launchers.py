"""Other launchers and sweepers: joblib, and searches by Optuna."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException
from joblib import cpu_count

from harness import (
    REPOSITORY,
    TABLE_ONLY,
    TINY,
    UNDRAWN,
    CommandLine,
    environment,
    run_folder,
    run_json,
    status,
)
from interpreter_state import main
from sweep_helpers import QUICK, UNDRAWN_SWEEP, jobs, last_row
from vaelab.cli.messages import one_line
from vaelab.cli.search import continuing
from vaelab.config import Config, ConfigError

UNTIL_EXIT = {"until_exit": True}


def test_a_launcher_that_is_not_installed_names_its_extra() -> None:
    error = MissingConfigException(
        "In 'hydra/launcher/slurm': Could not load 'hydra/launcher/submitit_slurm'.",
        missing_cfg_file="hydra/launcher/submitit_slurm",
    )
    said = one_line(error, Config)
    assert said.startswith("hydra/launcher=slurm needs ")
    assert said.endswith("type pip install 'vaelab[slurm]'.")


# --- other launchers and sweepers -------------------------------------------------------------------------


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has no threads to split")
def test_joblib_runs_jobs_side_by_side_and_splits_the_threads(train: CommandLine, tmp_path: Path) -> None:
    """The processes of the jobs import the libraries themselves; the sweep's process has them already."""
    joblib = ("hydra/launcher=parallel", "hydra.launcher.n_jobs=2")
    result = train(
        "-m", *UNDRAWN_SWEEP, "seed=1,2", *joblib, "hydra.sweep.dir=sweep", going_wrong=UNTIL_EXIT, OMP_NUM_THREADS=None
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    run_folder(train(*QUICK, "artifacts.gif=false", "seed=2", "hydra.run.dir=alone"))
    folder = tmp_path / "sweep"
    threads = [run_json(run)["device"]["threads"] for run in (folder / "0_seed-1", folder / "1_seed-2")]
    assert threads == [max(1, cpu_count() // 2)] * 2
    for name in ("val/neg_elbo", "train/loss"):
        expected = float(last_row(tmp_path / "alone")[name])
        assert float(last_row(folder / "1_seed-2")[name]) == pytest.approx(expected, rel=1e-3)
    assert "1, 2" in (folder / "comparison" / "comparison.md").read_text()


@pytest.mark.slow
@pytest.mark.hydra
def test_a_job_that_fails_in_another_process_is_named(train: CommandLine) -> None:
    result = train("-m", *UNDRAWN_SWEEP, "beta=1e39,1", "hydra/launcher=parallel", "hydra.sweep.dir=sweep")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith(" failed: 0_beta-1e+39.")


@pytest.mark.hydra
@pytest.mark.filterwarnings("default")
def test_optuna_minimises_the_validation_neg_elbo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two learning rates, one of which hardly moves the weights."""
    monkeypatch.chdir(tmp_path)
    main(
        "train", "-m", *UNDRAWN_SWEEP, "hydra/sweeper=search", "hydra.sweeper.n_trials=4",
        "optimizer.lr=1e-6,1e-2", "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert all(re.fullmatch(r"\d_optimizer.lr-(1e-06|0.01)", job) for job in jobs(tmp_path / "sweep"))
    best = (tmp_path / "sweep" / "optimization_results.yaml").read_text()
    assert "optimizer.lr: 0.01" in best
    assert len(list((tmp_path / "sweep").rglob("run.json"))) == 2  # what repeats another is not trained again
    values = [float(last_row(path.parent)["val/neg_elbo"]) for path in (tmp_path / "sweep").rglob("run.json")]
    assert f"best_value: {min(values)}" in best


@pytest.mark.filterwarnings("default")
def test_the_search_of_the_readme_draws_learning_rates_from_its_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (REPOSITORY / "conf" / "README.md").read_text()
    (line,) = re.findall(r"`(-m hydra/sweeper=search [^`]+)`", readme)
    monkeypatch.chdir(tmp_path)
    main("train", *shlex.split(line), *UNDRAWN_SWEEP, "hydra.sweeper.n_trials=1", "hydra.sweep.dir=sweep")
    results = (tmp_path / "sweep" / "optimization_results.yaml").read_text()
    (rate,) = re.findall(r"optimizer\.lr: (\S+)", results)
    assert 1e-4 <= float(rate) <= 1e-2


@pytest.mark.slow
def test_a_trial_that_fails_does_not_end_the_search(train: CommandLine, tmp_path: Path) -> None:
    result = train(
        "-m", *UNDRAWN_SWEEP, "hydra/sweeper=search", "hydra.sweeper.n_trials=4", "beta=1e39,1",
        "hydra.sweep.dir=sweep", PYTHONWARNINGS="default",
    )  # fmt: skip
    assert result.returncode == 1
    (failed,) = (job for job in jobs(tmp_path / "sweep") if "1e+39" in job)
    assert result.stderr.splitlines()[-1].endswith(f" failed: {failed}.")
    assert "beta: 1" in (tmp_path / "sweep" / "optimization_results.yaml").read_text()
    assert (tmp_path / "sweep" / "comparison" / "comparison.md").exists()


@pytest.mark.slow
def test_a_search_of_which_every_trial_fails_says_so(train: CommandLine) -> None:
    result = train(
        "-m", *UNDRAWN_SWEEP, "hydra/sweeper=search", "hydra.sweeper.n_trials=1", "beta=1e39,2e39",
        "hydra.sweep.dir=sweep", PYTHONWARNINGS="default",
    )  # fmt: skip
    assert result.returncode == 1
    assert re.search(r" failed: 0_beta-[12]e\+39\.$", result.stderr.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.hydra
def test_a_killed_search_continues_from_its_storage(train: CommandLine, tmp_path: Path) -> None:
    line = (
        "-m", *TINY, *UNDRAWN, *TABLE_ONLY, "epochs=8", "hydra/sweeper=search",
        "hydra.sweeper.n_trials=3", "hydra.sweep.dir=sweep", "optimizer.lr=interval(0.0001,0.01)",
        "hydra.sweeper.storage=sqlite:///search.db", "hydra.sweeper.study_name=mine",
    )  # fmt: skip
    env = environment(VAELAB_DATA=str(tmp_path / "no-data"), PYTHONWARNINGS="default")
    process = subprocess.Popen([sys.executable, "-m", "vaelab.train", *line], cwd=tmp_path, env=env)
    while process.poll() is None and not any(tmp_path.glob("sweep/1_*/metrics.csv")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = jobs(tmp_path / "sweep")
    assert [status(tmp_path / "sweep" / job) for job in before] == ["finished", "running"]
    result = train(*line, PYTHONWARNINGS="default")
    assert result.returncode == 0, result.stderr
    after = jobs(tmp_path / "sweep")
    assert {*before} < {*after}
    assert [status(tmp_path / "sweep" / job) for job in after] == ["finished"] * 3
    values = [float(last_row(path.parent)["val/neg_elbo"]) for path in tmp_path.glob("sweep/*/run.json")]
    assert f"best_value: {min(values)}" in (tmp_path / "sweep" / "optimization_results.yaml").read_text()


@pytest.mark.hydra
@pytest.mark.parametrize("folder", ["", "new"])
@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.filterwarnings("default")
def test_a_search_is_completed_not_started_again(tmp_path: Path, folder: str, grid: bool) -> None:
    """Optuna's grid tries again by itself; in a new folder, another process may be at the trials without a value."""
    import optuna  # with SQLAlchemy's warnings
    from optuna.trial import TrialState

    storage = f"sqlite:///{tmp_path}/search.db"
    study = optuna.create_study(study_name="mine", storage=storage)
    for state, value in ((TrialState.COMPLETE, 5.0), (TrialState.FAIL, None), (None, None)):
        trial = study.ask()
        trial.suggest_float("lr", 0, 1)
        if state is not None:
            study.tell(trial, value, state)
    sampler = {"_target_": "optuna.samplers.GridSampler"} if grid else {"seed": 42}
    sweeper = {"storage": storage, "study_name": "mine", "n_trials": 4, "sampler": sampler}
    again = 0 if grid or folder else 2
    for trials in (3, 3 + again):  # the second time, none more is to be tried again
        seed = [] if grid else [f"hydra.sweeper.sampler.seed={42 + trials}"]
        assert continuing(sweeper, tmp_path / folder) == ["hydra.sweeper.n_trials=3", *seed]
    states = [trial.state for trial in optuna.load_study(study_name="mine", storage=storage).trials]
    running = TrialState.FAIL if again else TrialState.RUNNING
    assert states == [TrialState.COMPLETE, TrialState.FAIL, running, *[TrialState.WAITING] * again]
    assert continuing({**sweeper, "n_trials": 1}, tmp_path / "new")[0] == "hydra.sweeper.n_trials=0"
    assert continuing({**sweeper, "study_name": "other"}, tmp_path) == []
    assert continuing({**sweeper, "storage": None}, tmp_path) == []


@pytest.mark.filterwarnings("default")
def test_a_storage_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    for storage in ("s.db", f"sqlite:///{tmp_path}/nowhere/s.db", 42):
        said = rf"^hydra\.sweeper\.storage must be .*, got {re.escape(str(storage))}\. The error was: "
        with pytest.raises(ConfigError, match=said):
            continuing({"storage": storage, "study_name": "x"}, tmp_path)
    with pytest.raises(ConfigError, match=re.escape("type hydra.sweeper.study_name=NAME as well.")):
        continuing({"storage": "sqlite:///s.db", "study_name": None}, tmp_path)


@pytest.mark.slow
def test_a_search_space_that_optuna_refuses_is_a_failure(train: CommandLine) -> None:
    result = train(
        "-m", *UNDRAWN_SWEEP, "hydra/sweeper=search", "hydra/sweeper/sampler=grid", "optimizer.lr=interval(0.01,0.1)",
        "hydra.sweep.dir=sweep", PYTHONWARNINGS="default",
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("vaelab: The sweep did not start: ")
