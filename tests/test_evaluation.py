"""`python -m vaelab.evaluate` end to end: what it writes, that it agrees with training, and what it refuses."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import math
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.text import Text
from PIL import Image

import vaelab
from harness import TINY, CommandLine, command_line_of, environment, once, rewrite, run_folder
from vaelab.cli import api
from vaelab.config import Config, EvaluationConfig, ScoredDataConfig, VaelabError
from vaelab.config.evaluate import ON_REQUEST
from vaelab.evaluation.evaluate import EvaluationResult, evaluated_model
from vaelab.evaluation.figures import FIGURES
from vaelab.evaluation.numbers import Basis, CannotMeasure, Number, Section, as_percent
from vaelab.evaluation.sections import section_names, sections
from vaelab.evaluation.sections.bound import published_likelihoods
from vaelab.evaluation.sections.latent import collapse_verdict
from vaelab.evaluation.sections.samples import precision_verdicts, sampling_verdict
from vaelab.evaluation.summary import summary
from vaelab.metrics.features import untrained_network
from vaelab.pages.notebook import Rows
from vaelab.pages.run_report import write_run_report
from vaelab.runs.folder import RunFolder

SECTIONS = [name for name in section_names() if name not in ON_REQUEST]
QUICK = ("importance_samples=5", "nll_images=40")
NO_FIGURES = ("artifacts.every=0", "artifacts.figures=false", "artifacts.gif=false")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs whose best.safetensors is not its last.safetensors."""
    command = (*TINY, *NO_FIGURES, "epochs=3", "optimizer.lr=0.02", "artifacts.checkpoint_every=1")

    def make(folder: Path) -> None:
        run_folder(command_line_of("vaelab.train", folder)(*command, "hydra.run.dir=run"))

    return once(tmp_path_factory, "trained", make)[0] / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it in this test's own folder."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def values(folder: Path, section: str) -> dict[str, float]:
    """The numbers of a section that has one column."""
    return {name: row["model"]["value"] for name, row in metrics(folder)["numbers"][section].items()}


def assert_refused(result: subprocess.CompletedProcess[str], message: str) -> None:
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == f"vaelab: {message}\n"


# --- what it writes ---------------------------------------------------------------------------------------


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


def test_the_figure_of_frozen_latents_has_the_numbers_of_the_table(trained: Path) -> None:
    """Of the images whose first ones it draws; those of σ = 1 are prior samples."""
    evaluated = evaluated_model(vaelab.load(trained), EvaluationConfig(checkpoint=str(trained)), {})
    numbers = sections.get("frozen_latent")(evaluated, lambda _: None).rows["diversity"]
    assert list(numbers) == ["posterior samples", "σ = 0.1", "σ = 0.5", "σ = 1", "real images"]
    figure = FIGURES["frozen_latents.png"](evaluated)
    headings = ("baseline: posterior samples", "σ = 0.1", "σ = 0.5", "σ = 1, the prior")
    expected = [f"{name}\ndiversity {of}" for name, of in zip(headings, numbers.values(), strict=False)]
    assert [text.get_text() for text in figure.texts[2:]] == expected
    (axes,) = figure.axes
    drawn = axes.containers[0].lines[0].get_xydata()  # type: ignore[attr-defined]
    sigmas = {0.1: "σ = 0.1", 0.5: "σ = 0.5", 1.0: "σ = 1"}
    assert drawn.tolist() == [[sigma, numbers[name].value] for sigma, name in sigmas.items()]
    legend = axes.get_legend()
    assert legend is not None
    assert f"real images: {numbers['real images']}" in [text.get_text() for text in legend.get_texts()]
    of_images = sections.get("images")(evaluated, lambda _: None).rows["diversity"]
    for name, other in (("σ = 1", "prior samples"), ("real images", "real images")):
        assert numbers[name].value == of_images[other].value


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
        ("model.latent_dim=3", "dataset.binarize=static"),
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


def test_figures_of_other_weights_are_removed(evaluate: CommandLine, run: Path) -> None:
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    folder = run / "evaluation" / "last"
    assert evaluate("checkpoint=run/checkpoints/last.safetensors", *bound_only).returncode == 0
    (folder / "mine.png").write_bytes(b"a user's own")
    assert (
        evaluate("checkpoint=run/checkpoints/last.safetensors", *bound_only, "figures=false").returncode == 0
    )
    assert (folder / "samples.png").exists()  # of these very weights
    shutil.copy(run / "checkpoints" / "epoch_0001.safetensors", run / "checkpoints" / "last.safetensors")
    assert (
        evaluate("checkpoint=run/checkpoints/last.safetensors", *bound_only, "figures=false").returncode == 0
    )
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.json", "mine.png", "summary.md", "table.txt"
    ]  # fmt: skip


def from_nowhere(content: dict[str, Any]) -> None:
    """As if the run's data had been in a folder that no longer exists."""
    content["config"]["dataset"] |= {"source": "auto", "root": "/no/such/folder"}


def test_a_checkpoint_that_has_left_its_run(evaluate: CommandLine, run: Path, tmp_path: Path) -> None:
    """Nothing else is needed: not the run folder, and not the data's old place."""
    (tmp_path / "mail").mkdir()
    rewrite(
        run / "checkpoints" / "best.safetensors",
        from_nowhere,
        tmp_path / "mail" / "from_a_friend.safetensors",
    )
    shutil.rmtree(run)
    result = evaluate(
        "checkpoint=mail/from_a_friend.safetensors", *QUICK, "figures=false", "metrics.classes=false"
    )
    assert result.returncode == 0, result.stderr
    assert (
        "WARNING: The run's dataset.root=/no/such/folder has no fashion_mnist: searching the default locations."
        in result.stderr
    )
    assert "WARNING: EMBEDDED SUBSET instead of the full set: Fashion-MNIST is neither in" in result.stderr
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == ["metrics.json"]
    assert metrics(tmp_path / "mail" / "evaluation" / "from_a_friend")["data"]["fallback"]


def test_other_images_than_the_runs_own_are_reported(evaluate: CommandLine, run: Path) -> None:

    def of_the_full_set(content: dict[str, Any]) -> None:
        content["data"]["sha256"]["train-images-idx3-ubyte"] = "0" * 64
        content["data"]["complete"] = True

    rewrite(run / "checkpoints" / "best.safetensors", of_the_full_set)
    assert_refused(
        evaluate("checkpoint=run", "split=val"),
        "split=val of Fashion-MNIST (embedded subset; classes Trouser, Sneaker) has different images from those of the "
        "run, which was trained on the full set: type split=test.",
    )
    result = evaluate(
        "checkpoint=run", "figures=false", *[f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    )
    assert result.returncode == 0, result.stderr
    assert (
        "WARNING: The run was trained on the full set and is evaluated on Fashion-MNIST (embedded subset"
        in result.stderr
    )
    assert metrics(run / "evaluation" / "best_subset")["data"]["trained_on_the_same_files"] is False


def test_several_checkpoints_one_after_the_other(evaluate: CommandLine, run: Path) -> None:
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    result = evaluate(
        "-m",
        "checkpoint=run/checkpoints/last.safetensors,nowhere.safetensors,run",
        *bound_only,
        "figures=false",
    )
    assert result.returncode == 1
    assert (
        "vaelab: There is no checkpoint nowhere.safetensors." in result.stderr
        or "nowhere.safetensors does not exist" in result.stderr
    )
    assert (
        result.stderr.splitlines()[-1]
        == "vaelab: These jobs failed (see above): checkpoint=nowhere.safetensors."
    )
    assert result.stdout.count("Evaluation folder: ") == 2


def test_the_last_model_by_name(
    train: CommandLine, evaluate: CommandLine, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RUN/last, RUN/best and RUN/epoch_0001 wherever a run or a checkpoint is given; also from older files."""
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    result = evaluate("-m", "checkpoint=run/last,run/epoch_0001", *bound_only, "figures=false")
    assert result.returncode == 0, result.stderr
    for name, epoch in (("last", 3), ("epoch_0001", 1)):
        folder = run / "evaluation" / name
        assert metrics(folder)["checkpoint"] == {
            "file": f"{name}.safetensors", "epoch": epoch,
            "sha256": hashlib.sha256((run / "checkpoints" / f"{name}.safetensors").read_bytes()).hexdigest(),
        }  # fmt: skip
        assert (
            (folder / "table.txt")
            .read_text()
            .startswith(f"mlp, 2 latent dimensions, beta 1, bernoulli · {name}, epoch {epoch} · ")
        )
        assert (folder / "summary.md").read_text().startswith(f"# run: {name}, epoch {epoch}\n")
    monkeypatch.chdir(run.parent)
    last = vaelab.load("run", which="last")
    assert (last.epoch, last.moment) == (3, "last, epoch 3")
    assert vaelab.load("run/best").epoch == vaelab.load("run").epoch == vaelab.load("run", "best").epoch
    with pytest.raises(
        VaelabError,
        match=r"^run/lats does not exist\. Did you mean 'last'\? Its checkpoints: run/best, run/epoch",
    ):
        vaelab.load("run", which="lats")
    for path in ("run/last", "run/checkpoints/last.safetensors"):
        with pytest.raises(
            VaelabError, match=r"last\.safetensors is itself a checkpoint: give which=best with"
        ):
            vaelab.load(path, which="best")
    assert torch.equal(vaelab.sample("run/last", 4), last.sample(4))
    page = api.explore("run/last", images=10, output="page.html")
    assert '"run: last, epoch 3"' in page.path.read_text()
    assert (repr(page), Path(page)) == ("<Explorer: page.html>", page.path)
    resumed = train("resume=run/epoch_0001", "epochs=2")
    assert "Going back to epoch 1" in resumed.stderr
    assert json.loads((run / "run.json").read_text())["epochs"] == {"done": 2, "total": 2}


def test_an_untrained_network_shows_that_its_fid_means_nothing(evaluate: CommandLine, run: Path) -> None:
    only = [f"metrics.{name}=false" for name in SECTIONS if name != "samples"]
    result = evaluate("checkpoint=run", "metrics.fid_untrained=true", *only, "figures=false")
    assert result.returncode == 0, result.stderr
    found = metrics(run / "evaluation" / "best")["numbers"]
    trained, random = found["samples"]["fid_fashion_mnist_cnn"], found["fid_untrained"]["fid_untrained"]
    assert trained.keys() == random.keys()
    for of, number in random.items():
        assert 0 <= number["value"] < trained[of]["value"] / 100, of
    assert "Never report it" in result.stdout
    again = [untrained_network(seed, torch.device("cpu")).state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(again[0][name], again[1][name]) for name in again[0])
    assert not torch.equal(again[0]["head.1.weight"], again[2]["head.1.weight"])


def test_figures_show_the_numbers_of_the_tables(trained: Path) -> None:
    evaluated = evaluated_model(vaelab.load(trained), EvaluationConfig(checkpoint=str(trained)), {})
    latent = sections.get("latent")(evaluated, lambda _: None)
    rows = {name: row["model"] for name, row in latent.rows.items()}

    def texts(name: str) -> list[str]:
        return [" ".join(text.get_text().split()) for text in FIGURES[name](evaluated).findobj(Text)]

    moment = f"best, epoch {evaluated.run.epoch}"
    assert any(f" · {moment}" in text for text in texts("samples.png"))
    holes = f"holes: {as_percent(rows['prior_not_covered'])} of prior draws"
    assert any(text.startswith(holes) for text in texts("latent_holes.png"))
    bars = texts("kl_per_dimension.png")
    assert (
        f"2 latent dimensions, in total {rows['kl']} nats per image; {rows['collapsed_dimensions']} collapsed"
        in bars
    )
    kl = sorted(latent.details["kl_per_dimension"]["values"], reverse=True)
    assert [f"{each:.2f}" for each in kl] == [text for text in bars if re.fullmatch(r"\d+\.\d\d", text)][-2:]
    assert sum(kl) == pytest.approx(rows["kl"].value, rel=1e-5)
    nats = evaluated.bound.terms.reconstruction
    best, worst = nats.sort().values[:10], nats.sort().values[-10:]
    ranked = texts("reconstructions_ranked.png")
    for each in (best, worst):
        assert any(f"{each.min():.0f} to {each.max():.0f} nats" in text for text in ranked)


def test_published_numbers_stand_beside_those_of_the_same_images() -> None:

    def beside(
        binarize: str = "none", complete: bool = True, classes: int = 10, given: tuple[int, ...] = ()
    ) -> list[str]:
        spec = SimpleNamespace(name="mnist", classes=range(10))
        origin = SimpleNamespace(complete=complete)
        data = SimpleNamespace(spec=spec, binarize=binarize, origin=origin, classes=range(classes))
        run = SimpleNamespace(config=Config())
        split, model = SimpleNamespace(name="test"), SimpleNamespace(classes=given)
        return published_likelihoods(SimpleNamespace(data=data, run=run, split=split, model=model))  # type: ignore[arg-type]

    assert beside() == [
        "Published for these test images: neg_elbo 105.59 (PyTorch's examples: mlp, 20 latent dimensions, 10 epochs)."
    ]
    assert "86.76 (Burda et al. 2016" in beside("dynamic")[0]
    assert beside("static") == beside(complete=False) == beside(classes=3) == beside(given=(0, 1)) == []


def test_progress_on_a_terminal(run: Path) -> None:
    """What is measured and drawn, and how much of it there is; in a pipe there is nothing."""
    outer, inner = pty.openpty()
    fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    only = [f"metrics.{name}=false" for name in SECTIONS if name not in ("bound", "nll")]
    process = subprocess.Popen(
        [sys.executable, "-m", "vaelab.evaluate", "checkpoint=run", *QUICK, *only], cwd=run.parent,
        env=environment(), stdout=subprocess.PIPE, stderr=inner,
    )  # fmt: skip
    os.close(inner)
    shown = b""
    with suppress(OSError):  # the terminal's end
        while part := os.read(outer, 10_000):
            shown += part
    process.communicate()
    os.close(outer)
    assert process.returncode == 0
    for text in (
        "loading PyTorch and the checkpoint …", "reading the images …", "measuring 1 of 2: bound",
        "measuring 2 of 2: nll, 40 of 40 images", f"drawing 1 of {len(FIGURES)}: reconstructions.png",
    ):  # fmt: skip
        assert text in shown.decode(), text


# --- interruptions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_was_measured(
    evaluate: CommandLine, run: Path, number: signal.Signals
) -> None:
    endless = ["checkpoint=run", "importance_samples=100000", "metrics.bound=true"]
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]

    def interrupt() -> tuple[int, str, str]:
        process = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, *endless], cwd=run.parent, env=environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "measuring nll\n"
        time.sleep(0.2)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
        return process.returncode, stdout, stderr

    code, stdout, stderr = interrupt()
    folder = run / "evaluation" / "best"
    assert code == 128 + number
    assert stderr == f"WARNING: Interrupted ({number.name}): only some of the numbers were written.\n"
    assert "neg_elbo" in stdout
    assert metrics(folder)["status"] == "interrupted"
    assert list(metrics(folder)["numbers"]) == ["bound"]

    assert evaluate("checkpoint=run", *bound_only, "figures=false").returncode == 0
    before = (folder / "metrics.json").read_bytes()
    code, stdout, stderr = interrupt()
    assert (code, stdout) == (128 + number, "")
    assert stderr == f"WARNING: Interrupted ({number.name}): nothing was written.\n"
    assert (folder / "metrics.json").read_bytes() == before
    assert not list(run.rglob("*.partial"))


INTERRUPTED = """
from vaelab.evaluate import main
from vaelab.evaluation.sections import sections
nll = sections.get("nll")
@sections.register("nll")
def announced(evaluated, progress):
    print("measuring nll", flush=True)
    return nll(evaluated, progress)
main()
"""


# --- what it refuses --------------------------------------------------------------------------------------


def test_paths_that_are_not_checkpoints(evaluate: CommandLine, run: Path, tmp_path: Path) -> None:
    for name in (
        "best.safetensors",
        "last.safetensors",
        "epoch_0001.safetensors",
        "epoch_0002.safetensors",
        "epoch_0003.safetensors",
    ):
        (run / "checkpoints" / name).unlink()
    (tmp_path / "empty").mkdir()
    for path, message in (
        ("run", "There is no checkpoint run/checkpoints/best.safetensors."),
        ("nowhere", "nowhere does not exist. Type the path of a run folder or of a checkpoint in it."),
        ("empty", "empty is neither a run folder nor a file in one (there is no run.json): type a folder that vaelab.train has created."),
    ):  # fmt: skip
        assert_refused(evaluate(f"checkpoint={path}"), message)
    assert not list(tmp_path.rglob("evaluation"))


WRONG = [
    ((), "checkpoint must be a run folder or a checkpoint, such as outputs/2026-11-21/..., got null."),
    (("checkpoint=",), "checkpoint must be a run folder or a checkpoint, such as outputs/2026-11-21/..., got ''."),
    (("checkpoint=x", "split=tset"), "split must be test, val or train, got tset."),
    (("checkpoint=x", "importance_samples=0"), "importance_samples must be a whole number of at least 1, got 0."),
    (("checkpoint=x", "nll_images=-1"), "nll_images must be a whole number of at least 1, or null for all, got -1."),
    (("checkpoint=x", "metrics.nll=maybe"), "metrics.nll must be true or false, got maybe."),
    (("checkpoint=x", "metrics.nl=false"), "Unknown setting 'metrics.nl'. Did you mean 'metrics.nll'? --help lists all settings."),
    (("checkpont=x",), "Unknown setting 'checkpont'. Did you mean 'checkpoint'? --help lists all settings."),
    (("checkpoint=x", "+beta=3"), "Unknown setting 'beta'. --help lists all settings."),
    (("checkpoint=x", "dataset=mnist"), "'dataset' can't be chosen here: the checkpoint determines it."),
    (("checkpoint=x", "dataset.source=ful"), "dataset.source must be auto, full, embedded or null, got ful."),
    (("checkpoint=x", "device=gpu"), "device must be auto, cpu, cuda, cuda:N or mps, got gpu."),
    (("checkpoint=x", "seed=1.5"), "seed must be a whole number of at least 0 and below 2**63 or null, got 1.5."),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_value_is_one_line(
    evaluate: CommandLine, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert_refused(evaluate(*arguments), message)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_data_that_is_not_there(evaluate: CommandLine, run: Path) -> None:
    assert_refused(
        evaluate("checkpoint=run", "dataset.source=full", "dataset.root=/no/such/folder"),
        "dataset.root=/no/such/folder is not a directory: type one with the data, or create it for a download.",
    )
    assert not (run / "evaluation").exists()


def test_help_lists_settings_without_torch(tmp_path: Path) -> None:
    script = "import sys, vaelab.evaluate as e; sys.argv = ['evaluate', '--help']\ntry: e.main()\nfinally: print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment()
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("False\n")
    for line in ("checkpoint=null", "importance_samples=500", "metrics.frozen_latent=true", "split=test"):
        assert line in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 132


# --- the words --------------------------------------------------------------------------------------------


def test_verdicts() -> None:
    assert collapse_verdict(16, 0, 0) == "16 of 16 latent dimensions are active."
    to_prior = " Collapsed to the prior (KL below 0.01 nats): 2."
    assert collapse_verdict(1, 2, 0) == f"1 of 3 latent dimensions is active.{to_prior}"
    constant = " Constant away from the prior (nearly the same posterior mean for all images): 2."
    assert collapse_verdict(0, 0, 2) == f"0 of 2 latent dimensions are active.{constant}"

    for mixture, verdict in (
        (20.0, "80 % less: the aggregate posterior differs from the prior."),
        (97.0, "no clear difference."),
        (140.0, "sampling from the mixture is worse."),
    ):
        assert sampling_verdict(number(100.0), number(mixture)).endswith(verdict)


def number(value: float, error: float = 2.0, images: int = 1000) -> Number:
    return Number(value, "a unit", Basis("test", images, 7), error)


def test_precision_beside_no_recall_is_explained() -> None:

    def column(precision: float, recall: float) -> dict[str, Number]:
        return {"precision_cnn": number(precision, 0.01), "recall_cnn": number(recall, 0.001)}

    floor = {"real images (floor)": column(0.9, 0.9)}
    speckle, honest, poor = column(0.98, 0.0), column(0.98, 0.8), column(0.5, 0.0)
    assert precision_verdicts({"good": honest, "poor": poor, **floor}, "cnn") == []
    assert precision_verdicts({"speckle": speckle, "good": honest, **floor}, "cnn") == [
        "A precision above the floor (0.900 ± 0.010) does not indicate quality where recall is near 0: these images "
        "lie where real ones are densest and cover hardly any others (speckle: 0.980 ± 0.010 beside a recall "
        "of 0.0000 ± 0.0010)."
    ]


SAMPLES = ("prior samples", "mixture samples", "reconstructions", "real images (floor)")


def of_fids(*fids: float) -> dict[str, Section]:
    """A section `samples` with these FIDs, of prior samples, mixture samples, reconstructions and the floor."""
    shares = dict.fromkeys(SAMPLES, number(0.5, 0.01))
    rows = {"fid_mnist_cnn": dict(zip(SAMPLES, map(number, fids), strict=True))}
    return {"samples": Section("", rows | {f"{each}_mnist_cnn": shares for each in ("precision", "recall")})}


def of_latents(active: int, information: float) -> dict[str, Section]:
    names = ("kl", "marginal_kl", "prior_not_covered", "posterior_not_covered")
    counted = replace(number(active), value=active, unit="of 2 dimensions", standard_error=None)
    draws = replace(number(0.5, 0.1), basis=Basis("train", 1000, 7, 1000, "prior draws"))
    rows = dict.fromkeys(names, draws) | {"active_units": counted, "mutual_information": number(information)}
    return {"latent": Section("", {name: {"model": each} for name, each in rows.items()})}


def test_the_summary_says_what_limits_the_samples() -> None:
    for fids, beginning in (
        (
            (100.0, 20.0, 10.0, 1.0),
            "Sampling from the prior adds more to the FID than encoding and decoding: FID is 100.0",
        ),
        (
            (100.0, 95.0, 90.0, 1.0),
            "Encoding and decoding add more to the FID than sampling from the prior: FID is 100.0",
        ),
        ((100.0, 95.0, 51.0, 1.0), "FID is 100.0"),  # within the errors
        ((165.0, 79.0, 77.0, 0.1), "FID is 165.0"),  # as distances the other gap is the larger one
    ):
        found = summary(of_fids(*fids), {})["What limits the samples"]
        assert found.startswith(f"{beginning} ± 2.0 for prior samples")
        assert f"{fids[2]:.1f} ± 2.0 for reconstructions and" in found
    collapsed = summary(of_latents(0, 0.0) | of_fids(100.0, 95.0, 51.0, 1.0), {})
    assert collapsed["What limits the samples"].startswith("Posterior collapse: 0 of 2 dimensions are active")


def test_the_summary_of_what_was_not_measured() -> None:
    found = summary({}, {"samples": "3 images are too few", "bound": "metrics.bound=false"})
    assert found == {
        "Reconstruction": "Not measured: bound (metrics.bound=false), images.",
        "Realism of samples": "Not measured: samples (3 images are too few).",
        "Diversity of samples": "Not measured: images, samples (3 images are too few).",
        "Latent space": "Not measured: latent, classes.",
        "What limits the samples": "Not measured: samples (3 images are too few).",
    }
    near, far = (summary(of_latents(1, each), {})["Latent space"] for each in (6.0, 2.0))
    assert near.startswith("1 of 2 latent dimensions is active; the KL of")
    assert "at least 6.0 ± 2.0 nats of mutual information I(x; z) and at most 0.50 ± 0.10 nats" in near
    assert "at least" not in far


def test_a_number_is_finite_and_shown_with_its_error() -> None:
    basis = Basis("test", 1000, 7, 500, "importance samples per image")
    number = Number(261.2345, "nats per image", basis, 0.123)
    assert str(number) == "261.23 ± 0.12"
    assert str(Number(0.012345, "x", basis)) == "0.01235"
    assert str(Basis("val", 1, 7)) == "val split · 1 image · seed 7"
    section = Section("Title", {"nll": {"model": number}}, "Remark.\nAnother.", ["Verdict."])
    said = {"Another."}
    assert section.table(said).splitlines() == [
        "Title",
        "               model",
        "-----  -------------  --------------",
        "nll ↓  261.23 ± 0.12  nats per image",
        "  Verdict.",
        "  nll: A tighter bound on −log p(x), or on −log p(x|y) given the class, from K importance samples.",
        "  test split · 1,000 images · 500 importance samples per image · seed 7",
        "  Remark.",
    ]
    assert section.table(said).splitlines()[4:] == ["  Verdict."]
    wide = Section("Title", {"fid_mnist_cnn": {f"number {place}": number for place in range(6)}}).table(set())
    assert wide.splitlines()[3].startswith("fid ↓  261.23 ± 0.12  261.23")
    assert "  fid_mnist_cnn (nats per image): Fréchet distance" in wide
    assert max(map(len, wide.splitlines())) <= 100
    with pytest.raises(CannotMeasure, match="nan: the model's outputs are not finite"):
        Number(math.nan, "nats", basis)


# --- strange but legal ------------------------------------------------------------------------------------


def test_binarised_runs_find_their_grey_images_where_the_others_were_found(
    train: CommandLine, evaluate: CommandLine, tmp_path: Path
) -> None:
    """The run's own folder was deleted, and another source is given."""
    run_folder(train(*TINY, *NO_FIGURES, "dataset.binarize=static", "epochs=1", "hydra.run.dir=run"))
    rewrite(tmp_path / "run" / "checkpoints" / "best.safetensors", from_nowhere)
    result = evaluate("checkpoint=run", *QUICK, "figures=false", "dataset.source=embedded")
    assert result.returncode == 0, result.stderr
    assert list(metrics(tmp_path / "run" / "evaluation" / "best")["numbers"]) == list(SECTIONS)
    loaded: dict[str, Any] = {}
    config = EvaluationConfig(checkpoint="any", dataset=ScoredDataConfig(source="embedded"))
    one, other = (evaluated_model(vaelab.load(tmp_path / "run"), config, loaded) for _ in range(2))
    assert one.grey_data is other.grey_data, "read once for several runs"


def test_too_few_images_are_reported_and_not_a_failure(
    train: CommandLine, evaluate: CommandLine, tmp_path: Path
) -> None:
    few = ("dataset.source=embedded", "dataset.classes=[1,7]", "dataset.val_size=9980", "batch_size=2")
    run_folder(train(*few, *NO_FIGURES, "epochs=1", "hydra.run.dir=run"))
    result = evaluate("checkpoint=run", *QUICK)
    assert result.returncode == 0, result.stderr
    assert metrics(tmp_path / "run" / "evaluation" / "best")["not_measured"] == {
        "classes": "requires 10 training images, of at least two classes",
        "samples": "3 images are too few for the covariance of 64 features: more training images and more scored images are required",
    }
    assert "samples_mixture.png: requires 64 samples, but only 3 are drawn for so few images" in result.stdout


def test_the_seed_of_an_evaluation_is_reported_everywhere(evaluate: CommandLine, run: Path) -> None:
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    result = evaluate("checkpoint=run", "seed=7", "figures=false", *bound_only)
    assert result.returncode == 0, result.stderr
    assert "trained with seed 42, evaluated with seed 7" in " ".join(result.stdout.splitlines()[:2])
    assert "1 posterior sample per image · seed 7" in result.stdout
    assert metrics(run / "evaluation" / "best_seed-7")["seed"] == 7
    assert not (run / "evaluation" / "best").exists()
    several = evaluate("checkpoint=run", "-m", "seed=7,8,42", "split=test,val", "figures=false", *bound_only)
    assert several.returncode == 0, several.stderr
    folders = ("best", "best_seed-7", "best_seed-8", "best_val", "best_val_seed-7", "best_val_seed-8")
    assert sorted(path.name for path in (run / "evaluation").iterdir()) == sorted(folders)
    assert {metrics(run / "evaluation" / name)["seed"] for name in folders[:3]} == {7, 8, 42}


def test_output_never_replaces_a_link_by_a_file(evaluate: CommandLine, run: Path, tmp_path: Path) -> None:
    """Of the folder or of a file in it: what is written goes where the link leads."""
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "kept.json").write_text("{}")
    (tmp_path / "real" / "metrics.json").symlink_to("../kept.json")
    (tmp_path / "page.html").write_text("")
    (tmp_path / "link.html").symlink_to("page.html")
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    result = evaluate("checkpoint=run", "output=folder", "figures=false", *bound_only)
    assert result.returncode == 0, result.stderr
    explored = command_line_of("vaelab.explore", tmp_path)("run=run", "output=link.html")
    assert explored.returncode == 0, explored.stderr
    assert json.loads((tmp_path / "kept.json").read_text())["status"] == "finished"
    assert (tmp_path / "page.html").stat().st_size > 0
    assert (tmp_path / "real" / "table.txt").is_file()
    for link in ("folder", "real/metrics.json", "link.html"):
        assert (tmp_path / link).is_symlink()


def test_an_output_that_can_not_be_written_is_noticed_first(evaluate: CommandLine, run: Path) -> None:
    (run.parent / "afile").write_text("")
    assert_refused(
        evaluate("checkpoint=run", "output=afile"),
        "afile can't be created (it, or a folder above it, is a file): type output=FOLDER.",
    )


def test_a_run_with_more_validation_images_than_the_subset_has(evaluate: CommandLine, run: Path) -> None:
    rewrite(
        run / "checkpoints" / "best.safetensors",
        lambda content: content["config"]["dataset"].update(val_size=50_000),
    )
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    result = evaluate("checkpoint=run", "figures=false", *bound_only)
    assert result.returncode == 0, result.stderr
    assert metrics(run / "evaluation" / "best")["data"]["images"] == 403
