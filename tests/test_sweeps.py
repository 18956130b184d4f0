"""Sweeps end to end: each training once, continued after any end, compared when the last job has ended."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import statistics
import struct
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException
from PIL import Image
from scipy import stats

from harness import TINY, CommandLine, command_line_of, environment, once, settings
from vaelab.cli.arguments import parse, prepare
from vaelab.cli.messages import one_line
from vaelab.cli.plan import Sweep, planned
from vaelab.cli.search import continuing
from vaelab.cli.sweep import end
from vaelab.comparison.compare import Comparison
from vaelab.comparison.figures import FamilyFigures
from vaelab.config import CompareConfig, Config, ConfigError, VaelabError, resolve
from vaelab.config.base import read_yaml
from vaelab.evaluation.runs import differing, distinct_slugs, distinct_titles, family_of, find, label_of
from vaelab.runs.folder import natural

QUICK = (*TINY, "epochs=2", "artifacts.every=0", "artifacts.figures=false", "artifacts.gif_every_batches=4")
WITHOUT_KL = ("kl=false", "loss.warmup_epochs=0,1", "loss.free_bits=0,1")
GRID = ("beta=0.1,0.5,1", "kl=true,false")
JOBS = ["0_beta-0.1_kl-true", "1_beta-0.1_kl-false", "2_beta-0.5_kl-true", "4_beta-1_kl-true"]
NO_FIGURES = (
    "artifacts.gif=false",
    "hydra.callbacks.compare.figures=false",
    "hydra.callbacks.compare.evaluate=false",
)

FIGURES = {
    "curves.png", "frozen_latents.png", "latent_evolution.gif", "latent_holes.png", "latent_spaces.png",
    "rate_distortion.png", "reconstructions.png", "samples.png",
}  # fmt: skip


def status(folder: Path) -> str:
    found: str = json.loads((folder / "run.json").read_text())["status"]
    return found


def table(folder: Path) -> list[dict[str, str]]:
    """comparison.csv without what measures time."""
    with (folder / "comparison" / "comparison.csv").open() as file:
        return [{key: row[key] for key in row if "seconds" not in key} for row in csv.DictReader(file)]


def last_row(run: Path) -> dict[str, str]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))[-1]


def jobs(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and path.name not in ("comparison", ".trainings")
    )


# --- the grid of the README -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    def make(folder: Path) -> subprocess.CompletedProcess[str]:
        return command_line_of("vaelab.train", folder)("-m", *QUICK, *GRID, "hydra.sweep.dir=sweep")

    folder, result = once(tmp_path_factory, "swept", make)
    return folder / "sweep", result


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
    facts = json.loads((folder / JOBS[0] / "run.json").read_text())
    assert (facts["command"], facts["overrides"][-2:]) == (typed, ["beta=0.1", "kl=True"])


def test_what_has_no_effect_with_the_kl_off_makes_no_other_training(
    train: CommandLine, tmp_path: Path
) -> None:
    result = train("-m", *QUICK, *NO_FIGURES, *WITHOUT_KL, "hydra.sweep.dir=sweep")
    assert result.returncode == 0, result.stderr
    assert len(jobs(tmp_path / "sweep")) == 1


def test_a_sweep_ends_with_its_comparison(swept: tuple[Path, Any]) -> None:
    folder, _ = swept
    made = {path.name for path in (folder / "comparison").iterdir()}
    assert made == {"comparison.csv", "comparison.md", "report.html", *FIGURES}
    for name in FIGURES:
        with Image.open(folder / "comparison" / name) as image:
            image.load()
            assert min(image.size) >= 250, name
    with Image.open(folder / "comparison" / "latent_evolution.gif") as animation:
        assert animation.n_frames >= 4
    rows = table(folder)
    assert [row["model"] for row in rows] == ["KL off", "beta 0.1", "beta 0.5", "beta 1"]
    assert [row["objective"] for row in rows] == ["recon_only", "beta_vae", "beta_vae", "vae"]
    for row, job in zip(rows, ("1_beta-0.1_kl-false", "0_beta-0.1_kl-true"), strict=False):
        assert float(row["val/neg_elbo"]) == float(last_row(folder / job)["val/neg_elbo"])
        evaluated = json.loads((folder / job / "evaluation" / "last" / "metrics.json").read_text())["numbers"]
        assert float(row["knn_accuracy"]) == evaluated["classes"]["knn_accuracy"]["posterior means"]["value"]
        assert (
            float(row["fid_fashion_mnist_cnn"])
            == evaluated["samples"]["fid_fashion_mnist_cnn"]["prior samples"]["value"]
        )
        assert row["fid_fashion_mnist_cnn_floor"]
        assert (row["val/kl_n"], row["val/kl_std"], row["val/kl_low"], row["val/kl_high"]) == (
            "1",
            "",
            "",
            "",
        )
    text = (folder / "comparison" / "comparison.md").read_text()
    assert "**Embedded subset: results are not comparable with those of the full set.**" in text
    assert text.count("Differences were not tested: a test needs two or more seeds of each model") == 1
    assert "t-test" not in text
    for name in FIGURES:
        assert f"![{name}]({name})" in text


def test_the_table_answers_each_aspect_with_measure_reference_and_verdict(
    swept: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, result = swept
    text = (folder / "comparison" / "comparison.md").read_text()
    _, _, *lines = text.split("\n|", 1)[1].split("\n\n")[0].splitlines()
    rows = {}
    for line in lines:
        first, *cells = (cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|")))
        assert len(cells) == 6  # four models, reference and verdict
        rows[first.split("<br>")[0].strip("*")] = cells
    assert [*rows] == [
        "final reconstruction ↓", "KL", "neg_elbo ↓", "sampling, generation ↓", "sharpness →", "diversity →",
        "cluster separation ↑", "latent space: continuity ↑", "latent space: distance from the prior ↓",
    ]  # fmt: skip
    untested = {
        "KL": "–",
        "sharpness →": "none: noise is sharp too",
        "latent space: distance from the prior ↓": "–",
    }
    assert all(cells[-1] == untested.get(name, "one seed each: not tested") for name, cells in rows.items())
    (row, *_), numbers = (
        table(folder),
        json.loads((folder / JOBS[1] / "evaluation" / "last" / "metrics.json").read_text())["numbers"],
    )
    missed = numbers["latent"]["prior_not_covered"]["model"]["value"]
    assert float(row["prior_covered_percent"]) == pytest.approx(100 * (1 - missed))
    assert rows["latent space: continuity ↑"][0] == f"{100 * (1 - missed):.1f}"
    pixels = numbers["classes"]["silhouette"]["grey pixels"]["value"]
    assert rows["cluster separation ↑"][-2] == f"{pixels:.3f} (grey pixels)"
    assert rows["sharpness →"][-2] == "1 (real images)"
    assert "<details><summary>Further numbers</summary>\n\n|" in text
    said = result.stdout[result.stdout.index("4 runs compared\n") :]
    assert max(map(len, said.splitlines())) <= 100
    assert "![" not in said
    for name, cells in rows.items():
        assert re.search(
            rf"^{re.escape(name.split(': ')[-1])}( \(\S+\))? +{re.escape(cells[0])} ", said, re.MULTILINE
        )


def test_the_share_of_holes_in_a_figure_is_that_of_the_evaluation(swept: tuple[Path, Any]) -> None:
    comparison = Comparison(CompareConfig(sweep=str(swept[0])))
    (family,) = comparison.found.families
    examples = {model.label: comparison.evaluated_model(model.members[0]).examples for model in family.models}
    titles = [axes.get_title(loc="left") for axes in FamilyFigures(family, examples).holes().axes]
    assert ["\n".join(title.splitlines()[:2]) for title in titles if title] == [
        f"{model.label}\n{100 * model.members[0].evaluation['numbers']['latent']['prior_not_covered']['model']['value']:.1f} % "
        "of prior draws in holes"
        for model in family.models
    ]  # fmt: skip


def test_comparing_again_evaluates_nothing_twice(swept: tuple[Path, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "sweep"))
    before = {path: path.read_bytes() for path in folder.rglob("metrics.json")}
    again = command_line_of("vaelab.compare", tmp_path)("sweep=sweep", "figures=false")
    assert again.returncode == 0, again.stderr
    assert table(folder) == table(swept[0])
    assert {path: path.read_bytes() for path in folder.rglob("metrics.json")} == before
    assert again.stdout.endswith("Comparison: sweep/comparison\n")


def test_a_comparison_tells_a_terminal_which_run_it_measures_and_what_it_draws(
    swept: tuple[Path, Any], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "sweep"))
    shutil.rmtree(folder / JOBS[0] / "evaluation")
    fcntl, termios = map(pytest.importorskip, ("fcntl", "termios"))
    terminal, its_end = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    line = [sys.executable, "-m", "vaelab.compare", "sweep=sweep"]
    process = subprocess.Popen(
        line, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=its_end
    )
    os.close(its_end)
    shown = b""
    with suppress(OSError):  # the end, on Linux
        while more := os.read(terminal, 65536):
            shown += more
    os.close(terminal)
    assert process.wait() == 0
    for doing in ("run 1 of 1, ", "prior samples", *map("drawing {}".format, FIGURES), "writing report.html"):
        assert doing in shown.decode(), doing


@pytest.mark.hydra
def test_a_finished_sweep_that_is_continued_trains_nothing(swept: tuple[Path, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "sweep"))
    before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    train = command_line_of("vaelab.train", tmp_path)
    again = train("-m", *QUICK, *GRID, "hydra.sweep.dir=sweep", "hydra.callbacks.compare.enabled=false")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("is finished already") == 6
    assert {path: path.read_bytes() for path in folder.rglob("*.safetensors")} == before
    other = train("-m", *QUICK, *GRID, "hydra.sweep.dir=sweep", "optimizer.lr=0.1", *NO_FIGURES[1:])
    assert other.returncode == 1
    assert (
        "sweep/0_beta-0.1_kl-true holds a run with other settings: type those, or another hydra.sweep.dir."
        in other.stderr
    )


@pytest.mark.hydra
def test_a_larger_grid_trains_only_what_is_new(swept: tuple[Path, Any], tmp_path: Path) -> None:
    """Other numbers, in a copy without the hidden files."""
    folder = Path(shutil.copytree(swept[0], tmp_path / "sweep", ignore=shutil.ignore_patterns(".*")))
    before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    train = command_line_of("vaelab.train", tmp_path)
    again = train(
        "-m", *QUICK, "beta=0.05,0.1,0.5,1", "kl=true,false", "hydra.sweep.dir=sweep", *NO_FIGURES[1:]
    )
    assert again.returncode == 0, again.stderr
    assert jobs(folder) == sorted([*JOBS, "0_beta-0.05_kl-true"])
    assert again.stderr.count("is finished already") == 7
    assert {path: path.read_bytes() for path in before} == before
    assert len(table(folder)) == 5


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
def test_a_yaml_with_hydras_own_folder_names(train: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "study.yaml").write_text(STUDY)
    command = (*QUICK, *NO_FIGURES, "epochs=1", "--config-dir=mine", "experiment=study")
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
    """kill -9 in the middle of the second job; the comparison's numbers, and its images, are the same."""
    command = ["-m", *QUICK, *GRID, "hydra.sweep.dir=sweep"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vaelab.train", *command], cwd=tmp_path, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (
        tmp_path / "sweep" / "1_beta-0.1_kl-false" / "latent" / "frames" / "step_0000004.npz"
    ).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    result = train(*command)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "sweep"
    assert table(folder) == table(swept[0])
    for name in FIGURES:
        assert (folder / "comparison" / name).read_bytes() == (swept[0] / "comparison" / name).read_bytes(), (
            name
        )


# --- failures ---------------------------------------------------------------------------------------------


@pytest.mark.hydra
def test_one_failed_job_ends_neither_sweep_nor_comparison(train: CommandLine, tmp_path: Path) -> None:
    command = (
        "-m",
        *QUICK,
        *NO_FIGURES,
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
    assert (
        "No evaluation on these images for 1 of 1 run (evaluate=false): their numbers are left out." in text
    )


WRONG_GRIDS = [
    ("beta=1,-1", "beta must be a number of at least 0, got -1.0."),
    ("model.latent_dim=2,0", "model.latent_dim must be a whole number of at least 1, got 0."),
    ("model=mlp,cnov", "Unknown model 'cnov'. Did you mean 'conv'? Available: conv, mlp, resnet."),
    ("loss.warmup_epochs=0,2", "loss.warmup_epochs=2 leaves no epoch at the full KL weight: type a number smaller than epochs=2, or more epochs."),
]  # fmt: skip


@pytest.mark.hydra
@pytest.mark.parametrize(("swept_over", "message"), WRONG_GRIDS, ids=[grid for grid, _ in WRONG_GRIDS])
def test_what_could_never_run_is_refused_before_the_first_job(
    train: CommandLine, tmp_path: Path, swept_over: str, message: str
) -> None:
    result = train("-m", *QUICK, swept_over, "hydra.sweep.dir=sweep")
    assert (result.returncode, result.stderr) == (1, f"vaelab: {message}\n")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.hydra
def test_a_search_never_chooses_by_the_test_images(train: CommandLine, tmp_path: Path) -> None:
    result = train(
        "-m", *QUICK, "dataset.val_size=0", "beta=1,2", "hydra/sweeper=search", "hydra.sweep.dir=sweep"
    )
    assert (result.returncode, result.stderr) == (
        1,
        "vaelab: A search with dataset.val_size=0 would select by the test images: type dataset.val_size=5000.\n",
    )
    assert not (tmp_path / "sweep").exists()


OF_A_SWEEP = [
    ("hydra: {sweeper: {params: {seed: '1,2', beta: 1}}}",
     "experiment=b is itself a sweep (seed=1,2 beta=1) and can't be a value in another sweep: type one at a time, -m experiment=b."),
    ("defaults: [override /hydra/launcher: parallel]",
     "experiment=b sets hydra/launcher=parallel, which applies to all jobs of a sweep and not to one: type hydra/launcher=parallel on the command line."),
    ("defaults: [override /hydra/sweeper: search]",
     "experiment=b sets hydra/sweeper=search, which applies to all jobs of a sweep and not to one: type hydra/sweeper=search on the command line."),
    ("hydra: {sweep: {dir: there}}",
     "experiment=b sets hydra.sweep.dir=there, which applies to all jobs of a sweep and not to one: type hydra.sweep.dir=there on the command line."),
    ("hydra: {callbacks: {compare: {enabled: false}}}",
     "experiment=b sets hydra.callbacks.compare.enabled=false, which applies to all jobs of a sweep and not to one: type hydra.callbacks.compare.enabled=false on the command line."),
]  # fmt: skip


@pytest.mark.hydra
@pytest.mark.parametrize(("text", "message"), OF_A_SWEEP, ids=[text for text, _ in OF_A_SWEEP])
def test_what_holds_for_a_whole_sweep_is_not_one_of_several_values(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "experiment").mkdir()
    for name, content in {"a": "beta: 1", "b": text}.items():
        (tmp_path / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{content}\n")
    line = ["-m", f"--config-dir={tmp_path}", *QUICK]
    with pytest.raises(VaelabError) as error:
        planned(prepare([*line, "experiment=a,b"], "train", Config))
    assert str(error.value) == message
    if "of its own" not in message:
        typed = message.removesuffix(" on the command line.").rpartition(" ")[2]
        assert planned(prepare([*line, "experiment=a,b", typed], "train", Config)) is not None
    assert planned(prepare([*line, "experiment=b", "seed=1,2"], "train", Config)) is not None


def test_settings_that_only_a_sweep_has_are_not_left_out_without_a_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert planned(prepare(["experiment=kl_ablation", "hydra.mode=RUN"], "train", Config)) is None
    assert capsys.readouterr().err == "WARNING: kl=false,true has no effect without -m.\n"


def test_hydras_settings_typed_at_their_defaults_make_the_same_sweep() -> None:
    line = ["-m", *QUICK, *GRID, "hydra.sweep.dir=sweep"]
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


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_comparison_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    def interrupted(asked: CompareConfig) -> None:
        raise error

    monkeypatch.setattr("vaelab.comparison.compare.compare", interrupted)
    asked = CompareConfig(sweep="my sweep", figures=False)
    with pytest.raises(type(error)):
        end(Sweep(tmp_path, asked, zip=False, jobs=1, overrides=[]), None)
    assert capsys.readouterr().err == (
        "vaelab: interrupted. To compare the runs: "
        """python -m vaelab.compare 'sweep='"'"'my sweep'"'"'' evaluate=true figures=false\n"""
    )


def test_a_sweep_is_not_continued_by_resume(train: CommandLine, tmp_path: Path) -> None:
    result = train("-m", *QUICK, "resume=run", "beta=1,2")
    assert (result.returncode, result.stderr) == (
        1,
        "vaelab: resume continues one run: leave -m out. To continue a sweep, repeat its command with hydra.sweep.dir=FOLDER.\n",
    )
    assert not list(tmp_path.iterdir())


def test_an_evaluation_that_is_replaced_loses_no_number(swept: tuple[Path, Any], tmp_path: Path) -> None:
    run = Path(shutil.copytree(swept[0] / "1_beta-0.1_kl-false", tmp_path / "runs" / "a"))
    path = run / "evaluation" / "last" / "metrics.json"
    found = json.loads(path.read_text())  # as after metrics.samples=false, and with an nll
    del found["numbers"]["samples"]
    found["not_measured"] = {"samples": "metrics.samples=false"}
    found["numbers"]["nll"] = {}
    path.write_text(json.dumps(found))
    compared = command_line_of("vaelab.compare", tmp_path)("sweep=runs", "figures=false")
    assert compared.returncode == 0, compared.stderr
    numbers = json.loads(path.read_text())["numbers"]
    assert numbers["nll"]["nll"]
    assert numbers["samples"]["fid_fashion_mnist_cnn"]["prior samples"]["value"] > 0


# --- seeds, families, findings ----------------------------------------------------------------------------


def test_seeds_give_mean_and_standard_deviation(train: CommandLine, tmp_path: Path) -> None:
    result = train("-m", *QUICK, *NO_FIGURES, "seed=1,2,3", "hydra.sweep.dir=sweep", "artifacts.zip=true")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "sweep"
    (row,) = table(folder)
    values = [float(last_row(folder / job)["val/neg_elbo"]) for job in jobs(folder)]
    assert float(row["val/neg_elbo"]) == pytest.approx(statistics.fmean(values))
    assert float(row["val/neg_elbo_std"]) == pytest.approx(statistics.stdev(values))
    low, high = stats.t.interval(0.95, 2, statistics.fmean(values), stats.sem(values))
    assert (float(row["val/neg_elbo_low"]), float(row["val/neg_elbo_high"])) == pytest.approx((low, high))
    assert (row["val/neg_elbo_n"], row["seeds"]) == ("3", "1 2 3")
    report = (folder / "comparison" / "report.html").read_text()
    assert "Latents and images are those of seed 1; curves show means over seeds" in report
    assert "grey line" not in report  # one model has no frontier
    shown = f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"
    assert shown in (folder / "comparison" / "comparison.md").read_text()
    assert [path.name for path in tmp_path.rglob("*.zip")] == ["sweep.zip"]
    with zipfile.ZipFile(tmp_path / "sweep.zip") as archive:
        names = set(archive.namelist())
    assert {"sweep/0_seed-1/checkpoints/best.safetensors", "sweep/comparison/comparison.md"} <= names


def test_runs_on_different_data_are_never_in_one_table(train: CommandLine, tmp_path: Path) -> None:
    few = (
        "epochs=1",
        "dataset.source=embedded",
        "dataset.val_size=9500",
        "artifacts.every=0",
        "artifacts.figures=false",
    )
    result = train("-m", *few, *NO_FIGURES[:1], "hydra.callbacks.compare.evaluate=false",
                   "dataset=mnist,fashion_mnist", "loss.likelihood=bernoulli,gaussian", "hydra.sweep.dir=sweep")  # fmt: skip
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "sweep" / "comparison"
    text = (folder / "comparison.md").read_text()
    assert "They form 4 groups whose numbers are not comparable" in text
    for slug in (
        "mnist_embedded_subset",
        "mnist_embedded_subset_gaussian_likelihood",
        "fashion_mnist_embedded_subset",
    ):
        assert (folder / slug / "curves.png").exists()
        assert f"({slug}/curves.png)" in text
    assert len({row["data"] for row in table(tmp_path / "sweep")}) == 4


def test_families_of_the_same_data_set_have_titles_and_folders_of_their_own(
    train: CommandLine, tmp_path: Path
) -> None:
    result = train("-m", *QUICK, "epochs=1", "artifacts.gif=false", "hydra.callbacks.compare.evaluate=false",
                   "dataset.val_size=0,9000", "hydra.sweep.dir=sweep")  # fmt: skip
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "sweep" / "comparison"
    text, rows = (folder / "comparison.md").read_text(), table(tmp_path / "sweep")
    data = "Fashion-MNIST (embedded subset; classes Trouser, Sneaker)"
    titles = [row["data"] for row in rows]
    assert [title.removeprefix(data).split(" training images, scored on ")[1] for title in titles] == [
        "403 test images", "1,830 validation images"
    ]  # fmt: skip
    slugs = [re.sub(r"\W+", "_", title.lower()).strip("_") for title in titles]
    for title, slug in zip(titles, slugs, strict=True):
        section = text.split(f"## {title}\n")[1].split("\n## ")[0]
        assert f"({slug}/curves.png)" in section
        assert section.count("](") == section.count(f"]({slug}/")
    curves = [(folder / slug / "curves.png").read_bytes() for slug in slugs]
    assert curves[0] != curves[1]


def test_titles_and_folder_names_of_families_are_distinct(swept: tuple[Path, Any]) -> None:
    """Two data sets whose titles differ in nothing that a folder's name keeps; a model per number of free bits."""
    member = find(swept[0]).members[0]

    def other(**changed: Any) -> Any:
        return replace(member, facts={**member.facts, "data": {**member.facts["data"], **changed}})

    firsts = [other(), other(description="My data"), other(description="my-data!"), other(sha256={"a": "b"})]
    titles = distinct_titles(firsts)
    assert titles[1:3] == ["My data", "my-data!"]
    assert titles[0].startswith(f"{titles[3].rpartition(', files ')[0]}, files ")
    assert len({*titles}) == 4
    assert distinct_slugs(titles)[1:3] == ["my_data", "my_data_3"]
    chosen = ["gaussian", "{name:gaussian}", "{name:gaussian,scale:0.1}", "{name:gaussian,scale:0.2}"]
    firsts = [replace(member, config=settings(f"loss.likelihood={each}")) for each in chosen]
    assert family_of(firsts[0]) == family_of(firsts[1])
    assert len({repr(family_of(first)) for first in firsts}) == 3
    assert [title.rsplit(", ", 1)[1] for title in distinct_titles(firsts[1:])] == [
        "gaussian likelihood", "gaussian likelihood (scale 0.1)", "gaussian likelihood (scale 0.2)"
    ]  # fmt: skip
    bits = [settings(f"loss.free_bits={number}") for number in (0, 0.5)]
    assert [label_of(config, ["loss.free_bits"]) for config in bits] == ["free_bits 0", "free_bits 0.5"]
    presets = [("loss=vae",), ("loss=geco",), ("loss=iwae",), ("loss=iwae", "loss.importance_samples=50")]
    objectives = [settings(*preset) for preset in presets]
    assert [label_of(config, differing(objectives)) for config in objectives] == [
        "vae, importance_samples 1", "geco, importance_samples 1", "iwae, importance_samples 5", "iwae, importance_samples 50"
    ]  # fmt: skip


def test_evaluations_that_were_made_otherwise_are_made_again(swept: tuple[Path, Any], tmp_path: Path) -> None:
    """Of other images, as many or fewer; with another seed; by measures of another version."""
    folder = Path(shutil.copytree(swept[0], tmp_path / "sweep"))
    otherwise: list[dict[str, Any]] = [
        {"data": {"sha256": {"file": "0123"}}}, {"data": {"images": 17}}, {"seed": 7}, {"measures": 0}
    ]  # fmt: skip
    for job, change in zip(JOBS, otherwise, strict=True):
        path = folder / job / "evaluation" / "last" / "metrics.json"
        found = json.loads(path.read_text())
        for key, value in change.items():
            found[key] = {**found[key], **value} if isinstance(value, dict) else value
        found["numbers"]["classes"]["knn_accuracy"]["posterior means"]["value"] = 0.987654
        path.write_text(json.dumps(found))
    compare = command_line_of("vaelab.compare", tmp_path)
    only_shown = compare("sweep=sweep", "figures=false", "evaluate=false")
    assert (
        "No evaluation on these images for 4 of 4 runs (evaluate=false): their numbers are left out."
        in only_shown.stdout
    )
    assert "0.988" not in only_shown.stdout
    again = compare("sweep=sweep", "figures=false")
    assert again.returncode == 0, again.stderr
    assert table(folder) == table(swept[0])
    other_images = f"{JOBS[1]}, {JOBS[0]}"  # in the order of the table: KL off first
    assert f"Evaluated again, because on other images: {other_images}.\n" in again.stdout


def test_scores_on_different_feature_networks_are_never_compared(
    swept: tuple[Path, Any], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "sweep"))
    path = folder / JOBS[2] / "evaluation" / "last" / "metrics.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    features = found["numbers"]["samples"]["features"]
    present, features["sha256"] = features["sha256"], "0" * 64
    path.write_text(json.dumps(found), encoding="utf-8")
    compare = command_line_of("vaelab.compare", tmp_path)
    apart = compare("sweep=sweep", "figures=false", "evaluate=false")
    said = " ".join(apart.stdout.split())
    assert "FID, precision and recall of Fashion-MNIST" in said
    assert (
        f"are left out: its runs were scored on different feature networks (SHA-256 000000000000…, {present[:12]}…). "
        "evaluate=true measures them again on one of them."
    ) in said
    assert not [key for key in table(folder)[0] if key.startswith(("fid", "precision", "recall"))]
    assert table(folder)[0]["silhouette"] == table(swept[0])[0]["silhouette"]
    again = compare("sweep=sweep", "figures=false")
    assert f"Evaluations on another feature network, made again: {JOBS[2]}.\n" in again.stdout
    assert table(folder) == table(swept[0])


def test_a_folder_of_links_to_runs_is_compared(swept: tuple[Path, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "elsewhere" / "sweep"))
    links = tmp_path / "links"
    links.mkdir()
    for name, job in {"off": JOBS[1], "on": JOBS[3]}.items():
        (links / name).symlink_to(folder / job)
    (links / "again").symlink_to(folder / JOBS[3])
    (folder / JOBS[3] / "circle").symlink_to(links)
    result = command_line_of("vaelab.compare", tmp_path)("sweep=links", "figures=false")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("2 runs compared\n")
    assert [row["model"] for row in table(links)] == ["KL off", "beta 1"]


def test_curves_are_those_of_the_checkpoint(swept: tuple[Path, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "sweep"))
    for job, change in zip(JOBS, ("cut", "edited", "damaged", "gone"), strict=True):
        path = folder / job / "metrics.csv"
        header, first, *_ = path.read_text().splitlines()
        edited = ",".join(["1", *["7.5"] * header.count(",")])
        contents = {
            "cut": f"{header}\n{first}\n",
            "edited": f"{header}\n{edited}\n",
            "damaged": "x",
            "gone": "",
        }
        path.write_text(contents[change])
    (folder / JOBS[3] / "metrics.csv").unlink()
    again = command_line_of("vaelab.compare", tmp_path)("sweep=sweep", "figures=false")
    assert again.returncode == 0, again.stderr
    assert table(folder) == table(swept[0])


def test_a_launcher_that_is_not_installed_names_its_extra() -> None:
    error = MissingConfigException(
        "In 'hydra/launcher/slurm': Could not load 'hydra/launcher/submitit_slurm'.",
        missing_cfg_file="hydra/launcher/submitit_slurm",
    )
    assert one_line(error, Config) == (
        "hydra/launcher=slurm needs a package that is not installed: type pip install 'vaelab[slurm]'."
    )


def test_labels_have_no_more_digits_than_tell_models_apart() -> None:
    rates = [settings(f"optimizer.lr={rate}") for rate in ("0.00056115164", "0.001")]
    assert [label_of(config, ["optimizer.lr"]) for config in rates] == ["lr 0.0005612", "lr 0.001"]
    assert label_of(rates[0], ["optimizer.lr"], exact=True) == "lr 0.00056115164"
    assert label_of(settings("beta=0.30000001"), ["beta"], exact=True) == "beta 0.30000001"


def test_folders_sort_by_their_numbers() -> None:
    assert sorted(["10_b", "9_a", "2_c"], key=natural) == ["2_c", "9_a", "10_b"]


WRONG = [
    ((), "sweep must be a folder of runs, such as outputs/multirun/2026-11-21/..., got null."),
    (("sweep=nowhere",), "nowhere is not a directory: type sweep=FOLDER with a folder of runs."),
    (("sweep=empty",), "There is no run in empty: type sweep=FOLDER with a folder of runs."),
    (("sweep=empty", "figure=false"), "Unknown setting 'figure'. Did you mean 'figures'? --help lists all settings."),
]  # fmt: skip


@pytest.mark.hydra
@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_value_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "empty").mkdir()
    result = command_line_of("vaelab.compare", tmp_path)(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"vaelab: {message}\n")
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


# --- other launchers and sweepers -------------------------------------------------------------------------


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has no threads to split")
def test_joblib_runs_jobs_side_by_side_and_splits_the_threads(train: CommandLine, tmp_path: Path) -> None:
    joblib = ("hydra/launcher=parallel", "hydra.launcher.n_jobs=2")
    result = train(
        "-m", *QUICK, *NO_FIGURES, "seed=1,2", *joblib, "hydra.sweep.dir=sweep", OMP_NUM_THREADS=None
    )
    assert result.returncode == 0, result.stderr
    alone = train(*QUICK, "artifacts.gif=false", "seed=2", "hydra.run.dir=alone", OMP_NUM_THREADS=None)
    assert alone.returncode == 0, alone.stderr
    folder = tmp_path / "sweep"
    threads = [
        json.loads((run / "run.json").read_text())["device"]["threads"]
        for run in (folder / "0_seed-1", folder / "1_seed-2", tmp_path / "alone")
    ]
    assert threads[0] == threads[1] < threads[2]
    for name in ("val/neg_elbo", "train/loss"):
        expected = float(last_row(tmp_path / "alone")[name])
        assert float(last_row(folder / "1_seed-2")[name]) == pytest.approx(expected, rel=1e-3)
    assert "1, 2" in (folder / "comparison" / "comparison.md").read_text()


@pytest.mark.hydra
def test_a_job_that_fails_in_another_process_is_named(train: CommandLine) -> None:
    result = train(
        "-m", *QUICK, *NO_FIGURES, "beta=1e39,1", "hydra/launcher=parallel", "hydra.sweep.dir=sweep"
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "vaelab: These jobs of the sweep failed: 0_beta-1e+39."


@pytest.mark.hydra
def test_optuna_minimises_the_validation_neg_elbo(train: CommandLine, tmp_path: Path) -> None:
    """Of two learning rates, one of which hardly moves the weights."""
    result = train(
        "-m", *QUICK, *NO_FIGURES, "hydra/sweeper=search", "hydra.sweeper.n_trials=4",
        "optimizer.lr=1e-6,1e-2", "hydra.sweep.dir=sweep", PYTHONWARNINGS="default",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert all(re.fullmatch(r"\d_optimizer.lr-(1e-06|0.01)", job) for job in jobs(tmp_path / "sweep"))
    best = (tmp_path / "sweep" / "optimization_results.yaml").read_text()
    assert "optimizer.lr: 0.01" in best
    assert len(list((tmp_path / "sweep").rglob("run.json"))) == 2  # what repeats another is not trained again
    values = [float(last_row(path.parent)["val/neg_elbo"]) for path in (tmp_path / "sweep").rglob("run.json")]
    assert f"best_value: {min(values)}" in best


def test_a_trial_that_fails_does_not_end_the_search(train: CommandLine, tmp_path: Path) -> None:
    result = train(
        "-m", *QUICK, *NO_FIGURES, "hydra/sweeper=search", "hydra.sweeper.n_trials=4", "beta=1e39,1",
        "hydra.sweep.dir=sweep", PYTHONWARNINGS="default",
    )  # fmt: skip
    assert result.returncode == 1
    (failed,) = (job for job in jobs(tmp_path / "sweep") if "1e+39" in job)
    assert result.stderr.splitlines()[-1] == f"vaelab: These jobs of the sweep failed: {failed}."
    assert "beta: 1" in (tmp_path / "sweep" / "optimization_results.yaml").read_text()
    assert (tmp_path / "sweep" / "comparison" / "comparison.md").exists()


def test_a_search_of_which_every_trial_fails_says_so(train: CommandLine) -> None:
    result = train(
        "-m", *QUICK, *NO_FIGURES, "hydra/sweeper=search", "hydra.sweeper.n_trials=1", "beta=1e39,2e39",
        "hydra.sweep.dir=sweep", PYTHONWARNINGS="default",
    )  # fmt: skip
    assert result.returncode == 1
    assert re.fullmatch(
        r"vaelab: These jobs of the sweep failed: 0_beta-[12]e\+39\.", result.stderr.splitlines()[-1]
    )


@pytest.mark.hydra
def test_a_killed_search_continues_from_its_storage(train: CommandLine, tmp_path: Path) -> None:
    line = (
        "-m", *TINY, *NO_FIGURES, "epochs=8", "artifacts.every=0", "artifacts.figures=false", "hydra/sweeper=search",
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
    begin = "hydra.sweeper.storage must be the URL of a database that can be opened, such as sqlite:///search.db, got "
    for storage in ("s.db", f"sqlite:///{tmp_path}/nowhere/s.db", 42):
        with pytest.raises(ConfigError, match=re.escape(f"{begin}{storage}. The error was: ")):
            continuing({"storage": storage, "study_name": "x"}, tmp_path)
    with pytest.raises(ConfigError, match=re.escape("type hydra.sweeper.study_name=NAME as well.")):
        continuing({"storage": "sqlite:///s.db", "study_name": None}, tmp_path)


def test_a_search_space_that_optuna_refuses_is_a_failure(train: CommandLine) -> None:
    result = train(
        "-m", *QUICK, *NO_FIGURES, "hydra/sweeper=search", "hydra/sweeper/sampler=grid", "optimizer.lr=interval(0.01,0.1)",
        "hydra.sweep.dir=sweep", PYTHONWARNINGS="default",
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "vaelab: The sweep did not start: GridSampler only supports discrete distributions."
    )


def test_the_same_training_counts_once(swept: tuple[Path, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "sweep"))
    shutil.copytree(folder / "1_beta-0.1_kl-false", folder / "9_kl-false")
    shutil.rmtree(folder / "0_beta-0.1_kl-true" / "evaluation")
    again = command_line_of("vaelab.compare", tmp_path)("sweep=sweep", "figures=false", "evaluate=false")
    assert again.returncode == 0, again.stderr
    assert [row["seeds"] for row in table(folder)] == ["42"] * 4
    assert "9_kl-false is the same training as 1_beta-0.1_kl-false and is counted once." in again.stdout
