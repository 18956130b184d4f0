"""What opens in a browser: reports and explorers, as text and, where Chromium is installed, for real."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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
from vaelab.pages.page import data_block, render

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
    for page in [*made.rglob("report.html"), made / "comparison" / "explorer.html"]:
        text = page.read_text()
        assert "default-src 'none'" in text
        assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", text), page


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


@pytest.mark.parametrize("watched", ["light", "phone"], indirect=True)
def test_the_report_of_a_run_in_a_browser(made: Path, watched: Watched) -> None:
    page = watched.open(made / "0_beta-1_model-mlp" / "report.html", ".chart .main-svg")
    assert page.locator(".chart .main-svg").count() >= 3
    assert fits(page)
    image = page.locator("#panels img").first
    last = image.get_attribute("src")
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    assert page.locator("#epoch-now").text_content() == "epoch 1"
    assert image.get_attribute("src") != last
    assert image.get_attribute("alt") == "The latent space, epoch 1"
    page.keyboard.press("End")
    assert image.get_attribute("src") == last


@pytest.mark.parametrize("watched", ["dark", "phone"], indirect=True)
def test_the_report_of_a_comparison_in_a_browser(made: Path, watched: Watched) -> None:
    page = watched.open(made / "comparison" / "report.html", ".chart .main-svg")
    assert page.locator(".chart").count() == 6  # three terms, training and validation
    assert fits(page)
    page.locator("summary").click()
    column = page.locator("table.sortable thead th", has_text="KL, training (nats)")
    place = column.evaluate("(cell) => cell.cellIndex")
    shown = []
    for _ in range(2):
        column.locator("button").click()
        cells = page.locator(f"table.sortable tbody tr td:nth-child({place + 1})").all_text_contents()
        shown.append([float(text) for text in cells])
    assert shown[0] == sorted(shown[0])
    assert shown[1] == shown[0][::-1]
    assert column.get_attribute("aria-sort") == "descending"
    page.select_option("#kind", "samples")
    assert page.locator("#panels img").count() == 2


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


def test_charts_are_black_on_paper(made: Path, browser: Browser) -> None:
    page = browser.new_context(color_scheme="dark").new_page()
    page.goto((made / "0_beta-1_model-mlp" / "report.html").absolute().as_uri())
    page.wait_for_selector(".chart .main-svg")
    colour = "getComputedStyle(document.querySelector('.chart .xtitle')).fill"
    assert page.evaluate(colour) == "rgb(236, 236, 239)"
    page.emulate_media(media="print")
    page.wait_for_function(f"() => {colour} === 'rgb(0, 0, 0)'")
    page.emulate_media(media="screen")
    page.wait_for_function(f"() => {colour} === 'rgb(236, 236, 239)'")
    page.context.close()


@pytest.mark.parametrize("name", likelihoods.names())
def test_the_page_has_every_likelihood(made: Path, watched: Watched, name: str) -> None:
    page = watched.open(made / "comparison" / "explorer.html", '#explorer[aria-busy="false"]')
    logits = torch.linspace(-30, 30, 601)
    found = page.evaluate("([name, logits]) => logits.map(MEANS[name])", [name, logits.tolist()])
    np.testing.assert_allclose(found, likelihoods.build(name).mean(logits), atol=1e-5)
