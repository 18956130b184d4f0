"""Pages as text: what they say, that they fetch nothing and lead to each other."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
from markupsafe import escape
from torch import nn

import vaelab
import vaelab.explorer.network
from browsing import CONDITIONAL, FAILED, HOSTILE, RUNS
from evaluation_helpers import only
from vaelab.cli import api
from vaelab.comparison.compare import not_shown
from vaelab.comparison.figures import FIGURES
from vaelab.explorer.network import Weights, layer
from vaelab.models import build, models
from vaelab.pages.captions import conclusion
from vaelab.pages.epochs import KINDS
from vaelab.pages.glossary import MEANINGS, meaning, with_arrow
from vaelab.pages.page import ASSETS, chart, data_block, render


def test_a_run_has_its_report(pages: Path) -> None:
    text = (pages / RUNS[0] / "report.html").read_text()
    assert (
        "mlp, 3 latent dimensions, beta 1 · Fashion-MNIST (embedded subset; classes Trouser, Sneaker)" in text
    )
    assert "Embedded subset: results are not comparable with those of the full set." in text
    assert '<span class="status finished">finished</span>' in text
    assert '<code>model.latent_dim</code></td><td><code>3</code></td><td class="soft"><code>2</code>' in text
    last = (pages / RUNS[0] / "metrics.csv").read_text().splitlines()[-1].split(",")
    assert f">{float(last[1]):,.2f}<" in text


def test_a_failed_run_has_its_report_too(pages: Path) -> None:
    text = (pages / FAILED / "report.html").read_text()
    assert '<span class="status failed">failed</span>' in text
    assert "The loss is not finite" in text
    assert FAILED in (pages / "comparison" / "report.html").read_text()


def test_a_comparison_shows_no_figure_twice() -> None:
    """What the slider shows is left out, as the charts are."""
    drawn, epochs = [Path(name) for name in FIGURES], {"kinds": dict.fromkeys(KINDS)}
    shown = {path.stem for path in not_shown(drawn, epochs)}
    assert shown == {"latent_holes", "frozen_latents"}
    without_arrays = {path.stem for path in not_shown(drawn, None)}
    assert without_arrays == shown | {"latent_spaces", "reconstructions", "samples"}


def test_what_a_user_types_is_inert(pages: Path) -> None:
    for page in [*pages.rglob("report.html"), pages / "comparison" / "explorer.html"]:
        text = page.read_text()
        assert HOSTILE not in text, page
        assert "<img src=x" not in text, page
    assert "alert(1)" in (pages / RUNS[0] / "report.html").read_text()  # shown, escaped
    assert data_block("x", {"a": HOSTILE}).count("<") == 2


def test_pages_fetch_nothing(pages: Path) -> None:
    """What they show is inside; they lead to other pages by relative links, which are there."""
    for page in [*pages.rglob("report.html"), pages / "comparison" / "explorer.html"]:
        text = page.read_text()
        assert "default-src 'none'" in text
        assert not re.search(r"""src=["'](?!data:)|href=["'](?:\w+:(?<!data:)|/)""", text), page
        markup = re.sub("<script.*?</script>", "", text, flags=re.DOTALL)
        for address in re.findall(r"""\shref=["'](?!data:|#)([^"']*)["']""", markup):
            assert (page.parent / unquote(address)).is_file(), (page, address)


def test_pages_of_a_sweep_lead_to_each_other(pages: Path) -> None:
    def links(page: Path) -> dict[str, str]:
        return dict(re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', page.read_text().partition("<main")[0]))

    run, comparison = pages / RUNS[0], pages / "comparison"
    wanted = {"explorer.html": "Explorer", "../comparison/report.html": "Comparison"}
    assert wanted.items() <= links(run / "report.html").items()
    assert ("explorer.html", "Explorer") in links(comparison / "report.html").items()
    assert "report.html" in links(comparison / "explorer.html")
    assert f'href="../{RUNS[0]}/report.html"' in (comparison / "report.html").read_text()
    without = pages / FAILED / "report.html"  # failed, and has no explorer
    assert "explorer.html" not in links(without)


def test_compare_links_explorers_that_were_there_before(families: Path) -> None:
    text = (families / CONDITIONAL / "explorer.html").read_text()
    assert '<a href="../comparison/report.html">Comparison</a>' in text


def test_libraries_are_those_that_their_digests_say() -> None:
    folder = ASSETS / "libraries"
    digests = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert digests == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.js")
    }
    assert all((folder / f"{name.partition('-')[0]}.LICENSE").read_text() for name in digests)


def test_evaluate_writes_the_report_again(pages: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pages / RUNS[0], tmp_path / "run"))
    before = (run / "report.html").read_text()
    assert "Evaluation of best.safetensors" not in before
    result = api.evaluate(run, *only("bound", "images"))
    after = (run / "report.html").read_text()
    assert "Evaluation of best.safetensors" in after
    assert f"<span>{with_arrow('neg_elbo')}</span>" in after
    said = json.loads((result.folder / "metrics.json").read_text())["summary"]
    assert said
    for title, sentence in said.items():
        assert f"<p><b>{title}.</b> {escape(sentence)}</p>" in after


def test_every_column_of_metrics_csv_has_a_sentence(pages: Path) -> None:
    header = (pages / RUNS[0] / "metrics.csv").read_text().splitlines()[0]
    assert [name for name in header.split(",") if not meaning(name)] == ["epoch"]
    assert meaning("val/kl") == MEANINGS["kl"]


def test_a_name_that_a_template_misses_is_an_error() -> None:
    with pytest.raises(Exception, match="is undefined"):
        render("sweep.html.j2", title="x")


def test_an_axis_that_leaves_the_first_epoch_out_is_told() -> None:
    series = [{"name": "beta 1", "values": [100.0, 2.0, 1.0], "colour": 0, "dash": "none"}]
    assert chart("KL", series, [1, 3], {"domain": [0, 3]})["outside"]
    assert not chart("KL", series, [1, 3], {"domain": [0, 100]})["outside"]
    assert not chart("KL", series, [1, 3])["outside"]


@pytest.mark.parametrize(
    ("module", "only"),
    [
        (nn.GELU(), "GELU layer: .* only Linear, "),
        (nn.Conv2d(1, 2, (3, 5)), "same numbers for height and width"),
        (nn.Conv2d(1, 2, 3, padding="same"), "same numbers for height and width"),
        (nn.ConvTranspose2d(1, 2, 4, stride=(1, 2)), "same numbers for height and width"),
        (nn.Conv2d(2, 2, 3, groups=2), "without groups or dilation"),
        (nn.BatchNorm2d(2, affine=False), "batch norm with affine=True"),
        (nn.BatchNorm2d(2, track_running_stats=False), "track_running_stats=True"),
        (nn.GroupNorm(1, 2, affine=False), "group norm with affine=True"),
        (nn.GLU(), "GLU with dim=1"),
        (nn.Flatten(2), "Flatten with start_dim=1"),
        (nn.Unflatten(-1, (1, 2)), "Unflatten with dim=1"),
    ],
)
def test_a_layer_that_the_page_cannot_run_is_named(module: nn.Module, only: str) -> None:
    with pytest.raises(vaelab.config.VaelabError, match=f"not available for this model, which has .*{only}"):
        layer(module, Weights())


@pytest.mark.parametrize(
    "settings", [*({"name": name} for name in models.names()), {"name": "mlp", "activation": "gated"}]
)
def test_every_model_can_be_explored(settings: dict[str, str]) -> None:
    """The page's layers are PyTorch's: checked in the browser below, and here that none is missing."""
    built = build({**settings, "latent_dim": 2}, (1, 28, 28), seed=0)
    weights = Weights()
    assert vaelab.explorer.network.network(built, "bernoulli", weights)["latents"] == 2
    assert weights.count >= sum(each.numel() for each in built.parameters())
    assert len(weights.to_bytes()) == 4 * weights.count


@pytest.mark.parametrize(("split", "words"), [("test", "test images"), ("val", "validation images")])
@pytest.mark.parametrize(("information", "most"), [(2.0, ""), (6.0, "at most ")])
def test_captions_name_the_images_and_an_upper_limit(
    split: str, words: str, information: float, most: str
) -> None:
    """KL(q(z) ‖ p(z)) is overestimated where there are too few images to measure I(x; z)."""
    row = {"split": split, "images": 1000}
    numbers = {
        "bound": {"reconstruction": {"model": {"value": 250.0, **row}}},
        "classes": {"knn_accuracy": {"posterior means": {"value": 0.5, **row}}},
        "latent": {
            "mutual_information": {"model": {"value": information, **row}},
            "marginal_kl": {"model": {"value": 3.0, **row}},
        },
    }
    assert conclusion("reconstructions_ranked", numbers) == f"The mean over all {words} is 250.00 nats."
    assert f" 50.0 % of {words} correctly." in conclusion("latent_space", numbers)
    assert conclusion("latent_density", numbers) == f"KL(q(z) ‖ p(z)) is {most}3.00 nats."
