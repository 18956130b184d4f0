"""Progress, interruptions, the summary and the numbers of an evaluation in words."""

from __future__ import annotations

import fcntl
import math
import os
import pty
import select
import signal
import struct
import termios
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from evaluation_helpers import (
    ROUGH_NLL,
    metrics,
    number,
    only,
    run_of_three_epochs,
)
from harness import CommandLine, command_line_of
from vaelab.config import Config
from vaelab.evaluation.figures import FIGURES
from vaelab.evaluation.numbers import Basis, CannotMeasure, Number, Section
from vaelab.evaluation.sections.bound import published_likelihoods
from vaelab.evaluation.sections.latent import collapse_verdict
from vaelab.evaluation.sections.samples import precision_verdicts, sampling_verdict
from vaelab.evaluation.summary import summary


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of_three_epochs(tmp_path_factory)


def test_a_terminal_shows_what_is_measured_and_drawn(evaluate: CommandLine, run: Path) -> None:
    outer, inner = pty.openpty()
    fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    with ThreadPoolExecutor() as elsewhere:
        ended = elsewhere.submit(
            evaluate,
            "checkpoint=run",
            *ROUGH_NLL,
            *only("bound", "nll", figures=True),
            going_wrong={"stderr": os.ttyname(inner)},
        )
        shown = b""
        while not ended.done() or select.select([outer], [], [], 0)[0]:
            if select.select([outer], [], [], 0.1)[0]:
                shown += os.read(outer, 10_000)
    for end in (inner, outer):
        os.close(end)
    assert ended.result().returncode == 0
    for text in (
        "loading PyTorch and the checkpoint …", "reading the images …", "measuring 1 of 2: bound",
        "measuring 2 of 2: nll, 40 of 40 images", f"drawing 1 of {len(FIGURES)}: reconstructions.png",
    ):  # fmt: skip
        assert text in shown.decode(), text


# --- interruptions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interruption_keeps_what_was_measured(
    evaluate: CommandLine, run: Path, number: signal.Signals
) -> None:
    (run.parent / "interrupted.py").write_text(INTERRUPTED.format(number=int(number)))

    def interrupt() -> tuple[int, str, str]:
        endless = ["checkpoint=run", "importance_samples=100000", "metrics.bound=true"]
        result = command_line_of("interrupted", run.parent)(*endless)
        return result.returncode, result.stdout, result.stderr

    code, stdout, stderr = interrupt()
    folder = run / "evaluation" / "best"
    assert code == 128 + number
    assert stderr == f"WARNING: Interrupted ({number.name}): only some of the numbers were written.\n"
    assert "neg_elbo" in stdout
    assert metrics(folder)["status"] == "interrupted"
    assert list(metrics(folder)["numbers"]) == ["bound"]

    assert evaluate("checkpoint=run", *only("bound")).returncode == 0
    before = (folder / "metrics.json").read_bytes()
    code, stdout, stderr = interrupt()
    assert (code, stdout) == (128 + number, "")
    assert stderr == f"WARNING: Interrupted ({number.name}): nothing was written.\n"
    assert (folder / "metrics.json").read_bytes() == before
    assert not list(run.rglob("*.partial"))


INTERRUPTED = """
import os, signal, threading
from vaelab.evaluate import main
from vaelab.evaluation.sections import sections
nll = sections.get("nll")
def interrupted(evaluated, progress):
    threading.Timer(0.2, os.kill, (os.getpid(), {number})).start()
    return nll(evaluated, progress)
sections.registered["nll"] = interrupted
main()
"""


# --- the words --------------------------------------------------------------------------------------------


def test_verdicts_state_active_and_collapsed_dimensions_and_which_sampling_is_better() -> None:
    assert collapse_verdict(16, 0, 0) == "16 of 16 latent dimensions are active."
    assert (
        collapse_verdict(1, 2, 0)
        == "1 of 3 latent dimensions is active. Collapsed to the prior (KL below 0.01 nats): 2."
    )
    constant = collapse_verdict(0, 0, 2)
    assert constant.startswith("0 of 2 latent dimensions are active. Constant away from the prior")
    assert constant.endswith(": 2.")

    for mixture, verdict in (
        (20.0, "the FID from the mixture is 80 % lower, so the aggregate posterior differs from the prior."),
        (97.0, "no clear difference."),
        (140.0, "sampling from the mixture is worse."),
    ):
        assert sampling_verdict(number(100.0), number(mixture)).endswith(verdict)


def test_precision_beside_no_recall_is_explained() -> None:

    def column(precision: float, recall: float) -> dict[str, Number]:
        return {"precision_cnn": number(precision, 0.01), "recall_cnn": number(recall, 0.001)}

    floor = {"real images (floor)": column(0.9, 0.9)}
    speckle, honest, poor = column(0.98, 0.0), column(0.98, 0.8), column(0.5, 0.0)
    assert precision_verdicts({"good": honest, "poor": poor, **floor}, "cnn") == []
    (verdict,) = precision_verdicts({"speckle": speckle, "good": honest, **floor}, "cnn")
    assert "does not indicate quality" in verdict
    assert verdict.endswith("(speckle: 0.980 ± 0.010 beside a recall of 0.0000 ± 0.0010).")


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


def test_the_summary_says_what_was_not_measured_and_why() -> None:
    found = summary({}, {"samples": "3 images are too few", "bound": "metrics.bound=false"})
    assert found == {
        aspect: f"Not measured: {sections}."
        for aspect, sections in (
            ("Reconstruction", "bound (metrics.bound=false), images"),
            ("Realism of samples", "samples (3 images are too few)"),
            ("Diversity of samples", "images, samples (3 images are too few)"),
            ("Latent space", "latent, classes"),
            ("What limits the samples", "samples (3 images are too few)"),
        )
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
        "  nll: A tighter upper bound on −log p(x), or on −log p(x|y) given the class, from K importance",
        "  samples.",
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
