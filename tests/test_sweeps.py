"""Sweeps: each distinct training once, continued and extended grids, and what is refused before the first job."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

from faults_helpers import KILLED
from harness import TABLE_ONLY, CommandLine, command_line_of, run_json, settings, status
from sweep_helpers import GRID, JOBS, QUICK, UNDRAWN_SWEEP, jobs, swept_grid, table
from vaelab.cli.arguments import parse, prepare
from vaelab.cli.plan import planned
from vaelab.config import Config, VaelabError, resolve
from vaelab.config.base import read_yaml
from vaelab.evaluation.runs import label_of
from vaelab.runs.folder import natural
from vaelab.training.identity import training_digest
from whole_runs import assert_same_run

WITHOUT_COMPARISON = "hydra.callbacks.compare.enabled=false"


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    return swept_grid(tmp_path_factory)


@pytest.mark.hydra
def test_each_distinct_training_happens_once(swept: tuple[Path, Any]) -> None:
    folder, result = swept
    assert result.returncode == 0, result.stderr
    assert jobs(folder) == JOBS
    for repeated in ("3_beta-0.5_kl-false", "5_beta-1_kl-false"):
        assert f"{repeated} is the same training as 1_beta-0.1_kl-false\n" in result.stderr
    assert result.stdout.count("Run folder: ") == 4
    assert all(status(folder / job) == "finished" for job in jobs(folder))
    assert "run 1 of 6: beta=0.1 kl=true\n" in result.stderr
    typed = shlex.join(["python", "-m", "vaelab.train", "-m", *QUICK, *GRID, "hydra.sweep.dir=sweep"])
    facts = run_json(folder / JOBS[0])
    assert (facts["command"], facts["overrides"][-2:]) == (typed, ["beta=0.1", "kl=True"])


def test_what_has_no_effect_with_the_kl_off_makes_no_other_training() -> None:
    without, on = (
        {
            training_digest(settings(kl, *more, "epochs=2"))
            for more in ((), ("loss.warmup_epochs=1",), ("loss.free_bits=1",))
        }
        for kl in ("kl=false", "kl=true")
    )
    assert (len(without), len(on)) == (1, 3)
    assert not without & on


@pytest.mark.hydra
def test_a_larger_grid_trains_only_what_is_new(swept: tuple[Path, Any], tmp_path: Path) -> None:
    """Other numbers, in a copy without the hidden files."""
    folder = Path(shutil.copytree(swept[0], tmp_path / "sweep", ignore=shutil.ignore_patterns(".*")))
    before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    train = command_line_of("vaelab.train", tmp_path)
    again = train("-m", *QUICK, "beta=0.05,0.1,0.5", "kl=true,false", "hydra.sweep.dir=sweep", *TABLE_ONLY)
    assert again.returncode == 0, again.stderr
    assert jobs(folder) == sorted([*JOBS, "0_beta-0.05_kl-true"])
    assert again.stderr.count("is finished already") == 5
    assert {path: path.read_bytes() for path in before} == before
    assert len(table(folder)) == 5


@pytest.mark.hydra
def test_a_sweep_into_a_folder_with_other_settings_is_refused(
    swept: tuple[Path, Any], tmp_path: Path
) -> None:
    for job, name in zip(JOBS, ("0_kl-true", "1_kl-false"), strict=False):
        shutil.copytree(swept[0] / job, tmp_path / "sweep" / name)
    before = {path: path.read_bytes() for path in (tmp_path / "sweep").rglob("*.safetensors")}
    line = ("beta=0.1", "kl=true,false", "optimizer.lr=0.1", "hydra.sweep.dir=sweep", WITHOUT_COMPARISON)
    other = command_line_of("vaelab.train", tmp_path)("-m", *QUICK, *line)
    assert other.returncode == 1
    for name in ("0_kl-true", "1_kl-false"):
        assert f"sweep/{name} holds a run with other settings" in other.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "sweep").rglob("*.safetensors")} == before


STUDY = """# @package _global_
hydra:
  mode: MULTIRUN
  sweep:
    dir: sweep
    subdir: ${hydra.job.num}
  sweeper:
    params:
      seed: 1,2
"""


@pytest.mark.hydra
def test_a_yaml_may_name_the_folders_of_a_sweep_itself(train: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "study.yaml").write_text(STUDY)
    small = ("artifacts.gif=false", "model.hidden=[4]", "epochs=1", WITHOUT_COMPARISON)
    command = (*QUICK, *small, "--config-dir=mine", "experiment=study")
    result = train(*command)
    assert result.returncode == 0, result.stderr
    assert jobs(tmp_path / "sweep") == ["0", "1"]
    more = train(*command, "seed=1,2,3")
    assert more.returncode == 0, more.stderr
    assert [settings_in(tmp_path / "sweep" / job).seed for job in jobs(tmp_path / "sweep")] == [1, 2, 3]


def settings_in(run: Path) -> Config:
    return resolve(read_yaml(run / "config.yaml"), Config)


def test_a_killed_sweep_that_is_continued_equals_one_that_was_not(
    swept: tuple[Path, Any], train: CommandLine, tmp_path: Path
) -> None:
    """kill -9 in the middle of the second job, on a part of the grid."""
    line = ["-m", *QUICK, *TABLE_ONLY, "beta=0.1,0.5", "kl=true,false", "hydra.sweep.dir=sweep"]
    fault = {"do": "kill", "opening": f"{JOBS[1]}/latent/frames/.step_0000004"}
    assert train(*line, going_wrong={"fault": fault}).returncode == KILLED
    folder = tmp_path / "sweep"
    assert [status(folder / job) for job in jobs(folder)] == ["finished", "running"]
    result = train(*line)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("is finished already") == 2  # the first job, and the second one's repetition
    assert jobs(folder) == JOBS[:3]
    for job in JOBS[:3]:
        assert_same_run(swept[0] / job, folder / job)
    rows, whole = table(folder), table(swept[0])
    assert len(rows) == 3
    for row, same in zip(rows, whole, strict=False):
        assert {key: same[key] for key in row if row[key]} == {key: row[key] for key in row if row[key]}


# --- failures ---------------------------------------------------------------------------------------------


@pytest.mark.hydra
def test_one_failed_job_ends_neither_sweep_nor_comparison(train: CommandLine, tmp_path: Path) -> None:
    command = (
        "-m",
        *UNDRAWN_SWEEP,
        "model.hidden=[4]",
        "beta=1e39,1",
        "hydra.sweep.dir=sweep",
    )
    result = train(*command)
    assert result.returncode == 1
    folder, failed = tmp_path / "sweep", "0_beta-1e+39"
    assert result.stderr.splitlines()[-1] == f"vaelab: These jobs of the sweep failed: {failed}."
    assert status(folder / "1_beta-1") == "finished"
    assert status(folder / failed) == "failed"
    assert "The loss is not finite" in (folder / failed / "train.log").read_text()
    text = (folder / "comparison" / "comparison.md").read_text()
    assert "## Not compared\n" in text
    assert f"- {failed}: failed after epoch 0 of 2: The loss is not finite" in text
    rows = table(folder)
    assert [row["status"].split()[0] for row in rows] == ["finished", "failed"]
    assert "No evaluation on these images for 1 of 1 run (evaluate=false)" in text


WRONG_GRIDS = [
    ("beta=1,-1", "beta must be "),
    ("model=mlp,cnov", "Unknown model 'cnov'. "),
    ("loss.warmup_epochs=0,2", "loss.warmup_epochs=2 leaves no epoch "),
]


@pytest.mark.hydra
@pytest.mark.parametrize(("swept_over", "beginning"), WRONG_GRIDS, ids=[grid for grid, _ in WRONG_GRIDS])
def test_what_could_never_run_is_refused_before_the_first_job(
    train: CommandLine, tmp_path: Path, swept_over: str, beginning: str
) -> None:
    result = train("-m", *QUICK, swept_over, "hydra.sweep.dir=sweep")
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1
    assert line.startswith(f"vaelab: {beginning}")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.hydra
def test_a_search_never_chooses_by_the_test_images() -> None:
    line = ["-m", *QUICK, "dataset.val_size=0", "beta=1,2", "hydra/sweeper=search"]
    with pytest.raises(VaelabError, match=r"dataset\.val_size=0 .*: type dataset\.val_size=5000"):
        planned(prepare(line, "train", Config))


OF_A_SWEEP = [
    ("hydra: {sweeper: {params: {seed: '1,2', beta: 1}}}", "one at a time, as in -m experiment=b"),
    ("defaults: [override /hydra/launcher: parallel]", "hydra/launcher=parallel"),
    ("defaults: [override /hydra/sweeper: search]", "hydra/sweeper=search"),
    ("hydra: {sweep: {dir: there}}", "hydra.sweep.dir=there"),
    ("hydra: {callbacks: {compare: {enabled: false}}}", "hydra.callbacks.compare.enabled=false"),
]


@pytest.mark.hydra
@pytest.mark.parametrize(("text", "remedy"), [
    pytest.param(*each, id=each[0], marks=pytest.mark.slow if "sweeper: search" in each[0] or "dir" in each[0] else [])
    for each in OF_A_SWEEP
])  # fmt: skip
def test_what_holds_for_a_whole_sweep_is_not_one_of_several_values(
    tmp_path: Path, text: str, remedy: str
) -> None:
    (tmp_path / "experiment").mkdir()
    for name, content in {"a": "beta: 1", "b": text}.items():
        (tmp_path / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{content}\n")
    line = ["-m", f"--config-dir={tmp_path}", *QUICK]
    with pytest.raises(VaelabError) as error:
        planned(prepare([*line, "experiment=a,b"], "train", Config))
    assert str(error.value).startswith("experiment=b ")
    assert f": type {remedy}" in str(error.value)
    if not remedy.startswith("one at a time"):
        assert planned(prepare([*line, "experiment=a,b", remedy], "train", Config)) is not None
    assert planned(prepare([*line, "experiment=b", "seed=1,2"], "train", Config)) is not None


def test_settings_that_only_a_sweep_has_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert planned(prepare(["experiment=kl_ablation", "hydra.mode=RUN"], "train", Config)) is None
    assert capsys.readouterr().err == "WARNING: kl=false,true has no effect without -m.\n"
    one_of_them = ["experiment=iwae", "hydra.mode=RUN", "loss.importance_samples=50"]
    assert planned(prepare(one_of_them, "train", Config)) is None
    assert capsys.readouterr().err == ""


def test_hydras_settings_typed_at_their_defaults_make_the_same_sweep() -> None:
    line = ["-m", *QUICK, "beta=0.1,1", "hydra.sweep.dir=sweep"]
    typed = ["hydra.mode=null", "hydra.sweeper.params=null", "hydra.searchpath=[]", "hydra.job.chdir=false", "hydra/launcher=basic",
             "hydra/sweeper=basic", "hydra.job.config.override_dirname.exclude_keys=[device,dataset.root]", "experiment=null"]  # fmt: skip
    plain, same = (planned(prepare(each, "train", Config)) for each in (line, [*line, *typed]))
    assert plain is not None
    assert same is not None
    assert replace(same, overrides=[]) == replace(plain, overrides=[])
    not_in_names = [parse(each.overrides)[-1].value() for each in (plain, same)]
    ours, theirs = ([key for key in each if not key.startswith("hydra")] for each in not_in_names)  # type: ignore[union-attr]
    assert ours == theirs
    assert planned(prepare(["experiment=kl_ablation", *typed[:2]], "train", Config)) is not None


def test_planning_a_sweep_leaves_hydra_as_it_was(tmp_path: Path) -> None:
    before = HydraConfig.instance().cfg
    for line in (["seed=1,2"], ["seed=1,2", f"hydra.sweep.dir={tmp_path}/${{hydra:job.name}}"]):
        sweep = planned(prepare(["-m", *QUICK, *line], "train", Config))
        assert sweep is not None
        assert HydraConfig.instance().cfg is before
    assert sweep.folder == tmp_path / "train"


def test_a_sweep_is_not_continued_by_resume(train: CommandLine, tmp_path: Path) -> None:
    result = train("-m", *QUICK, "resume=run", "beta=1,2")
    assert (result.returncode, result.stderr) == (
        1,
        "vaelab: resume continues one run: leave -m out. To continue a sweep, repeat its command with hydra.sweep.dir=FOLDER.\n",
    )
    assert not list(tmp_path.iterdir())


# --- seeds, families, findings ----------------------------------------------------------------------------


def test_labels_have_no_more_digits_than_tell_models_apart() -> None:
    rates = [settings(f"optimizer.lr={rate}") for rate in ("0.00056115164", "0.001")]
    assert [label_of(config, ["optimizer.lr"]) for config in rates] == ["lr 0.0005612", "lr 0.001"]
    assert label_of(rates[0], ["optimizer.lr"], exact=True) == "lr 0.00056115164"
    assert label_of(settings("beta=0.30000001"), ["beta"], exact=True) == "beta 0.30000001"


def test_folders_sort_by_their_numbers() -> None:
    assert sorted(["10_b", "9_a", "2_c"], key=natural) == ["2_c", "9_a", "10_b"]


def test_the_same_training_counts_once(swept: tuple[Path, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "sweep"))
    shutil.copytree(folder / "1_beta-0.1_kl-false", folder / "9_kl-false")
    shutil.rmtree(folder / "0_beta-0.1_kl-true" / "evaluation")
    again = command_line_of("vaelab.compare", tmp_path)("sweep=sweep", "figures=false", "evaluate=false")
    assert again.returncode == 0, again.stderr
    assert [row["seeds"] for row in table(folder)] == ["42"] * 4
    assert "9_kl-false is the same training as 1_beta-0.1_kl-false" in again.stdout
