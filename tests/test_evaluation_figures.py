"""Figures of evaluations show the numbers of the tables, of the same weights."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from matplotlib.text import Text

import vaelab
from evaluation_helpers import only, run_of_three_epochs
from vaelab.cli import api
from vaelab.config import EvaluationConfig
from vaelab.evaluation.evaluate import evaluated_model
from vaelab.evaluation.figures import FIGURES
from vaelab.evaluation.numbers import as_percent
from vaelab.evaluation.sections import sections


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of_three_epochs(tmp_path_factory)


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


def test_figures_of_other_weights_are_removed(run: Path) -> None:
    checkpoint, folder = run / "checkpoints" / "last.safetensors", run / "evaluation" / "last"
    api.evaluate(checkpoint, *only("bound"))
    for name in (*FIGURES, "mine.png"):
        (folder / name).write_bytes(b"drawn")
    api.evaluate(checkpoint, *only("bound"))
    assert all((folder / name).exists() for name in FIGURES)  # of these very weights
    shutil.copy(run / "checkpoints" / "epoch_0001.safetensors", checkpoint)
    api.evaluate(checkpoint, *only("bound"))
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.json", "mine.png", "summary.md", "table.txt"
    ]  # fmt: skip


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
