"""Evaluations: files, agreement with training, and what cannot be measured."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evaluation_helpers import (
    ROUGH_NLL,
    SECTIONS,
    metrics,
    only,
    run_of_three_epochs,
)
from harness import TINY, UNDRAWN, CommandLine, rewrite, run_folder
from vaelab.cli import api
from vaelab.config import VaelabError
from vaelab.evaluate import main
from vaelab.evaluation.evaluate import EvaluationResult
from vaelab.evaluation.figures import FIGURES
from vaelab.evaluation.numbers import Basis, Number, as_percent
from vaelab.evaluation.sections import ood, sections
from vaelab.pages.glossary import meaning, with_arrow
from vaelab.pages.notebook import Rows
from vaelab.pages.run_report import write_run_report
from vaelab.runs.folder import RunFolder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of_three_epochs(tmp_path_factory)


def values(folder: Path, section: str) -> dict[str, float]:
    """The numbers of a section that has one column."""
    return {name: row["model"]["value"] for name, row in metrics(folder)["numbers"][section].items()}


def test_an_evaluation_leaves_numbers_a_table_and_figures_and_again_the_same(
    evaluate: CommandLine, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = evaluate("checkpoint=run", *ROUGH_NLL)
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
    assert_same_bytes(run, folder, monkeypatch)


def assert_reads_the_same(run: Path, found: dict[str, Any]) -> None:
    """Each number in table.txt, on the run's page, and in a notebook's tables."""
    folder = run / "evaluation" / "best"
    write_run_report(RunFolder(run))
    result = EvaluationResult(folder, "", [], 0, found)
    page = (run / "report.html").read_text()
    cells = {
        name: re.findall(r'<td class="number">(.*?)</td>', html)
        for name, html in (
            ("page", page),
            ("notebook", result._repr_html_()),
            ("rows", "".join(Rows([row])._repr_html_() for row in result.table)),
        )
    }
    printed = re.split(r"\s{2,}|\n", (folder / "table.txt").read_text())
    for row in result.table:
        basis = Basis(row["split"], row["images"], row["seed"])
        text = str(Number(row["value"], row["unit"], basis, row.get("standard_error")))
        assert meaning(row["name"]), "a name without a sentence"
        assert f"<span>{with_arrow(row['name'])}</span>" in page
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


def assert_same_bytes(run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process measures and draws the same; of the figures, those that random numbers enter."""
    drawn = ("samples.png", "samples_mixture.png", "frozen_latents.png", "latent_density.png")
    for name in {*FIGURES} - {*drawn}:
        monkeypatch.delitem(FIGURES, name)
    monkeypatch.chdir(run.parent)
    again = api.evaluate("run", *ROUGH_NLL, output="again").folder
    found = [metrics(each) for each in (folder, again)]
    for each in found:
        assert each.pop("times")["seconds"].keys() == {*SECTIONS}
    assert json.dumps(found[0]) == json.dumps(found[1])
    for name in ("table.txt", "summary.md", *drawn):
        assert (folder / name).read_bytes() == (again / name).read_bytes(), name


def test_the_test_set_scored_while_training_agrees_too(
    train: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_folder(
        train("dataset.source=embedded", "dataset.classes=[7]", "dataset.val_size=0", "epochs=1",
              "dataset.binarize=dynamic", "model.latent_dim=3", "hydra.run.dir=run", *UNDRAWN)
    )  # fmt: skip
    for name in {*FIGURES} - {"latent_holes.png"}:
        monkeypatch.delitem(FIGURES, name)
    run = str(tmp_path / "run")
    result = api.evaluate(run, *only("bound", "classes"), "split=test", figures=True)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    found = values(result.folder, "bound")
    assert found["neg_elbo"] == float(row["test/neg_elbo"])
    assert found["bits_per_dim"] == pytest.approx(found["neg_elbo"] / (784 * math.log(2)))
    assert metrics(result.folder)["not_measured"]["classes"] == "requires images of at least two classes"
    assert "latent_holes.png: requires model.latent_dim=2" in result.text
    assert not (result.folder / "latent_holes.png").exists()
    with pytest.raises(VaelabError, match=r"^split=val, .* \(dataset\.val_size=0\): type split=test"):
        api.evaluate(run, "split=val")


OF_PIXELS = ("reconstructions.png", "reconstructions_ranked.png", "samples.png", "samples_mixture.png", "frozen_latents.png")  # fmt: skip
"""Figures to which the number of latent dimensions makes no difference."""


@pytest.mark.parametrize(
    ("settings", "left_out"),
    [
        (("model=conv", "model.channels=[4]", "model.latent_dim=1", "loss.likelihood=gaussian"), ()),
        pytest.param(("model.latent_dim=3", "dataset.binarize=static"), (), marks=pytest.mark.slow),
        (("model.latent_dim=70", "loss.likelihood=continuous_bernoulli", "kl=false", "artifacts.watermark='<b>A. Student'"), OF_PIXELS),
    ],
)  # fmt: skip
def test_any_run_can_be_evaluated(
    train: CommandLine,
    tmp_path: Path,
    settings: tuple[str, ...],
    left_out: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_folder(train(*TINY, *settings, *UNDRAWN, "epochs=1", "hydra.run.dir=run"))
    for name in left_out:
        monkeypatch.delitem(FIGURES, name)
    monkeypatch.setattr(ood, "IMAGES", 50)
    result = api.evaluate(tmp_path / "run", *ROUGH_NLL)
    assert result.failed == []
    assert "failed" not in result.text
    assert list(metrics(result.folder)["numbers"]) == list(SECTIONS)


def test_a_collapsed_latent_space_is_reported(run: Path) -> None:
    def encode_nothing(content: dict[str, Any]) -> None:
        for name, value in content["model"].items():
            if name.startswith("encoder"):
                value.zero_()

    rewrite(run / "checkpoints" / "best.safetensors", encode_nothing)
    result = api.evaluate(run, *only("latent"))
    assert "0 of 2 latent dimensions are active. Collapsed to the prior" in result.text


def test_sections_that_cannot_be_measured_say_why_and_the_others_continue(run: Path) -> None:
    result = api.evaluate(run, *only("bound", "latent", "classes", "images"), "split=train")
    off = ("nll", "samples", "frozen_latent", "ood")
    assert metrics(result.folder)["not_measured"] == {
        **{name: f"metrics.{name}=false" for name in off},
        "classes": "the probes are fitted on the training images: type split=test or split=val",
    }
    assert list(result.numbers) == ["bound", "latent", "images"]
    assert "\nNot measured\n  nll: metrics.nll=false\n" in result.text


def test_a_section_that_fails_stops_no_other_and_the_status_is_not_zero(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(*_: object) -> None:
        raise ZeroDivisionError("by a test")

    sections.get("latent")  # registers all
    monkeypatch.setitem(sections.registered, "latent", wrong)
    monkeypatch.chdir(run.parent)
    monkeypatch.setattr(
        sys, "argv", ["vaelab.evaluate", "checkpoint=run", *only("bound", "latent", "images")]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError: by a test" in said
    assert said.splitlines()[-1].endswith(" failed (see above): latent.")
    found = metrics(run / "evaluation" / "best")
    assert found["not_measured"]["latent"] == "failed with ZeroDivisionError: by a test"
    assert list(found["numbers"]) == ["bound", "images"]
