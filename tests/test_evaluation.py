"""Evaluations: files, agreement with training, and what cannot be measured."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evaluation_helpers import (
    NO_FIGURES,
    QUICK,
    SECTIONS,
    assert_refused,
    metrics,
    run_of_three_epochs,
)
from harness import TINY, CommandLine, environment, run_folder
from vaelab.evaluation.evaluate import EvaluationResult
from vaelab.evaluation.figures import FIGURES
from vaelab.evaluation.numbers import Basis, Number, as_percent
from vaelab.pages.notebook import Rows
from vaelab.pages.run_report import write_run_report
from vaelab.runs.folder import RunFolder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of_three_epochs(tmp_path_factory)


def values(folder: Path, section: str) -> dict[str, float]:
    """The numbers of a section that has one column."""
    return {name: row["model"]["value"] for name, row in metrics(folder)["numbers"][section].items()}


def test_an_evaluation_leaves_numbers_a_table_and_figures(evaluate: CommandLine, run: Path) -> None:
    result = evaluate("checkpoint=run", *QUICK)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""  # no progress bar in a pipe, no warning
    folder = run / "evaluation" / "best"
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "table.txt", "summary.md", *FIGURES}
    for name in FIGURES:
        with Image.open(folder / name) as image:
            image.load()
            assert min(image.size) >= 300, name
    table = (folder / "table.txt").read_text()
    paths = "Summary: run/evaluation/best/summary.md\nEvaluation folder: run/evaluation/best\n"
    assert result.stdout == f"{table}\n{paths}"
    found = metrics(folder)
    assert found["status"] == "finished"
    assert list(found["numbers"]) == list(SECTIONS)
    assert found["not_measured"] == {}
    assert (found["likelihood"], found["data"]["binarize"], found["data"]["source"]) == (
        "bernoulli",
        "none",
        "embedded",
    )
    numbers = [
        (name, number)
        for section in found["numbers"].values()
        for name, row in section.items()
        for of, number in row.items()
        if isinstance(number, dict) and "value" in number
    ]
    assert len(numbers) > 50
    for name, number in numbers:
        assert math.isfinite(number["value"]), name
        assert number["unit"], name
        assert number["split"] in ("test", "train", "train against test", "test against train"), name
        assert 40 <= number["images"] <= 532, name
        assert number["seed"] == 42, name
    assert found["numbers"]["samples"]["features"]["network"] == "fashion_mnist_cnn"
    scores = ("fid", "kid", "precision", "recall", "density", "coverage")
    assert set(found["numbers"]["samples"]) == {*(f"{each}_fashion_mnist_cnn" for each in scores), "features"}
    without_error = {
        "active_units",
        "collapsed_dimensions",
        "constant_dimensions",
        "effective_samples",
        "effective_samples_5_percent",
    }
    assert {name for name, number in numbers if "standard_error" not in number} == without_error
    assert set(found["numbers"]["samples"]["fid_fashion_mnist_cnn"]) == {
        "prior samples", "mixture samples", "reconstructions", "real images (floor)",
    }  # fmt: skip
    kl = found["numbers"]["latent"]["kl_per_dimension"]["values"]
    assert sum(kl) == pytest.approx(values(folder, "bound")["kl"])
    for text in (
        "test split · 403 images · 1 posterior sample per image · seed 42",
        "test split · 40 images · 5 importance samples per image · seed 42",
        "nats per image", "test accuracy 9", "2 of 2 latent dimensions are active.",
    ):  # fmt: skip
        assert text in result.stdout
    assert max(map(len, table.splitlines())) <= 100
    notes = [line for line in table.splitlines() if line.startswith("  ") and "split" in line]
    assert len(notes) == len({*notes}), "a line is printed twice"
    assert " · best, epoch " in table.splitlines()[0]
    said = (folder / "summary.md").read_text()
    assert_carried(said, found)
    assert len(found["summary"]) == 5
    for title, sentence in found["summary"].items():
        assert f"**{title}.** {sentence}\n" in said
        assert sentence.count(".\n") == 0, "one sentence"
    report = (run / "report.html").read_text() if (run / "report.html").exists() else ""
    assert not report, "artifacts.report=false"
    assert_reads_the_same(run, found)


def assert_reads_the_same(run: Path, found: dict[str, Any]) -> None:
    """Each number in table.txt, on the run's page, and in a notebook's tables."""
    folder = run / "evaluation" / "best"
    write_run_report(RunFolder(run))
    result = EvaluationResult(folder, "", [], 0, found)
    cells = {
        name: re.findall(r'<td class="number">(.*?)</td>', html)
        for name, html in (
            ("page", (run / "report.html").read_text()),
            ("notebook", result._repr_html_()),
            ("rows", "".join(Rows([row])._repr_html_() for row in result.table)),
        )
    }
    printed = re.split(r"\s{2,}|\n", (folder / "table.txt").read_text())
    for row in result.table:
        basis = Basis(row["split"], row["images"], row["seed"])
        text = str(Number(row["value"], row["unit"], basis, row.get("standard_error")))
        assert text in printed, row
        assert text in cells["page"], row
        assert text in cells["notebook"], row
        assert {*text.removesuffix(" ± 0").split(" ± ")} <= {*cells["rows"]}, row


def assert_carried(text: str, found: dict[str, Any]) -> None:
    """Every number with an uncertainty is one of metrics.json, as it is or in percent."""
    known = set()
    for section in found["numbers"].values():
        for row in section.values():
            for number in row.values():
                if isinstance(number, dict) and "standard_error" in number:
                    basis = Basis(number["split"], number["images"], number["seed"])
                    each = Number(number["value"], number["unit"], basis, number["standard_error"])
                    known |= {str(each), as_percent(each)}
    said = re.findall(r"−?[\d,.]+ ± [\d,.]+\d(?: %)?", text)
    assert len(said) > 15
    assert [each for each in said if each not in known] == []


def test_evaluating_twice_gives_the_same_bytes(evaluate: CommandLine, run: Path) -> None:
    results = []
    for name in ("one", "two"):
        result = evaluate("checkpoint=run/checkpoints/last.safetensors", *QUICK, f"output={name}")
        assert result.returncode == 0, result.stderr
        folder = run.parent / name
        found = metrics(folder)
        times = found.pop("times")
        assert set(times["seconds"]) == set(SECTIONS)
        images = {path.name: path.read_bytes() for path in folder.glob("*.png")}
        results.append((json.dumps(found), images, (folder / "table.txt").read_text()))
    assert results[0] == results[1]
    assert not (run / "evaluation").exists()


@pytest.mark.parametrize("checkpoint", ["best", "last", "epoch_0001"])
def test_it_agrees_with_what_training_wrote(evaluate: CommandLine, run: Path, checkpoint: str) -> None:
    """The same images and the same noise: every digit."""
    result = evaluate(
        f"checkpoint=run/checkpoints/{checkpoint}.safetensors", "split=val", "figures=false",
        *(f"metrics.{name}=false" for name in SECTIONS if name != "bound"),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    folder = run / "evaluation" / f"{checkpoint}_val"
    with (run / "metrics.csv").open() as file:
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    row = rows[metrics(folder)["checkpoint"]["epoch"]]
    found = values(folder, "bound")
    for name in ("reconstruction", "kl", "neg_elbo"):
        assert found[name] == float(row[f"val/{name}"]), name
    assert "bits_per_dim" not in found, "grey pixels under a Bernoulli likelihood have no probability"
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "table.txt", "summary.md"}


def test_the_test_set_scored_while_training_agrees_too(
    train: CommandLine, evaluate: CommandLine, tmp_path: Path
) -> None:
    run_folder(
        train("dataset.source=embedded", "dataset.classes=[7]", "dataset.val_size=0", "epochs=1",
              "dataset.binarize=dynamic", "model.latent_dim=3", "hydra.run.dir=run", *NO_FIGURES)
    )  # fmt: skip
    result = evaluate("checkpoint=run", *QUICK, "split=test", "metrics.samples=false", "metrics.images=false")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "run" / "evaluation" / "best"
    with (tmp_path / "run" / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    found = values(folder, "bound")
    assert found["neg_elbo"] == float(row["test/neg_elbo"])
    assert found["bits_per_dim"] == pytest.approx(found["neg_elbo"] / (784 * math.log(2)))
    assert metrics(folder)["not_measured"]["classes"] == "requires images of at least two classes"
    assert "latent_holes.png: requires model.latent_dim=2" in result.stdout
    assert not (folder / "latent_holes.png").exists()
    refused = evaluate("checkpoint=run", "split=val")
    assert_refused(
        refused,
        "split=val, but there are no validation images (dataset.val_size=0): type split=test or split=train.",
    )


@pytest.mark.parametrize(
    "settings",
    [
        ("model=conv", "model.latent_dim=1", "loss.likelihood=gaussian"),
        pytest.param(("model.latent_dim=3", "dataset.binarize=static"), marks=pytest.mark.slow),
        ("model.latent_dim=70", "loss.likelihood=continuous_bernoulli", "kl=false", "artifacts.watermark='<b>A. Student'"),
    ],
)  # fmt: skip
def test_any_run_can_be_evaluated(
    train: CommandLine, evaluate: CommandLine, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    run_folder(train(*TINY, *settings, *NO_FIGURES, "epochs=2", "hydra.run.dir=run"))
    result = evaluate("checkpoint=run", *QUICK)
    assert result.returncode == 0, result.stderr
    assert "failed" not in result.stdout
    found = metrics(tmp_path / "run" / "evaluation" / "best")
    assert list(found["numbers"]) == list(SECTIONS)


def test_a_collapsed_latent_space_is_reported(train: CommandLine, evaluate: CommandLine) -> None:
    run_folder(train(*TINY, "beta=1000", "optimizer.lr=0.01", *NO_FIGURES, "epochs=2", "hydra.run.dir=run"))
    latent_only = [f"metrics.{name}=false" for name in SECTIONS if name != "latent"]
    result = evaluate("checkpoint=run", *latent_only, "figures=false")
    assert "0 of 2 latent dimensions are active. Collapsed to the prior" in result.stdout


def test_sections_that_cannot_be_measured_say_why_and_the_others_continue(
    evaluate: CommandLine, run: Path
) -> None:
    result = evaluate(
        "checkpoint=run", "split=train", "metrics.nll=false", "metrics.frozen_latent=false", "figures=false"
    )
    assert result.returncode == 0, result.stderr
    found = metrics(run / "evaluation" / "best_train")
    assert found["not_measured"] == {
        "nll": "metrics.nll=false",
        "frozen_latent": "metrics.frozen_latent=false",
        "classes": "the probes are fitted on the training images: type split=test or split=val",
    }
    assert list(found["numbers"]) == ["bound", "latent", "samples", "images", "ood"]
    assert "\nNot measured\n  nll: metrics.nll=false\n" in result.stdout


def test_a_section_that_fails_stops_no_other_and_the_status_is_not_zero(run: Path) -> None:
    script = """
import sys
from vaelab.evaluate import main
from vaelab.evaluation.sections import sections
sections.get("latent")
@sections.register("latent")
def wrong(evaluated, progress):
    raise ZeroDivisionError("by a test")
sys.argv[1:] = ["checkpoint=run", "importance_samples=2", "nll_images=20", "figures=false"]
main()
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=run.parent, env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "ZeroDivisionError: by a test" in result.stderr
    assert result.stderr.splitlines()[-1] == "vaelab: These steps failed (see above): latent."
    found = metrics(run / "evaluation" / "best")
    assert found["not_measured"] == {"latent": "failed with ZeroDivisionError: by a test"}
    assert len(found["numbers"]) == len(SECTIONS) - 1
