"""Families of runs in a comparison: seeds, data sets, titles and folders."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from harness import CommandLine, settings
from sweep_helpers import QUICK, UNDRAWN_SWEEP, jobs, last_row, table
from vaelab.cli import api
from vaelab.comparison import compare
from vaelab.comparison.figures import FIGURES
from vaelab.config import EvaluationConfig
from vaelab.evaluation.runs import differing, distinct_slugs, distinct_titles, family_of, find, label_of


def test_seeds_give_mean_and_standard_deviation(train: CommandLine, tmp_path: Path) -> None:
    result = train(
        "-m", *UNDRAWN_SWEEP, "epochs=1", "seed=1,2,3", "hydra.sweep.dir=sweep", "artifacts.zip=true"
    )
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


@pytest.fixture
def curves_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons in this process draw one figure of each family."""
    for name in {*FIGURES} - {"curves.png"}:
        monkeypatch.delitem(FIGURES, name)


@pytest.mark.usefixtures("curves_only")
def test_runs_on_different_data_are_never_in_one_table(families: Path, tmp_path: Path) -> None:
    sweep = Path(shutil.copytree(families, tmp_path / "sweep"))
    result = api.compare(sweep, evaluate=False)
    folder = sweep / "comparison"
    assert "The runs form 4 groups whose numbers are not comparable" in result.text
    for slug in (
        "mnist_embedded_subset_classes_1_7",
        "mnist_embedded_subset_classes_1_7_class_conditional",
        "fashion_mnist_embedded_subset_classes_trouser_sneaker",
    ):
        assert (folder / slug / "curves.png").exists()
        assert f"({slug}/curves.png)" in result.text
    assert len({row["data"] for row in table(sweep)}) == 4


@pytest.mark.usefixtures("curves_only")
def test_families_of_the_same_data_set_have_titles_and_folders_of_their_own(
    train: CommandLine, tmp_path: Path
) -> None:
    result = train("-m", *QUICK, "epochs=1", "artifacts.gif=false", "hydra.callbacks.compare.enabled=false",
                   "dataset.val_size=0,9000", "hydra.sweep.dir=sweep")  # fmt: skip
    assert result.returncode == 0, result.stderr
    text = api.compare(tmp_path / "sweep", evaluate=False).text
    for job, scored in (
        ("0_*", "no validation images (the test set is scored each epoch)"),
        ("1_*", "1,830 validation images"),
    ):
        (log,) = (tmp_path / "sweep").glob(f"{job}/train.log")
        assert re.search(rf": [\d,]+ training images and {re.escape(scored)}, 1 epoch, on ", log.read_text())
    folder = tmp_path / "sweep" / "comparison"
    rows = table(tmp_path / "sweep")
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


def test_titles_and_folder_names_of_families_are_distinct(finished: Path) -> None:
    """Two data sets whose titles differ in nothing that a folder's name keeps; a model per number of free bits."""
    member = find(finished.parent).members[0]

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
    assert family_of(firsts[0]) == family_of(firsts[1]) != family_of(member)
    assert len({repr(family_of(first)) for first in firsts}) == 3
    assert [title.rsplit(", ", 1)[1] for title in distinct_titles(firsts[1:])] == [
        "gaussian likelihood", "gaussian likelihood (scale 0.1)", "gaussian likelihood (scale 0.2)"
    ]  # fmt: skip
    bits = [settings(f"loss.free_bits={number}") for number in (0, 0.5)]
    assert [label_of(config, ["loss.free_bits"]) for config in bits] == ["free_bits 0", "free_bits 0.5"]
    names = ("constant", "linear", "cyclical")
    schedules = [settings("loss.warmup_epochs=3", f"loss.schedule={name}") for name in names]
    assert [label_of(config, differing(schedules)) for config in schedules] == [
        "schedule constant", "schedule linear, warmup_epochs 3", "schedule cyclical, warmup_epochs 3"
    ]  # fmt: skip
    presets = [("loss=vae",), ("loss=geco",), ("loss=iwae",), ("loss=iwae", "loss.importance_samples=50")]
    objectives = [settings(*preset) for preset in presets]
    assert [label_of(config, differing(objectives)) for config in objectives] == [
        "vae, importance_samples 1", "geco, importance_samples 1", "iwae, importance_samples 5", "iwae, importance_samples 50"
    ]  # fmt: skip


def test_models_of_different_objectives_are_compared_by_nll_and_not_by_loss(
    train: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = ("-m", "loss=vae,iwae", "hydra.sweep.dir=sweep", "hydra.callbacks.compare.enabled=false")
    result = train(*sweep, *QUICK, "epochs=1", "model.hidden=[8]", "artifacts.gif=false")
    assert result.returncode == 0, result.stderr
    few_samples = partial(EvaluationConfig, importance_samples=20)
    monkeypatch.setattr(compare, "EvaluationConfig", few_samples)
    monkeypatch.setattr(compare, "NEEDED", ("latent",))
    text = api.compare(tmp_path / "sweep", figures=False).text
    rows = {line.split("|")[1].split("<br>")[0].strip(): line.split("|")[2:4] for line in text.splitlines() if line.startswith("|")}  # fmt: skip
    assert all(map(float, rows["**nll ↓**"]))
    assert float(rows["**nll ↓**"][0]) < float(rows["**neg_elbo ↓**"][0])
    assert not any("loss" in name for name in rows)
    assert "train/loss" not in (tmp_path / "sweep/comparison/comparison.csv").read_text()
    assert "minimise different objectives (iwae, neg_elbo)" in text
    evaluated = next((tmp_path / "sweep").glob("*/evaluation/last/metrics.json"))
    found = json.loads(evaluated.read_text(encoding="utf-8"))
    found["settings"]["importance_samples"] = 5000
    evaluated.write_text(json.dumps(found), encoding="utf-8")
    apart = api.compare(tmp_path / "sweep", figures=False, evaluate=False)
    assert "is left out: its runs were evaluated with different" in " ".join(apart.summary.split())
    assert "nll" not in (tmp_path / "sweep/comparison/comparison.csv").read_text()
