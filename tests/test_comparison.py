"""Comparisons: tables, verdicts and figures of the grid in the README, made again only where something changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from harness import command_line_of
from sweep_helpers import COMPARISON_FIGURES, JOBS, last_row, swept_grid, table
from vaelab.cli import api
from vaelab.cli.plan import Sweep
from vaelab.cli.sweep import end
from vaelab.comparison import compare, figures
from vaelab.comparison.compare import ComparisonSteps
from vaelab.comparison.figures import FamilyFigures
from vaelab.config import CompareConfig
from vaelab.evaluation.model import EvaluatedModel
from vaelab.runs.folder import RunFolder


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    return swept_grid(tmp_path_factory)


def test_a_sweep_ends_with_its_comparison(swept: tuple[Path, Any]) -> None:
    folder, _ = swept
    made = {path.name for path in (folder / "comparison").iterdir()}
    assert made == {"comparison.csv", "comparison.md", "report.html", *COMPARISON_FIGURES}
    for name in COMPARISON_FIGURES:
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
    assert "**Embedded subset: " in text
    assert text.count("Differences were not tested") == 1
    assert "t-test" not in text
    assert "deviation over seeds" not in (folder / "comparison" / "report.html").read_text()  # one each
    for name in COMPARISON_FIGURES:
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
    comparison = ComparisonSteps(CompareConfig(sweep=str(swept[0])))
    (family,) = comparison.found.families
    examples = {model.label: comparison.evaluated_model(model.members[0]).examples for model in family.models}
    titles = [axes.get_title(loc="left") for axes in FamilyFigures(family, examples).holes().axes]
    assert ["\n".join(title.splitlines()[:2]) for title in titles if title] == [
        f"{model.label}\n{100 * model.members[0].evaluation['numbers']['latent']['prior_not_covered']['model']['value']:.1f} % "
        "of prior draws in holes"
        for model in family.models
    ]  # fmt: skip


def test_comparing_again_evaluates_nothing_twice_and_shows_the_curves_of_the_checkpoint(
    swept: tuple[Path, Any], tmp_path: Path
) -> None:
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
    before = {path: path.read_bytes() for path in folder.rglob("metrics.json")}
    again = command_line_of("vaelab.compare", tmp_path)("sweep=sweep", "figures=false")
    assert again.returncode == 0, again.stderr
    assert table(folder) == table(swept[0])
    assert {path: path.read_bytes() for path in folder.rglob("metrics.json")} == before
    assert "\nComparison: sweep/comparison\n  report.html " in again.stdout


def test_a_comparison_tells_a_terminal_which_run_it_measures_and_what_it_draws(
    swept: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(swept[0] / JOBS[0], tmp_path / "runs" / "a")
    shutil.rmtree(tmp_path / "runs" / "a" / "evaluation")
    drawn = ("samples.png", "frozen_latents.png")
    for name in COMPARISON_FIGURES - {*drawn}:
        monkeypatch.delitem(figures.FIGURES, name)
    fcntl, termios = map(pytest.importorskip, ("fcntl", "termios"))
    terminal, its_end = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    shown: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # the end, on Linux
            while more := os.read(terminal, 65536):
                shown.append(more)

    reader = Thread(target=read)
    reader.start()
    try:
        with os.fdopen(its_end, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            api.compare(tmp_path / "runs")
    finally:
        reader.join()
        os.close(terminal)
    said = b"".join(shown).decode()
    for doing in ("run 1 of 1, ", "prior samples", *map("drawing {}".format, drawn), "writing report.html"):
        assert doing in said, doing


# --- failures ---------------------------------------------------------------------------------------------


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


def test_an_evaluation_that_is_replaced_loses_no_number(swept: tuple[Path, Any], tmp_path: Path) -> None:
    run = Path(shutil.copytree(swept[0] / "1_beta-0.1_kl-false", tmp_path / "runs" / "a"))
    path = run / "evaluation" / "last" / "metrics.json"
    found = json.loads(path.read_text())  # as after metrics.samples=false, and with frozen latents
    del found["numbers"]["samples"]
    found["not_measured"] = {"samples": "metrics.samples=false"}
    found["numbers"]["frozen_latent"] = {}
    path.write_text(json.dumps(found))
    api.compare(tmp_path / "runs", figures=False)
    numbers = json.loads(path.read_text())["numbers"]
    assert numbers["frozen_latent"]["diversity"]
    assert numbers["samples"]["fid_fashion_mnist_cnn"]["prior samples"]["value"] > 0


# --- seeds, families, findings ----------------------------------------------------------------------------


def test_evaluations_that_were_made_otherwise_are_made_again(
    swept: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    made: list[str] = []

    class Recorded:
        """Replaces an evaluation by the one that the run had before: what it measures is tested elsewhere."""

        def __init__(self, evaluated: EvaluatedModel, which: str) -> None:
            self.path = RunFolder.around(evaluated.run.checkpoint).evaluation("last", "test") / "metrics.json"  # type: ignore[union-attr]

        def run(self) -> SimpleNamespace:
            made.append(self.path.parents[2].name)
            shutil.copy(swept[0] / self.path.relative_to(folder), self.path)
            return SimpleNamespace(failed=[], interrupted_by=0)

    monkeypatch.setattr(compare, "Evaluation", Recorded)
    only_shown = api.compare(folder, figures=False, evaluate=False)
    assert "for 4 of 4 runs (evaluate=false)" in " ".join(only_shown.notes)
    assert "0.988" not in only_shown.text
    assert made == []
    again = api.compare(folder, figures=False)
    assert sorted(made) == sorted(JOBS)
    assert table(folder) == table(swept[0])
    # In the order of the table: KL off first.
    said = f"the earlier evaluations were on other images: {JOBS[1]}, {JOBS[0]}."
    assert f"Evaluated again, because {said}" in again.notes


def test_scores_on_different_feature_networks_are_never_compared(
    swept: tuple[Path, Any], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "sweep"))
    path = folder / JOBS[2] / "evaluation" / "last" / "metrics.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    features = found["numbers"]["samples"]["features"]
    present, features["sha256"] = features["sha256"], "0" * 64
    path.write_text(json.dumps(found), encoding="utf-8")
    apart = api.compare(folder, figures=False, evaluate=False)
    said = " ".join(apart.summary.split())
    assert "FID, precision and recall of Fashion-MNIST" in said
    assert f"different feature networks (SHA-256 000000000000…, {present[:12]}…). evaluate=true" in said
    assert not [key for key in table(folder)[0] if key.startswith(("fid", "precision", "recall"))]
    assert table(folder)[0]["silhouette"] == table(swept[0])[0]["silhouette"]
    again = api.compare(folder, figures=False)
    assert f"another feature network: {JOBS[2]}." in " ".join(again.notes)
    assert table(folder) == table(swept[0])


def test_a_folder_of_links_to_runs_is_compared(swept: tuple[Path, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(swept[0], tmp_path / "elsewhere" / "sweep"))
    links = tmp_path / "links"
    links.mkdir()
    for name, job in {"off": JOBS[1], "on": JOBS[3]}.items():
        (links / name).symlink_to(folder / job)
    (links / "again").symlink_to(folder / JOBS[3])
    (folder / JOBS[3] / "circle").symlink_to(links)
    result = api.compare(links, figures=False)
    assert result.summary.startswith("2 runs compared\n")
    assert [row["model"] for row in table(links)] == ["KL off", "beta 1"]
