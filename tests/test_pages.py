"""What opens in a browser: reports and explorers, as text and, where Chromium is installed, for real."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pypdfium2
import pytest
import torch
from axe_playwright_python.base import AXE_SCRIPT
from markupsafe import escape
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, sync_playwright
from torch import nn

import vaelab
import vaelab.explorer.network
from harness import TINY, command_line_of, once, settings
from vaelab.data import splits
from vaelab.data.splits import Data
from vaelab.explorer.network import Weights, layer
from vaelab.metrics.latent import uncovered
from vaelab.models import build, names
from vaelab.objectives import likelihoods
from vaelab.objectives.likelihoods.gaussian import GaussianPixels
from vaelab.pages.glossary import MEANINGS, meaning, with_arrow
from vaelab.pages.page import ASSETS, chart, data_block, render
from vaelab.pages.run_report import write_run_report
from vaelab.runs.folder import RunFolder

PLAIN = [setting for setting in TINY if "report" not in setting]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


# --- the reports as text ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two runs with images and two that fail, its comparison, and two explorers."""

    def make(folder: Path) -> None:
        result = command_line_of("vaelab.train", folder)(
            "-m", *PLAIN, "epochs=2", "optimizer.lr=0.005", "artifacts.checkpoint_every=1", "beta=1,1e39", "model=mlp,conv", "artifacts.gif=false",
            "artifacts.figures=false", "model.latent_dim=3", f'artifacts.watermark="{HOSTILE}"',
            "hydra.callbacks.compare.evaluate=false", "hydra.sweep.dir=sweep",
        )  # fmt: skip
        assert result.returncode == 1, result.stderr  # an absurd beta diverges
        explored = command_line_of("vaelab.explore", folder)(
            "sweep=sweep", "pair=[0_beta-1_model-mlp,1_beta-1_model-conv]", "images=500"
        )
        assert explored.returncode == 0, explored.stderr
        assert re.fullmatch(
            r"Explorer: sweep/comparison/explorer.html \(\d\.\d MB\): open it in a browser\n", explored.stdout
        )
        explored = command_line_of("vaelab.explore", folder)(
            "run=sweep/0_beta-1_model-mlp/last", "images=500", "epochs=0"
        )
        assert explored.returncode == 0, explored.stderr

    folder, _ = once(tmp_path_factory, "pages", make)
    return folder / "sweep"


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of four runs that don't compare, and the explorer of a class-conditional one with one latent."""

    def make(folder: Path) -> None:
        result = command_line_of("vaelab.train", folder)(
            "-m", *PLAIN, "dataset.classes=[1,7]", "epochs=1", "model.latent_dim=1", "artifacts.gif=false",
            "artifacts.figures=false", "dataset=mnist,fashion_mnist", "model.conditional=false,true",
            "hydra.callbacks.compare.evaluate=false", "hydra.callbacks.compare.figures=false",
            "hydra.sweep.dir=sweep",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        run = "sweep/3_dataset-fashion_mnist_model.conditional-true"
        explored = command_line_of("vaelab.explore", folder)(f"run={run}", "images=300", "epochs=0")
        assert explored.returncode == 0, explored.stderr

    folder, _ = once(tmp_path_factory, "families", make)
    return folder / "sweep"


CONDITIONAL = "3_dataset-fashion_mnist_model.conditional-true"


def test_a_run_has_its_report(made: Path) -> None:
    text = (made / "0_beta-1_model-mlp" / "report.html").read_text()
    assert (
        "mlp, 3 latent dimensions, beta 1 · Fashion-MNIST (embedded subset; classes Trouser, Sneaker)" in text
    )
    assert "Embedded subset: numbers don't compare with the full set's." in text
    assert '<span class="status finished">finished</span>' in text
    assert '<code>model.latent_dim</code></td><td><code>3</code></td><td class="soft"><code>2</code>' in text
    last = (made / "0_beta-1_model-mlp" / "metrics.csv").read_text().splitlines()[-1].split(",")
    assert f">{float(last[1]):,.2f}<" in text


def test_a_failed_run_has_its_report_too(made: Path) -> None:
    text = (made / "2_beta-1e+39_model-mlp" / "report.html").read_text()
    assert '<span class="status failed">failed</span>' in text
    assert "The loss is not finite" in text
    comparison = (made / "comparison" / "report.html").read_text()
    assert "2_beta-1e+39_model-mlp" in comparison
    assert "<b>Latent spaces on the same axes.</b>" not in comparison  # the slider shows them
    assert "<b>Samples with reduced σ.</b>" in comparison


def test_what_a_user_types_is_inert(made: Path) -> None:
    for page in [*made.rglob("report.html"), made / "comparison" / "explorer.html"]:
        text = page.read_text()
        assert HOSTILE not in text, page
        assert "<img src=x" not in text, page
    assert "alert(1)" in (made / "0_beta-1_model-mlp" / "report.html").read_text()  # shown, escaped
    assert data_block("x", {"a": HOSTILE}).count("<") == 2


def test_pages_fetch_nothing(made: Path) -> None:
    """What they show is inside; they lead to other pages by relative links, which are there."""
    for page in [*made.rglob("report.html"), made / "comparison" / "explorer.html"]:
        text = page.read_text()
        assert "default-src 'none'" in text
        assert not re.search(r"""src=["'](?!data:)|href=["'](?:\w+:(?<!data:)|/)""", text), page
        markup = re.sub("<script.*?</script>", "", text, flags=re.DOTALL)
        for address in re.findall(r"""\shref=["'](?!data:|#)([^"']*)["']""", markup):
            assert (page.parent / unquote(address)).is_file(), (page, address)


def test_pages_of_a_sweep_lead_to_each_other(made: Path) -> None:
    def links(page: Path) -> dict[str, str]:
        return dict(re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', page.read_text().partition("<main")[0]))

    run, comparison = made / "0_beta-1_model-mlp", made / "comparison"
    wanted = {"explorer.html": "Explorer", "../comparison/report.html": "Comparison"}
    assert wanted.items() <= links(run / "report.html").items()
    assert ("explorer.html", "Explorer") in links(comparison / "report.html").items()
    assert "report.html" in links(comparison / "explorer.html")
    assert 'href="../0_beta-1_model-mlp/report.html"' in (comparison / "report.html").read_text()
    without = made / "2_beta-1e+39_model-mlp" / "report.html"  # failed, and has no explorer
    assert "explorer.html" not in links(without)


def test_libraries_are_those_that_their_digests_say() -> None:
    folder = ASSETS / "libraries"
    digests = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert digests == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.js")
    }
    assert all((folder / f"{name.partition('-')[0]}.LICENSE").read_text() for name in digests)


def test_evaluate_writes_the_report_again(made: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made / "0_beta-1_model-mlp", tmp_path / "run"))
    before = (run / "report.html").read_text()
    assert "Evaluation of best.safetensors" not in before
    result = command_line_of("vaelab.evaluate", tmp_path)(
        "checkpoint=run", "figures=false", "importance_samples=5", "nll_images=20"
    )
    assert result.returncode == 0, result.stderr
    after = (run / "report.html").read_text()
    assert "Evaluation of best.safetensors" in after
    found = json.loads((run / "evaluation" / "best" / "metrics.json").read_text())
    for section, rows in found["numbers"].items():
        for name, row in rows.items():
            if isinstance(row, dict) and all(isinstance(each, dict) for each in row.values()):
                assert meaning(name), f"{section}: {name} has no sentence"
                assert f"<span>{with_arrow(name)}</span>" in after
    for title, sentence in found["summary"].items():
        assert f"<p><b>{title}.</b> {escape(sentence)}</p>" in after


def test_every_column_of_metrics_csv_has_a_sentence(made: Path) -> None:
    header = (made / "0_beta-1_model-mlp" / "metrics.csv").read_text().splitlines()[0]
    assert [name for name in header.split(",") if not meaning(name)] == ["epoch"]
    assert meaning("val/kl") == MEANINGS["kl"]


def test_a_name_that_a_template_misses_is_an_error() -> None:
    with pytest.raises(Exception, match="is undefined"):
        render("sweep.html.j2", title="x")


# --- the explorer's command line --------------------------------------------------------------------------

WRONG = [
    ((), "An explorer shows one run or two of a sweep: type either run=outputs/2026-11-21/... or sweep=outputs/multirun/2026-11-21/..."),
    (("run=a", "sweep=b"), "An explorer shows one run or two of a sweep: type either run=outputs/2026-11-21/... or sweep=outputs/multirun/2026-11-21/..."),
    (("run=nowhere",), "nowhere doesn't exist. Type the path of a run folder or of a checkpoint in it."),
    (("sweep=nowhere",), "nowhere is not a directory: type sweep=FOLDER, one that vaelab.train has put runs into."),
    (("run=a", "images=0"), "images must be a whole number of at least 1, got 0."),
    (("run=a", "pair=[x,y]"), "pair names two runs of a sweep: type sweep=FOLDER beside it."),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_value_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = command_line_of("vaelab.explore", tmp_path)(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"vaelab: {message}\n")
    assert not list(tmp_path.iterdir())


def test_a_layer_that_the_page_cannot_run_is_named() -> None:
    with pytest.raises(
        vaelab.config.VaelabError,
        match=r"not available for this model, which has a GELU layer: .* only Linear, ",
    ):
        layer(nn.GELU(), Weights())


@pytest.mark.parametrize(
    "settings", [*({"name": name} for name in names()), {"name": "mlp", "activation": "gated"}]
)
def test_every_model_can_be_explored(settings: dict[str, str]) -> None:
    """The page's layers are PyTorch's: checked in the browser below, and here that none is missing."""
    built = build({**settings, "latent_dim": 2}, (1, 28, 28), seed=0)
    weights = Weights()
    assert vaelab.explorer.network.network(built, "bernoulli", weights)["latents"] == 2
    assert weights.count >= sum(each.numel() for each in built.parameters())
    assert len(weights.to_bytes()) == 4 * weights.count


# --- in a browser -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium here: Debian's package is chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page with all that it should not have done."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def open(self, path: Path, ready: str) -> Page:
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message) or dialog.dismiss())  # type: ignore[func-returns-value]
        self.page.on("request", self.note_request)
        self.page.goto(path.absolute().as_uri())
        self.page.wait_for_selector(ready, timeout=60_000)
        return self.page

    def note_request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.complaints.append(request.url)


@pytest.fixture
def watched(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A page that is watched, light unless a test asks for `dark` or `phone`."""
    look = getattr(request, "param", "light")
    phone = look == "phone"
    context = browser.new_context(
        viewport={"width": 390 if phone else 1200, "height": 800}, has_touch=phone,
        color_scheme="dark" if look == "dark" else "light",
    )  # fmt: skip
    watched = Watched(context.new_page())
    yield watched
    assert watched.complaints == []
    context.close()


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def violations(page: Page) -> list[str]:
    """What axe finds: of each rule that is broken its name, and where."""
    page.evaluate(AXE_SCRIPT)
    found = page.evaluate("axe.run()")["violations"]
    return [f"{each['id']}: {[node['html'][:120] for node in each['nodes']][:5]}" for each in found]


READY = "html[data-ready]"


def scrolls_over(page: Page, selector: str) -> bool:
    """Whether a finger that swipes up over an element moves the page."""
    page.locator(selector).first.scroll_into_view_if_needed()
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    before, device = page.evaluate("scrollY"), page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        *(("touchMove", [{"x": x, "y": y - 20 * step}]) for step in range(1, 9)),
        ("touchEnd", []),
    ):
        device.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return bool(page.evaluate("scrollY") > before)


@pytest.mark.parametrize("watched", ["light", "dark", "phone"], indirect=True)
def test_the_report_of_a_run_in_a_browser(made: Path, watched: Watched) -> None:
    page = watched.open(made / "0_beta-1_model-mlp" / "report.html", READY)
    assert page.locator(".chart svg").count() == 3  # loss and neg_elbo are one
    assert fits(page)
    assert violations(page) == []
    last = [float(text.replace(",", "")) for text in page.locator(".values td").all_text_contents()]
    row = (made / "0_beta-1_model-mlp" / "metrics.csv").read_text().splitlines()[-1].split(",")
    assert float(f"{float(row[1]):.2f}") in last
    images = page.locator(".panels img")
    before, plane = (
        images.first.get_attribute("src"),
        page.locator("canvas").evaluate("(canvas) => canvas.toDataURL()"),
    )
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    assert page.locator("#epoch-now").text_content() == "epoch 1 of 2"
    assert images.first.get_attribute("src") != before
    assert images.first.get_attribute("alt") == "Decoded from the same prior draws, epoch 1"
    assert page.locator("canvas").evaluate("(canvas) => canvas.toDataURL()") != plane
    page.locator(".chart svg").first.scroll_into_view_if_needed()
    box = page.locator(".chart svg").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.93 * box["width"], box["y"] + box["height"] / 2)  # the second epoch
    assert page.locator("#epoch-now").text_content() == "epoch 2 of 2"
    assert page.locator(".chart svg").first.evaluate("(svg) => getComputedStyle(svg).touchAction") == "auto"
    page.fill("#image-0", "3")  # what hovering does, from the keyboard
    assert page.locator("#class-0").text_content() in ("Trouser", "Sneaker")
    page.get_by_role("button", name="Trouser").press("Enter")
    assert page.get_by_role("button", name="Trouser").get_attribute("aria-pressed") == "false"
    if page.evaluate("navigator.maxTouchPoints"):
        assert scrolls_over(page, ".chart svg")
        assert scrolls_over(page, "canvas")


@pytest.mark.parametrize("watched", ["light", "dark", "phone"], indirect=True)
def test_the_report_of_a_comparison_in_a_browser(made: Path, watched: Watched) -> None:
    page = watched.open(made / "comparison" / "report.html", READY)
    assert (
        page.locator("h1").text_content()
        == "What does the network do? 3 latent dimensions, Fashion-MNIST (embedded subset; classes Trouser, Sneaker), 1 seed"
    )
    assert fits(page)
    assert violations(page) == []
    table = page.locator("table.models")
    group = table.get_by_role("button", name="Training")
    number = table.locator("tr", has_text="KL, training (nats)")
    assert not number.is_visible()
    group.press("Enter")
    assert number.is_visible()
    left = "(cell) => cell.getBoundingClientRect().left"
    first = number.locator("th").evaluate(left)
    table.evaluate("(table) => table.parentNode.scrollLeft = 200")
    assert number.locator("th").evaluate(left) == pytest.approx(first, abs=1)  # the row's name stays
    page.click("text=Epoch by epoch, side by side")
    # Three terms, of training and validation images, and rate and distortion.
    page.wait_for_function("() => document.querySelectorAll('.chart svg').length === 7")
    assert violations(page) == []
    assert fits(page)
    axes = page.locator("canvas").evaluate_all("(all) => all.map((each) => each.ariaLabel.split('axes')[1])")
    assert len(axes) == 2
    assert axes[0] == axes[1]  # shared, else KL off looks like the others
    table.locator("th[data-model='1']").dispatch_event(
        "pointerover"
    )  # on a phone the first column may cover it
    lit = page.locator("[data-model].lit")
    assert {each.evaluate("(each) => each.dataset.model") for each in lit.all()[:5]} == {"1"}
    assert page.locator(".chart svg .lit").count() >= 6
    assert page.locator(".panels figure.lit").count() == 3


def test_charts_offer_nothing_that_leaves_the_page(made: Path) -> None:
    for page in made.rglob("report.html"):
        assert not re.search(r"plotly|chart-studio|upload", page.read_text(), re.IGNORECASE), page


@pytest.mark.parametrize(
    ("name", "last"), [("comparison", "Not compared"), ("0_beta-1_model-mlp", "git commit")]
)
def test_a_printed_report_is_whole_and_black(made: Path, browser: Browser, name: str, last: str) -> None:
    page = browser.new_context(color_scheme="dark", viewport={"width": 720, "height": 1000}).new_page()
    page.goto((made / name / "report.html").absolute().as_uri())
    page.wait_for_selector(READY)
    closed = "document.querySelectorAll('details:not([open])').length"
    colour = "getComputedStyle(document.querySelector('.chart svg text')).fill"
    before = page.evaluate(f"[{closed}, {colour}]")
    assert before[1] == "rgb(236, 236, 239)"
    document = pypdfium2.PdfDocument(page.pdf(format="A4"))
    text = "".join(sheet.get_textpage().get_text_range() for sheet in document)
    for each in (last, "at that epoch", "Made by vaelab"):  # of folded sections, and the end
        assert each in text
    assert "each model on axes of its own" not in text
    grey = document[0].render().to_numpy().mean()
    assert grey > 200  # ink on paper
    assert page.evaluate(f"[{closed}, {colour}]") == before
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(f"[{closed}, {colour}]") == [0, "rgb(0, 0, 0)"]
    if name == "comparison":
        page.evaluate(TWELVE_MODELS)
    assert page.evaluate(
        "[...document.querySelectorAll('table, svg, img, canvas')].filter((each) => each.getBoundingClientRect().right > innerWidth + 1).length"
    ) == 0  # fmt: skip
    assert page.locator("tbody tr:not(.group)").evaluate_all(
        "(rows) => rows.every((row) => row.offsetHeight > 0)"
    )
    page.context.close()


TWELVE_MODELS = """
for (const cell of document.querySelectorAll(".models [data-model='1']")) for (let more = 0; more < 10; more++) cell.after(cell.cloneNode(true));
document.querySelector(".models").style.setProperty("--models", 12);
"""


def test_a_wide_table_shows_that_there_is_more(made: Path, watched: Watched) -> None:
    """A shadow at its edge, which the last column covers; names of models take several lines."""
    page = watched.open(made / "comparison" / "report.html", READY)
    page.evaluate(TWELVE_MODELS)
    table = page.locator(".scroll", has=page.locator(".models"))
    table.scroll_into_view_if_needed()

    def edge() -> Any:
        shown = Image.open(io.BytesIO(table.screenshot())).convert("L")
        return np.asarray(shown)[:, -4:].mean()

    shaded = edge()
    table.evaluate("(each) => { each.scrollLeft = each.scrollWidth; }")
    assert shaded < edge() - 20
    page.evaluate(
        "document.querySelector('.models th.number').append(' with a name of many words that is long')"
    )
    assert page.locator(".models th.number").first.evaluate("(cell) => cell.offsetWidth") <= 150


@pytest.mark.parametrize("watched", ["light", "phone"], indirect=True)
def test_families_have_classes_images_and_values_of_their_own(families: Path, watched: Watched) -> None:
    page = watched.open(families / "comparison" / "report.html", READY)
    assert page.inner_text("h1") == (
        "What do the data set and conditioning on the class do? mlp, 1 latent dimension, "
        "MNIST (embedded subset; classes 1, 7), Fashion-MNIST (embedded subset; classes Trouser, Sneaker), 1 seed"
    )
    titles = page.locator("section h2").all_inner_texts()
    assert len({*titles}) == 4
    labels = [each.strip() for each in page.locator(".models thead th[data-model]").all_text_contents()]
    assert sorted(labels) == 2 * ["class-conditional"] + 2 * ["unconditional"]
    page.click("text=Epoch by epoch, side by side")
    page.wait_for_function("() => document.querySelectorAll('.chart svg').length === 4 * 7")
    assert violations(page) == []
    assert fits(page)
    for number, title in enumerate(titles):
        own = ("Trouser", "Sneaker") if title.startswith("Fashion") else ("1", "7")
        assert tuple(page.locator(f"#classes-{number} button").all_text_contents()) == own
        page.fill(f"#image-{number}", "3")
        assert page.inner_text(f"#class-{number}") in own
        table = page.locator("table.values").nth(number)
        assert table.locator("thead th[data-model]").get_attribute("data-model") == str(number)
        assert all(float(text) > 0 for text in table.locator("td").all_text_contents())
    assert "".join(page.locator("figcaption.heading").all_inner_texts()).count("Grey line") == 0
    page.evaluate(
        "document.querySelector('section').append(document.createElement('p')); document.querySelector('section p:last-child').textContent = 'long'.repeat(50)"
    )
    assert fits(page)


def test_names_of_models_stand_at_their_own_points(made: Path, watched: Watched) -> None:
    """On a phone, where points are near each other, some have none: then the tooltip tells."""
    page = watched.open(made / "comparison" / "report.html", READY)
    rates = [
        (20.0, 285.1),
        (19.2, 285.0),
        (17, 285.1),
        (13.7, 285.5),
        (10.5, 286),
        (8, 288),
        (4, 297),
        (1.4, 332),
    ]
    points = [
        {"name": f"beta {place}", "model": 0, "colour": 0, "symbol": "circle", "x": x, "y": y, "intervals": None, "seeds": []}
        for place, (x, y) in enumerate(rates)
    ]  # fmt: skip
    spec = {
        "points": points, "frontier": rates, "x": {"domain": [0, 22], "ticks": None, "label": "rate"},
        "y": {"domain": [280, 336], "label": "distortion"},
    }  # fmt: skip
    for width in (1120, 360):
        found = page.evaluate(
            "([spec, width]) => { const plot = ratePlot(spec, width); document.body.append(plot);"
            "  const [corner, scales] = [plot.getBoundingClientRect(), ['x', 'y'].map((each) => plot.scale(each))];"
            "  const texts = [...plot.querySelectorAll('text')].filter((each) => each.textContent.startsWith('beta')).map((each) => {"
            "    const box = each.getBoundingClientRect();"
            "    return [each.textContent, box.left - corner.left, box.top - corner.top, box.right - corner.left, box.bottom - corner.top]; });"
            "  plot.remove();"
            "  return [texts, spec.points.map((each) => [scales[0].apply(each.x), scales[1].apply(each.y)])]; }",
            [spec, width],
        )
        texts, centres = found
        assert len(texts) >= (7 if width > 1000 else 4)
        for name, left, top, right, bottom in texts:
            assert 0 < left < right < width
            far = [np.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom)) for x, y in centres]
            assert min(far) == far[int(name.removeprefix("beta "))], (width, name)


def test_compare_links_explorers_that_were_there_before(made: Path, tmp_path: Path) -> None:
    sweep = Path(shutil.copytree(made, tmp_path / "sweep", ignore=shutil.ignore_patterns("comparison")))
    explorer = sweep / "0_beta-1_model-mlp" / "explorer.html"
    explorer.write_text(
        re.sub("<!--pages-->.*?<!--/pages-->", "<!--pages--><!--/pages-->", explorer.read_text())
    )
    compared = command_line_of("vaelab.compare", tmp_path)("sweep=sweep", "evaluate=false", "figures=false")
    assert compared.returncode == 0, compared.stderr
    assert '<a href="../comparison/report.html">Comparison</a>' in explorer.read_text()


def test_an_axis_that_leaves_the_first_epoch_out_is_told() -> None:
    series = [{"name": "beta 1", "values": [100.0, 2.0, 1.0], "colour": 0, "dash": "none"}]
    assert chart("KL", series, [1, 3], {"domain": [0, 3]})["outside"]
    assert not chart("KL", series, [1, 3], {"domain": [0, 100]})["outside"]
    assert not chart("KL", series, [1, 3])["outside"]


def test_a_figure_can_be_enlarged_from_the_keyboard(made: Path, watched: Watched, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made / "0_beta-1_model-mlp", tmp_path / "run"))
    Image.new("RGB", (400, 300), "white").save(run / "latent_holes.png")
    (run / "figures").mkdir(exist_ok=True)
    (run / "latent_holes.png").rename(run / "figures" / "latent_holes.png")
    write_run_report(RunFolder(run))
    page = watched.open(run / "report.html", READY)
    page.locator("button.enlarge").first.press("Enter")
    assert page.locator("dialog").is_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.locator("button.enlarge img").first.get_attribute("alt") == "Holes of the prior."


RUN = "([view, method, inputs]) => inputs.map((each) => window.explorer.views[view].network[method](each))"


@pytest.mark.parametrize(
    ("view", "run"), [(0, "0_beta-1_model-mlp"), (1, "1_beta-1_model-conv")], ids=["mlp", "conv"]
)
def test_the_page_computes_what_pytorch_computes(
    made: Path, watched: Watched, data: Data, view: int, run: str
) -> None:
    """At the prior, far from it, and on real images."""
    trained = vaelab.load(made / run / "checkpoints" / "last.safetensors")
    page = watched.open(made / "comparison" / "explorer.html", '#explorer[aria-busy="false"]')
    noise = torch.Generator().manual_seed(1)
    z = torch.cat([torch.randn(20, 3, generator=noise), 24 * torch.rand(40, 3, generator=noise) - 12])
    x = torch.cat([torch.rand(5, 1, 28, 28, generator=noise), data.test.batch(slice(0, 15), noise)])
    decoded = page.evaluate(
        f"(given) => ({RUN})(given).map((each) => Array.from(each))", [view, "decode", z.tolist()]
    )
    np.testing.assert_allclose(decoded, trained.decode(z).flatten(1), atol=1e-3)
    encoded = page.evaluate(
        f"(given) => ({RUN})(given).map((each) => [Array.from(each.mean), Array.from(each.logVariance)])",
        [view, "encode", x.flatten(1).tolist()],
    )
    posterior = trained.encode(x)
    np.testing.assert_allclose([mean for mean, _ in encoded], posterior.mean, atol=1e-3)
    np.testing.assert_allclose([log for _, log in encoded], posterior.log_variance, atol=1e-3)


def test_residual_blocks_and_group_norm_in_the_page_are_pytorchs(browser: Browser) -> None:
    """With weights that are as far from their first values as trained ones, with one group and with eight."""
    model = build({"name": "resnet", "channels": [16, 12, 32], "blocks": 2}, (1, 16, 24), seed=0)
    noise = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=noise)
    weights = Weights()
    spec = vaelab.explorer.network.network(model, "bernoulli", weights)
    x, z = torch.rand(5, 1, 16, 24, generator=noise), 4 * torch.randn(20, 2, generator=noise)
    page = browser.new_page()
    page.add_script_tag(path=Path(vaelab.pages.__path__[0]) / "assets" / "network.js")
    given = [spec, torch.cat(weights.parts).tolist(), x.flatten(1).tolist(), z.tolist()]
    means, decoded = page.evaluate(
        "([network, weights, images, latents]) => {"
        "  const own = new Network({ network }, Float32Array.from(weights));"
        "  return [images.map((each) => Array.from(own.encode(each).mean)),"
        "          latents.map((each) => Array.from(own.decode(each)))];"
        "}",
        given,
    )
    page.close()
    with torch.no_grad():
        np.testing.assert_allclose(means, model.encode(x).mean, atol=1e-3)
        np.testing.assert_allclose(decoded, model.decode(z).sigmoid().flatten(1), atol=1e-3)


EXPLORER = '#explorer[aria-busy="false"]'
SINGLE = "0_beta-1_model-mlp/explorer.html"
PAIR = "comparison/explorer.html"
FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
MNIST_FORM = "{ light: false, side: 20, by: 'mass', at: [14.5, 14.5], level: 1, stroke: 1.84 }"
"""What measureForm finds on MNIST; the pages here show Fashion-MNIST."""


def z(page: Page, view: int = 0) -> list[float]:
    page.evaluate(FRAMES)
    return page.evaluate(f"Array.from(window.explorer.views[{view}].z)")  # type: ignore[no-any-return]


def posterior_mean(made: Path, run: str, data: Data, image: int) -> Any:
    trained = vaelab.load(made / run / "checkpoints" / "last.safetensors")
    return trained.encode(data.test.images[image]).mean[0].numpy()


def on_plane(page: Page, image: int, view: int = 0) -> tuple[float, float]:
    """Where an image's point is, in the browser's window."""
    x, y = page.evaluate(
        "([view, image]) => { const own = window.explorer.views[view]; const box = own.canvas.getBoundingClientRect();"
        "  const [x, y] = own.toPixel([own.points[2 * image], own.points[2 * image + 1]]);"
        "  return [box.left + x / own.ratio, box.top + y / own.ratio]; }",
        [view, image],
    )
    return x, y


def seen(page: Page) -> Any:
    """The image that is looked at."""
    return np.array(page.evaluate("Array.from(window.explorer.state.subject.pixels)")).reshape(28, 28)


def box_and_mass(ink: Any) -> tuple[int, int, Any]:
    rows, columns = np.nonzero(ink.max(1) > 0.05)[0], np.nonzero(ink.max(0) > 0.05)[0]
    places = np.indices(ink.shape).reshape(2, -1)
    return np.ptp(rows) + 1, np.ptp(columns) + 1, (places * ink.flatten()).sum(1) / ink.sum()


def likeness(one: Any, other: Any) -> float:
    """The correlation of two images, where one may be a pixel away."""
    shifted = [np.roll(other, (row, column), (0, 1)) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    return max(np.corrcoef(one.flatten(), each.flatten())[0, 1] for each in shifted)


def stroke(page: Page, *points: tuple[float, float]) -> None:
    """Draw on the pad, in pixels of the data."""
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    for number, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x / 28 * box["width"], box["y"] + y / 28 * box["height"])
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    page.evaluate(FRAMES)


@pytest.mark.parametrize("which", [SINGLE, PAIR])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_cause_and_effect_are_on_one_screen(
    made: Path, browser: Browser, which: str, width: int, height: int
) -> None:
    page = browser.new_context(
        viewport={"width": width, "height": height}, is_mobile=width < 500, has_touch=width < 500
    ).new_page()
    page.goto((made / which).absolute().as_uri())
    page.wait_for_selector(EXPLORER)
    assert fits(page)
    for selector in (".plane canvas", ".outputs .tile:last-child canvas", "#image canvas", "#pad"):
        for found in page.locator(selector).all():
            box = found.bounding_box()
            assert box is not None
            assert box["width"] >= 60, selector
            assert box["x"] >= 0, selector
            assert box["y"] >= 0, selector
            assert box["x"] + box["width"] <= width, selector
            assert box["y"] + box["height"] <= height, selector
    page.context.close()


@pytest.mark.parametrize("which", [SINGLE, PAIR])
def test_a_plane_is_never_too_small_nor_the_page_too_wide(made: Path, browser: Browser, which: str) -> None:
    """On low screens, narrow ones, ones that are zoomed in, and such that are nearly square."""
    page = browser.new_page()
    page.goto((made / which).absolute().as_uri())
    page.wait_for_selector(EXPLORER)
    for width, height in (
        (667, 375), (844, 390), (320, 568), (720, 450), (1280, 960), (1280, 1024), (1201, 900), (701, 1000),
    ):  # fmt: skip
        page.set_viewport_size({"width": width, "height": height})
        least = 140 if which == PAIR and width == 320 else 220
        for box in page.locator(".plane canvas").evaluate_all("(all) => all.map((each) => each.clientWidth)"):
            assert box >= least, (width, height)
        assert fits(page), (width, height)
    page.close()


def test_every_class_has_its_name_in_the_plane(made: Path, families: Path, watched: Watched) -> None:
    """Ten classes at one place, and classes side by side with one latent dimension."""
    names = (
        "() => { const view = window.explorer.views[0]; const written = []; const write = view.write;"
        "  view.write = (context, text, x, y, ...more) => { written.push([text, x, y]); write.call(view, context, text, x, y, ...more); };"
        "  view.compose(); view.write = write;"
        "  return written.filter(([text]) => given.classes.some((each) => each.name === text)); }"
    )
    page = watched.open(families / CONDITIONAL / "explorer.html", EXPLORER)
    assert {text for text, _, _ in page.evaluate(names)} == {"Trouser", "Sneaker"}
    page.click("#tour-switch")
    assert "dashed lines are at 1, 2 and 3 on either side" in page.inner_text("#tour-text")
    page.goto((made / SINGLE).absolute().as_uri())
    page.wait_for_selector(EXPLORER)
    page.evaluate(
        "() => { given.classes = [...Array(10).keys()].map((number) => ({ number, name: `name ${number}`, colours: ['#000000', '#ffffff'] }));"
        "  given.classes.forEach((each) => { colours[each.number] = each.colours; });"
        "  given.labels = given.labels.map((_, image) => image % 10); }"
    )
    found = page.evaluate(names)
    assert len(found) == 10
    for number, (_, x, y) in enumerate(found):
        assert all(abs(x - other[1]) > 30 or abs(y - other[2]) > 12 for other in found[number + 1 :])


def test_a_class_conditional_image_is_scored_given_its_own_class(families: Path, watched: Watched) -> None:
    """Also while another class is given, as when the mouse is over it."""
    run = vaelab.load(families / CONDITIONAL)
    page = watched.open(families / CONDITIONAL / "explorer.html", EXPLORER)
    labels = page.evaluate("given.labels")
    first, other = labels.index(1), labels.index(7)
    page.fill("#number", str(first))
    page.evaluate("document.getElementById('noise-panel').open = true")
    page.fill("#sigma", "0")
    page.evaluate(f"hover({other})")
    page.evaluate(FRAMES)
    assert page.evaluate("Network.given") == 1
    pixels = np.array(page.evaluate(f"Array.from(grey({other}))"), np.float32)
    x = torch.from_numpy(pixels).reshape(1, 1, 28, 28)
    z = torch.tensor([[*page.evaluate("Array.from(window.explorer.views[0].z)")]])
    mean = torch.tensor([[*page.evaluate(f"Array.from(window.explorer.views[0].mean({other}))")]])
    given = torch.tensor([7])

    def nats(at: torch.Tensor) -> float:
        with torch.no_grad():
            return -run.objective.likelihood.log_prob(run.model.given(given).decode(at), x).item()

    said = page.inner_text(".reading")
    assert f"−log p(x|z, y) of the image: {nats(z):.1f} nats, at its posterior mean {nats(mean):.1f}." in said
    assert f"is {nats(mean):.1f} nats at μ" in page.inner_text("#noise")


def test_a_printed_explorer_is_light_and_has_its_keys(made: Path, browser: Browser) -> None:
    page = browser.new_context(color_scheme="dark").new_page()
    page.goto((made / SINGLE).absolute().as_uri())
    page.wait_for_selector(EXPLORER)
    sheet = pypdfium2.PdfDocument(page.pdf(format="A4"))[0]
    assert sheet.render().to_numpy().mean() > 200
    page.emulate_media(media="print")
    for selector in (".legend i", ".hatched"):
        own = page.locator(selector).first.evaluate("(each) => getComputedStyle(each).printColorAdjust")
        assert own == "exact"
    page.context.close()


@pytest.mark.parametrize(
    ("watched", "which"), [("light", PAIR), ("dark", SINGLE), ("phone", SINGLE)], indirect=["watched"]
)
def test_explorers_are_accessible(made: Path, watched: Watched, which: str) -> None:
    page = watched.open(made / which, EXPLORER)
    assert violations(page) == []
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.click("#tour-switch")
    page.wait_for_timeout(400)
    assert violations(page) == []
    assert fits(page)


def test_an_image_sends_each_model_to_its_own_posterior_mean(
    made: Path, watched: Watched, data: Data
) -> None:
    page = watched.open(made / PAIR, EXPLORER)
    assert "Fashion-MNIST" in page.title()
    runs = ("0_beta-1_model-mlp", "1_beta-1_model-conv")
    for view, run in enumerate(runs):  # already at the start
        np.testing.assert_allclose(z(page, view), posterior_mean(made, run, data, 0), atol=1e-3)
    page.fill("#number", "7")
    means = [posterior_mean(made, run, data, 7) for run in runs]
    for view in (0, 1):
        np.testing.assert_allclose(z(page, view), means[view], atol=1e-3)
    page.fill("#number", "3")
    page.mouse.click(*on_plane(page, 7, view=1))
    chosen = page.evaluate("window.explorer.state.subject.index")  # 7, or what lies on it
    for view, run in enumerate(runs):  # all three dimensions, of which the plane shows two
        np.testing.assert_allclose(z(page, view), posterior_mean(made, run, data, chosen), atol=1e-3)
    assert not np.allclose(z(page, 0), z(page, 1), atol=1e-2)

    x, y = on_plane(page, chosen, view=1)
    before = [np.array(z(page, view)) for view in (0, 1)]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y - 30, steps=3)
    page.mouse.up()
    np.testing.assert_array_equal(z(page, 0), before[0])  # a drag moves the point of its own model,
    basis, scale = page.evaluate(
        "[1].map((view) => window.explorer.views[view]).map((own) => [own.basis.map((axis) => Array.from(axis)),"
        " 2 * own.frame.reach / own.canvas.clientWidth])[0]"
    )
    moved, plane = np.array(z(page, 1)) - before[1], np.array(basis)
    np.testing.assert_allclose(plane @ moved, [40 * scale, 30 * scale], atol=12 * scale)  # in the plane
    np.testing.assert_allclose(moved, plane.T @ (plane @ moved), atol=1e-5)

    page.check("#same")
    assert z(page, 0) == z(page, 1)
    page.mouse.click(*on_plane(page, 7, view=0))
    assert z(page, 0) == z(page, 1)


@pytest.mark.parametrize("watched", ["phone"], indirect=True)
def test_fingers_scroll_the_page_zoom_the_plane_and_take_the_point(made: Path, watched: Watched) -> None:
    page = watched.open(made / SINGLE, EXPLORER)
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        touch.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in places]}
        )

    def at() -> tuple[float, float, float, float]:
        box = page.locator(".plane canvas").bounding_box()
        assert box is not None
        return box["x"], box["y"], box["width"], box["height"]

    left, top, wide, high = at()
    x, y = page.evaluate(
        "(() => { const own = window.explorer.views[0]; const box = own.canvas.getBoundingClientRect();"
        " const [x, y] = own.toPixel(own.project(own.z)); return [box.left + x / own.ratio, box.top + y / own.ratio]; })()"
    )
    corner = (left + (0.15 if x > left + wide / 2 else 0.85) * wide, top + 0.85 * high)  # far from the point
    before = z(page)
    fingers("touchStart", corner)
    for step in range(1, 9):
        fingers("touchMove", (corner[0], corner[1] - 25 * step))
    fingers("touchEnd")
    page.wait_for_function("() => scrollY > 60")
    page.wait_for_timeout(700)  # the page glides on
    assert z(page) == before
    page.evaluate("scrollTo(0, 0)")

    reach = page.evaluate("window.explorer.views[0].frame.reach")
    fingers("touchStart", (left + 0.4 * wide, top + 0.5 * high), (left + 0.6 * wide, top + 0.5 * high))
    fingers("touchMove", (left + 0.2 * wide, top + 0.5 * high), (left + 0.8 * wide, top + 0.5 * high))
    fingers("touchEnd")
    assert page.evaluate("window.explorer.views[0].frame.reach") == pytest.approx(reach / 3, rel=0.02)
    assert page.evaluate("scrollY") == 0
    page.evaluate("resetView(); redraw()")

    fingers("touchStart", (x, y))
    fingers("touchMove", (x + 20, y + 30))
    fingers("touchMove", (x + 20, y + 40))
    fingers("touchEnd")
    basis = np.array(page.evaluate("window.explorer.views[0].basis.map((axis) => Array.from(axis))"))
    np.testing.assert_allclose(
        basis @ (np.array(z(page)) - before), np.array([20, -40]) * 2 * reach / wide, atol=3 * reach / wide
    )
    assert page.evaluate("scrollY") == 0


def test_keys_do_all_and_what_they_do_is_said(made: Path, watched: Watched) -> None:
    page = watched.open(made / SINGLE, EXPLORER)
    page.locator(".plane canvas").focus()
    before = z(page)
    page.keyboard.press("ArrowLeft")
    assert z(page) != before
    page.keyboard.press("0")
    assert z(page) == [0, 0, 0]
    page.wait_for_function(
        "() => document.getElementById('announce').textContent.startsWith('z₁ = 0.00, z₂ = 0.00')"
    )
    assert re.search(
        r"(Covered|Hole): .* Nearest test images: \d of 6 are of class \w+\.", page.inner_text("#announce")
    )
    page.keyboard.press("Enter")
    page.evaluate(FRAMES)
    nearest = page.evaluate("window.explorer.state.subject.index")
    np.testing.assert_allclose(
        z(page), page.evaluate(f"Array.from(window.explorer.views[0].mean({nearest}))")
    )
    reach = page.evaluate("window.explorer.views[0].frame.reach")
    page.keyboard.press("+")
    assert page.evaluate("window.explorer.views[0].frame.reach") == pytest.approx(reach / 1.25)

    whole = page.evaluate("window.explorer.views[0].background.toDataURL()")
    page.get_by_role("button", name="Trouser", exact=True).focus()
    page.keyboard.press("Enter")
    page.evaluate(FRAMES)
    assert page.get_by_role("button", name="Trouser", exact=True).get_attribute("aria-pressed") == "false"
    assert page.evaluate("window.explorer.views[0].background.toDataURL()") != whole

    page.locator("#pad").focus()
    page.keyboard.press(" ")
    for _ in range(6):
        page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    page.evaluate(FRAMES)
    assert page.evaluate("window.explorer.state.subject.index") is None
    rows, columns, _ = box_and_mass(seen(page))
    assert rows > 2 * columns
    assert "drawing" in page.inner_text(".subject")


def test_drawings_get_the_form_of_the_data(made: Path, watched: Watched) -> None:
    """Wherever and however large they are drawn; measured on the images, and for digits as MNIST's."""
    page = watched.open(made / SINGLE, EXPLORER)
    form = page.evaluate("form")
    assert (form["side"], form["by"], form["light"]) == (28, "box", False)
    mnist = splits.load(settings("dataset=mnist", "dataset.source=embedded").dataset, torch.device("cpu"))
    pixels = mnist.test.images[:500].numpy().tobytes()
    measured = page.evaluate(
        "(text) => { const kept = images; images = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));"
        " const found = measureForm(); images = kept; return found; }",
        base64.b64encode(pixels).decode(),
    )
    assert (measured["side"], measured["by"], measured["light"]) == (20, "mass", False)
    np.testing.assert_allclose(measured["at"], [14.5, 14.5], atol=0.1)

    page.evaluate(f"form = {MNIST_FORM}; document.getElementById('brush').value = 2.3")
    seven = np.array([(0.1, 0.05), (0.5, 0.05), (0.9, 0.05), (0.7, 0.5), (0.4, 1.0)])
    drawn = []
    for size, corner in ((24, (2, 2)), (9, (1, 17)), (14, (13, 1))):
        page.click("#clear")
        stroke(page, *(size * seven + corner))
        drawn.append(seen(page))
        rows, columns, mass = box_and_mass(drawn[-1])
        assert (rows, columns <= 20) == (20, True)
        np.testing.assert_allclose(mass, [14, 14], atol=0.55)  # moved by whole pixels, as MNIST's are
        assert 0 < ((drawn[-1] > 0.05) & (drawn[-1] < 0.95)).mean() < 0.3  # anti-aliased
        np.testing.assert_allclose(
            z(page),
            page.evaluate(
                "Array.from(window.explorer.views[0].posterior(window.explorer.state.subject).mean)"
            ),
            atol=1e-6,
        )
    for other in drawn[1:]:
        assert likeness(drawn[0], other) > 0.8
    page.uncheck("#normalise")
    rows, _, mass = box_and_mass(seen(page))
    assert rows <= 17
    assert mass[0] < 9
    points = page.evaluate("pad.actions[0].points")
    np.testing.assert_allclose(points, 14 * seven + (13, 1), atol=0.25)  # the pad stays under the pointer


def test_clothes_are_filled_and_erased(made: Path, watched: Watched) -> None:
    page = watched.open(made / SINGLE, EXPLORER)
    corners = [(6, 4), (22, 4), (22, 24), (6, 24), (6, 4)]
    stroke(page, *corners)
    outline = seen(page)
    assert outline[14, 14] == 0
    page.check('input[value="fill"]')
    stroke(page, (14, 14))
    level = page.evaluate("form.level")
    assert seen(page)[14, 14] == pytest.approx(level, abs=0.02)
    assert seen(page).sum() > 1.5 * outline.sum()
    page.check('input[value="erase"]')
    stroke(page, (14, 10), (14, 18))
    assert seen(page)[14, 14] == 0


def photograph(inverted: bool = False) -> Image.Image:
    """A pen's digit on unevenly lit, noisy paper, with the dark edge of a table."""
    paper = Image.new("L", (600, 450), 0)
    ImageDraw.Draw(paper).line([(240, 120), (340, 120), (280, 300)], fill=255, width=7, joint="curve")
    ink = np.asarray(paper) / 255.0
    x, y = np.meshgrid(np.linspace(0, 1, 600), np.linspace(0, 1, 450))
    light = 0.85 - 0.3 * x - 0.1 * y + np.random.default_rng(1).normal(0, 0.015, x.shape)
    light[:, :12] = 0.1
    grey = np.clip(light * (1 - 0.75 * ink), 0, 1)
    return Image.fromarray((255 * (1 - grey if inverted else grey)).astype(np.uint8))


def test_an_image_file_is_read_as_the_data_is(made: Path, watched: Watched, tmp_path: Path) -> None:
    clean = Image.new("RGBA", (400, 300), (255, 255, 255, 0))  # transparent
    ImageDraw.Draw(clean).line([(140, 80), (240, 80), (180, 260)], fill=(0, 0, 0, 255), width=20)
    clean.save(tmp_path / "clean.png")
    photograph().save(tmp_path / "photo.png")
    photograph(inverted=True).save(tmp_path / "negative.png")
    page = watched.open(made / SINGLE, EXPLORER)
    page.evaluate(f"form = {MNIST_FORM}")
    read = {}
    for name in ("clean", "photo", "negative"):
        page.set_input_files("#file", tmp_path / f"{name}.png")
        page.wait_for_function(
            "(name) => document.getElementById('message').textContent.startsWith(name)", arg=f"{name}.png"
        )
        page.evaluate(FRAMES)
        read[name] = seen(page)
        rows, columns, mass = box_and_mass(read[name])
        assert (rows, columns <= 20) == (20, True)
        np.testing.assert_allclose(mass, [14, 14], atol=0.55)
        assert read[name].max() > 0.6
        assert read[name][:, :3].max() == 0  # nothing of the paper, and nothing of the table
        said = page.inner_text("#message")
        assert ("light background, inverted" in said) == (name != "negative")
    for name in ("photo", "negative"):
        assert likeness(read["clean"], read[name]) > 0.8
    (tmp_path / "words.png").write_text("no image")
    page.set_input_files("#file", tmp_path / "words.png")
    page.wait_for_function(
        "() => document.getElementById('message').textContent === 'words.png is not an image that this browser can read.'"
    )
    Image.new("L", (50, 50), 200).save(tmp_path / "paper.png")
    page.set_input_files("#file", tmp_path / "paper.png")
    page.wait_for_function(
        "() => document.getElementById('message').textContent === 'paper.png shows nothing that differs from its background.'"
    )
    np.testing.assert_array_equal(seen(page), read["negative"])  # what was there stays, in the pad too
    assert page.evaluate("pad.pasted.some((value) => value > 0.5)")


def test_any_two_axes_make_a_plane_in_which_the_point_is_under_the_pointer(
    made: Path, watched: Watched
) -> None:
    page = watched.open(made / PAIR, EXPLORER)
    page.select_option("#points", "none")
    for value in ("3", "0", "5"):  # a principal direction, a dimension, another direction
        page.select_option("#up", value)
        page.evaluate(FRAMES)
        bases = page.evaluate(
            "window.explorer.views.map((view) => view.basis.map((axis) => Array.from(axis)))"
        )
        for basis in bases:
            np.testing.assert_allclose(np.array(basis) @ np.array(basis).T, np.eye(2), atol=1e-6)
        box = page.locator(".plane canvas").first.bounding_box()
        assert box is not None
        page.evaluate("window.explorer.state.hidden = new Set([1, 7])")  # a click would take the image there
        page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
        reach, at = page.evaluate(
            "[window.explorer.views[0].frame.reach, window.explorer.views[0].project(window.explorer.views[0].z)]"
        )
        np.testing.assert_allclose(at, np.array([-0.4, 0.4]) * reach, atol=reach / 50)


def test_the_readings_are_pytorchs(made: Path, watched: Watched, data: Data) -> None:
    """−log p(x|z) and KL of an image, and which prior draws are holes."""
    run = vaelab.load(made / "0_beta-1_model-mlp" / "checkpoints" / "last.safetensors")
    page = watched.open(made / SINGLE, EXPLORER)
    page.fill("#number", "5")
    page.evaluate(FRAMES)
    x = data.test.images[5].float()[None, None] / 255
    posterior = run.encode(x)
    with torch.no_grad():
        bits = -run.objective.likelihood.log_prob(run.model.decode(posterior.mean), x).item()
    said = page.inner_text(".reading")
    assert f"−log p(x|z) of the image: {bits:.1f} nats" in said
    assert f"Its KL: {posterior.kl().item():.1f} nats" in said
    encoded = run.encode(data.test.images[:500])
    draws = 2 * torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    holes = page.evaluate("(draws) => draws.map((z) => window.explorer.views[0].isHole(z))", draws.tolist())
    assert holes == uncovered(encoded, draws).tolist()
    assert 0 < sum(holes) < 100


def test_what_is_seen_is_in_the_address(made: Path, watched: Watched) -> None:
    page = watched.open(made / PAIR, EXPLORER)
    page.fill("#number", "9")
    page.select_option("#background", "holes")
    page.uncheck("#same-axes")
    page.locator(".plane canvas").first.focus()
    page.keyboard.press("ArrowUp")
    page.get_by_role("button", name="Sneaker", exact=True).click()
    page.click("#between-panel summary")
    page.click('[data-set="A"]')
    page.wait_for_function(
        "() => location.hash.includes('background=holes') && location.hash.includes('A=9')"
    )
    kept = "[window.explorer.state.subject.index, window.explorer.state.background, [...window.explorer.state.hidden],"
    kept += (
        " window.explorer.state.A.index, window.explorer.views.map((view) => [view.frame.reach, ...view.z])]"
    )
    before = page.evaluate(kept)
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(EXPLORER)
    for one, two in zip(before, other.evaluate(kept), strict=True):
        if isinstance(one, list):
            np.testing.assert_allclose(np.array(two), np.array(one), atol=1e-3)
        else:
            assert one == two
    hostile = f"{page.url.partition('#')[0]}#image=-3&z=a;b,c&axes=9,9&view=0,0,-1&background=x&points=%3Cimg%3E&epoch=77&tour=9&A=1e9"
    other.goto("about:blank")
    other.goto(hostile)
    other.wait_for_selector(EXPLORER)
    assert other.locator(".error").count() == 0
    assert other.evaluate("window.explorer.state.subject.index") == 0


def test_epochs_are_those_of_their_checkpoints(made: Path, watched: Watched, data: Data) -> None:
    page = watched.open(made / PAIR, EXPLORER)
    assert "2 epochs are in this page: 1, 2; their weights and posteriors take" in page.inner_text("main")
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    page.wait_for_function("() => document.getElementById('epoch-now').textContent === 'epoch 1'")
    page.wait_for_function("() => window.explorer.views.every((view) => view.epoch === 1)")
    for view, run in enumerate(("0_beta-1_model-mlp", "1_beta-1_model-conv")):
        first = vaelab.load(made / run, "epoch_0001")
        decoded = page.evaluate(f"Array.from(window.explorer.views[{view}].network.decode([0.3, -1, 2]))")
        np.testing.assert_allclose(decoded, first.decode(torch.tensor([0.3, -1, 2])).flatten(), atol=1e-3)
        np.testing.assert_allclose(z(page, view), first.encode(data.test.images[0]).mean[0], atol=1e-3)


def test_the_tour_has_five_steps_and_ends(made: Path, watched: Watched) -> None:
    page = watched.open(made / SINGLE, EXPLORER)
    assert page.is_hidden("#tour")
    page.click("#tour-switch")
    said = []
    for step in range(1, 6):
        page.evaluate(FRAMES)
        assert page.inner_text("#tour-title").startswith(f"{step} of 5: ")
        said.append(page.inner_text("#tour-text"))
        if step in (2, 5):  # the slider that the text speaks of is on the screen
            page.wait_for_function(
                "(id) => { const box = document.getElementById(id).getBoundingClientRect(); return box.top > 0 && box.bottom < innerHeight; }",
                arg="sigma" if step == 2 else "share",
            )
        page.click("#tour-next")
    assert page.is_hidden("#tour")
    share = page.evaluate("holesOf(window.explorer.views[0]).length / 1000")
    assert f"{100 * share:.0f} % of 1,000 prior draws land in a hole" in said[2]
    assert "with β = 1 the KL is" in said[3]
    page.click("#tour-switch")
    page.click("#tour-end")
    assert page.is_hidden("#tour")


def test_noise_dimensions_interpolation_and_arithmetic(made: Path, watched: Watched) -> None:
    page = watched.open(made / SINGLE, EXPLORER)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.wait_for_timeout(400)
    epsilon = page.evaluate("Array.from(window.explorer.state.noise[0])")
    page.fill("#sigma", "0")
    page.evaluate(FRAMES)
    assert "the noise costs 0.0 nats" in page.inner_text("#noise")
    page.fill("#number", "4")  # ε stays
    assert page.evaluate("Array.from(window.explorer.state.noise[0])") == epsilon
    page.click("#draw")
    assert page.evaluate("Array.from(window.explorer.state.noise[0])") != epsilon
    draws = np.array(
        page.evaluate(
            "window.explorer.views[0].noisy(window.explorer.state.subject).map((z) => Array.from(z))"
        )
    )
    mean = page.evaluate("Array.from(window.explorer.views[0].mean(4))")
    np.testing.assert_allclose(draws, np.tile(mean, (8, 1)), atol=1e-6)

    slider = page.locator("#dimensions input").first
    dimension = page.evaluate("dimensions[0].dimension")
    page.locator("#dimensions canvas").first.click(position={"x": 3, "y": 5})  # the first of nine images
    assert z(page)[dimension] == pytest.approx(-3)
    slider.fill("2")
    assert z(page)[dimension] == pytest.approx(2)

    for letter, number in zip("ABC", ("3", "8", "11"), strict=True):
        page.fill("#number", number)
        page.locator(f'#arithmetic-panel [data-set="{letter}"]').click()
    a, b, c = (
        np.array(page.evaluate(f"Array.from(window.explorer.views[0].mean({each}))")) for each in (3, 8, 11)
    )
    page.click("#go")
    np.testing.assert_allclose(z(page), a - b + c, atol=1e-5)
    assert re.search(r"The nearest test image is of class (Trouser|Sneaker)", page.inner_text("#sums"))
    page.fill("#share", "1")
    np.testing.assert_allclose(z(page), b, atol=1e-5)
    assert re.search(r"\d+ of the line and \d+ of the circle are holes", page.inner_text("#betweens"))

    near = page.evaluate("window.explorer.views[0].nearestImages(window.explorer.views[0].z, 6)")
    means = np.array(page.evaluate("Array.from(window.explorer.views[0].means)")).reshape(-1, 3)
    np.testing.assert_array_equal(near, np.square(means - z(page)).sum(1).argsort(kind="stable")[:6])
    page.locator(".near button").nth(1).click()
    np.testing.assert_allclose(z(page), means[near[1]], atol=1e-6)


def test_the_plane_shows_decoded_images_holes_and_thumbnails(made: Path, watched: Watched) -> None:
    page = watched.open(made / SINGLE, EXPLORER)
    background = "window.explorer.views[0].background.toDataURL()"
    plain = page.evaluate(background)
    seen = {plain}
    for select, value in (("background", "manifold"), ("background", "holes"), ("points", "images")):
        page.select_option(f"#{select}", value)
        page.evaluate(FRAMES)
        seen.add(page.evaluate(background))
    assert len(seen) == 4
    page.select_option("#points", "dots")
    page.select_option("#background", "manifold")
    page.wait_for_function(WHOLE)
    page.evaluate(FRAMES)
    manifold = page.evaluate(background)
    page.locator(".plane canvas").focus()
    page.keyboard.press("ArrowRight")
    page.evaluate(FRAMES)
    assert page.evaluate(background) == manifold  # a move in the plane leaves the others where they were
    page.evaluate(
        "() => { const { network } = window.explorer.views[0]; const { decode } = network; window.decoded = 0;"
        "  network.decode = (z) => { window.decoded += 1; return decode.call(network, z); }; }"
    )
    page.evaluate("setZ(Array.from(window.explorer.views[0].z, (value) => value + 1.5))")
    page.evaluate(FRAMES)
    assert page.evaluate("window.decoded") < 50  # the background waits until the point rests
    page.wait_for_function(f"before => {background} !== before", arg=manifold)
    page.wait_for_function("() => window.decoded > 400")


WHOLE = (
    "() => { const view = window.explorer.views[0];"
    " return view.manifold.getContext('2d').getImageData(view.size - 3, view.size - 3, 1, 1).data[3] === 255; }"
)
"""Whether the last image of the plane is drawn."""


@pytest.mark.parametrize("name", likelihoods.names())
def test_the_page_has_every_likelihood(made: Path, watched: Watched, name: str) -> None:
    page = watched.open(made / SINGLE, EXPLORER)
    likelihood, logits = likelihoods.build(name), torch.linspace(-30, 30, 601)
    found = page.evaluate("([name, logits]) => logits.map(MEANS[name])", [name, logits.tolist()])
    np.testing.assert_allclose(found, likelihood.mean(logits), atol=1e-5)
    x = torch.linspace(0, 1, 601)
    sigma = likelihood.sigma().item() if isinstance(likelihood, GaussianPixels) else 1
    found = page.evaluate(
        "([name, logits, x, sigma]) => logits.map((logit, place) => LOG_PROBS[name](logit, x[place], sigma))",
        [name, logits.tolist(), x.tolist(), sigma],
    )
    with torch.no_grad():
        wanted = likelihood.log_prob(logits.reshape(-1, 1, 1, 1), x.reshape(-1, 1, 1, 1))
    np.testing.assert_allclose(found, wanted, atol=1e-3)
