"""What opens in a browser: reports and explorers, as text and, where Chromium is installed, for real."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from axe_playwright_python.base import AXE_SCRIPT
from markupsafe import escape
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, sync_playwright
from torch import nn

import vaelab
import vaelab.explorer.network
from conftest import TINY, command_line_of, once
from vaelab.data.splits import Data
from vaelab.explorer.network import Weights, layer
from vaelab.models import build, names
from vaelab.objectives import likelihoods
from vaelab.pages.glossary import MEANINGS, meaning, with_arrow
from vaelab.pages.page import ASSETS, data_block, render
from vaelab.pages.run_report import write_run_report
from vaelab.runs.folder import RunFolder

PLAIN = [setting for setting in TINY if "report" not in setting]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


# --- the reports as text ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two runs with images and two that fail, its comparison, and its explorer."""

    def make(folder: Path) -> None:
        result = command_line_of("vaelab.train", folder)(
            "-m", *PLAIN, "epochs=2", "optimizer.lr=0.005", "beta=1,1e39", "model=mlp,conv", "artifacts.gif=false",
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

    folder, _ = once(tmp_path_factory, "pages", make)
    return folder / "sweep"


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
        assert not re.search(r"""\ssrc=["'](?!data:|")""", text), page
        for address in re.findall(r"""\shref=["'](?!data:|#)([^"']*)["']""", text):
            assert (page.parent / unquote(address)).is_file(), (page, address)


def test_pages_of_a_sweep_lead_to_each_other(made: Path) -> None:
    links = {
        page: dict(
            re.findall(r'<a href="([^"]*)">([^<]*)</a>', page.read_text().partition("<!--/pages-->")[0])
        )
        for page in (
            made / "0_beta-1_model-mlp" / "report.html",
            made / "comparison" / "report.html",
            made / "comparison" / "explorer.html",
        )
    }
    run, comparison, explorer = links.values()
    assert run == {"../comparison/report.html": "Comparison"}
    assert comparison == {"explorer.html": "Explorer"}
    assert explorer == {"report.html": "Report of the comparison"}
    assert 'href="../0_beta-1_model-mlp/report.html"' in (made / "comparison" / "report.html").read_text()


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
    last = [float(text.replace(",", "")) for text in page.locator("#values td").all_text_contents()]
    row = (made / "0_beta-1_model-mlp" / "metrics.csv").read_text().splitlines()[-1].split(",")
    assert float(f"{float(row[1]):.2f}") in last
    images = page.locator("#panels img")
    before, plane = (
        images.first.get_attribute("src"),
        page.locator("canvas").evaluate("(canvas) => canvas.toDataURL()"),
    )
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    assert page.locator("#epoch-now").text_content() == "epoch 1 of 2"
    assert images.first.get_attribute("src") != before
    assert images.first.get_attribute("alt") == "The same prior draws, epoch 1"
    assert page.locator("canvas").evaluate("(canvas) => canvas.toDataURL()") != plane
    page.locator(".chart svg").first.scroll_into_view_if_needed()
    box = page.locator(".chart svg").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.93 * box["width"], box["y"] + box["height"] / 2)  # the second epoch
    assert page.locator("#epoch-now").text_content() == "epoch 2 of 2"
    assert page.locator(".chart svg").first.evaluate("(svg) => getComputedStyle(svg).touchAction") == "auto"
    page.fill("#image-number", "3")  # what hovering does, from the keyboard
    assert page.locator("#image-class").text_content() in ("Trouser", "Sneaker")
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
    table.locator("th[data-model='1']").dispatch_event("pointerover")  # on a phone the first column may cover it
    lit = page.locator("[data-model].lit")
    assert {each.evaluate("(each) => each.dataset.model") for each in lit.all()[:5]} == {"1"}
    assert page.locator(".chart svg .lit").count() >= 6
    assert page.locator("#panels figure.lit").count() == 3


def test_charts_offer_nothing_that_leaves_the_page(made: Path) -> None:
    for page in made.rglob("report.html"):
        assert not re.search(r"plotly|chart-studio|upload", page.read_text(), re.IGNORECASE), page


@pytest.mark.parametrize("name", ["comparison", "0_beta-1_model-mlp"])
def test_a_printed_report_is_whole_and_black(made: Path, browser: Browser, name: str) -> None:
    page = browser.new_context(color_scheme="dark", viewport={"width": 720, "height": 1000}).new_page()
    page.goto((made / name / "report.html").absolute().as_uri())
    page.wait_for_selector(READY)
    closed = page.locator("details:not([open])").count()
    colour = "getComputedStyle(document.querySelector('.chart svg text')).fill"
    dark = page.evaluate(colour)
    assert dark == "rgb(236, 236, 239)"
    page.emulate_media(media="print")
    page.wait_for_function("() => document.querySelectorAll('details:not([open])').length === 0")
    assert page.evaluate(colour) == "rgb(0, 0, 0)"
    wide = "[...document.querySelectorAll('table, svg, img, canvas')].filter((each) => each.getBoundingClientRect().right > innerWidth + 1).length"
    page.wait_for_function(f"() => {wide} === 0")
    assert page.locator("tbody tr:not(.group)").evaluate_all(
        "(rows) => rows.every((row) => row.offsetHeight > 0)"
    )
    page.emulate_media(media="screen")
    page.wait_for_function(f"() => document.querySelectorAll('details:not([open])').length === {closed}")
    assert page.evaluate(colour) == dark
    page.context.close()


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


@pytest.mark.parametrize("watched", ["dark", "phone"], indirect=True)
def test_walking_drawing_and_switching_in_a_browser(made: Path, watched: Watched) -> None:
    page = watched.open(made / "comparison" / "explorer.html", '#explorer[aria-busy="false"]')
    assert fits(page)

    def z(view: int = 0) -> list[float]:
        return page.evaluate(f"Array.from(window.explorer.views[{view}].z)")  # type: ignore[no-any-return]

    def drawn(selector: str) -> str:
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return page.locator(selector).first.evaluate("(canvas) => canvas.toDataURL()")  # type: ignore[no-any-return]

    plane = page.locator(".plane canvas").first
    box = plane.bounding_box()
    assert box is not None
    before = drawn(".decoded canvas")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"], steps=4)
    page.mouse.up()
    reach = page.evaluate("window.explorer.state.reach")
    across, up = page.evaluate("window.explorer.state.axes")
    for view in (0, 1):  # both models are at the same place
        assert z(view)[across] == pytest.approx(reach / 2, abs=reach / 50)
        assert z(view)[up] == pytest.approx(reach / 2, abs=reach / 50)
    assert drawn(".decoded canvas") != before

    plane.focus()
    page.keyboard.press("ArrowLeft")
    assert z()[across] < reach / 2

    page.mouse.move(0, 0)  # nothing is under the pointer any more
    whole = drawn(".plane canvas")
    page.get_by_role("button", name="Trouser").focus()
    page.keyboard.press("Enter")
    assert drawn(".plane canvas") != whole
    assert page.get_by_role("button", name="Trouser").get_attribute("aria-pressed") == "false"
    page.keyboard.press("Enter")
    assert drawn(".plane canvas") == whole

    background = "window.explorer.views[0].background.toDataURL()"
    plain = page.evaluate(background)
    page.check("#manifold")
    page.wait_for_function(f"before => {background} !== before", arg=plain)
    manifold = page.evaluate(background)
    plane.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(400)
    assert page.evaluate(background) == manifold  # a move in the plane leaves the others where they were
    third = next(number for number in range(3) if number not in (across, up))
    page.evaluate(f"window.explorer.views.forEach((view) => {{ view.z[{third}] = 2; }})")
    plane.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"before => {background} !== before", arg=manifold)
    page.uncheck("#manifold")

    page.fill("#number", "3")
    page.click("#set-a")
    page.fill("#number", "8")
    page.click("#set-b")
    page.locator("#share").focus()
    page.keyboard.press("End")
    page.evaluate("new Promise(requestAnimationFrame)")
    np.testing.assert_allclose(z(), page.evaluate("Array.from(window.explorer.views[0].mean(8))"), atol=1e-5)

    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 170, steps=5)
    page.mouse.up()
    posterior = page.evaluate("Array.from(window.explorer.views[0].posterior.mean)")
    np.testing.assert_allclose(z(), posterior, atol=1e-6)  # the point goes where the drawing is


def test_any_two_axes_make_a_plane_in_which_the_point_is_under_the_pointer(
    made: Path, watched: Watched
) -> None:
    page = watched.open(made / "comparison" / "explorer.html", '#explorer[aria-busy="false"]')
    for value in ("3", "0", "4"):  # a principal direction, a dimension, another direction
        page.select_option("#axis-up", value)
        bases = page.evaluate(
            "window.explorer.views.map((view) => view.basis.map((axis) => Array.from(axis)))"
        )
        for basis in bases:
            np.testing.assert_allclose(np.array(basis) @ np.array(basis).T, np.eye(2), atol=1e-6)
        box = page.locator(".plane canvas").first.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
        reach, centre = page.evaluate("[window.explorer.state.reach, window.explorer.state.centre]")
        wanted = np.array(centre) + np.array([-0.4, 0.4]) * reach
        for view in (0, 1):
            at = page.evaluate(f"window.explorer.views[{view}].project(window.explorer.views[{view}].z)")
            np.testing.assert_allclose(at, wanted, atol=reach / 50)


def test_an_image_file_is_read_as_the_data_is(made: Path, watched: Watched, tmp_path: Path) -> None:
    image = Image.new("RGBA", (400, 200), (255, 255, 255, 0))  # transparent, twice as wide as high
    ImageDraw.Draw(image).line((100, 20, 300, 180), fill=(0, 0, 0, 255), width=30)
    image.save(tmp_path / "stroke.png")
    page = watched.open(made / "comparison" / "explorer.html", '#explorer[aria-busy="false"]')
    page.set_input_files("#file", tmp_path / "stroke.png")
    page.wait_for_function("() => document.getElementById('message').textContent.startsWith('stroke.png')")
    pad = np.array(page.evaluate("Array.from(ink)")).reshape(28, 28)
    assert pad[:7].max() == pad[21:].max() == 0  # above and below the wide image
    assert pad[14, 13:15].min() > 0.8  # the stroke is white,
    assert pad[8:20, :4].max() < 0.1  # its paper black
    (tmp_path / "words.png").write_text("no image")
    page.set_input_files("#file", tmp_path / "words.png")
    page.wait_for_function(
        "() => document.getElementById('message').textContent === 'words.png is not an image that this browser can read.'"
    )


@pytest.mark.parametrize("name", likelihoods.names())
def test_the_page_has_every_likelihood(made: Path, watched: Watched, name: str) -> None:
    page = watched.open(made / "comparison" / "explorer.html", '#explorer[aria-busy="false"]')
    logits = torch.linspace(-30, 30, 601)
    found = page.evaluate("([name, logits]) => logits.map(MEANS[name])", [name, logits.tolist()])
    np.testing.assert_allclose(found, likelihoods.build(name).mean(logits), atol=1e-5)
