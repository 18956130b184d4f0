"""Reports in a browser: by mouse, keyboard and finger, in the dark, and on paper."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
from PIL import Image
from playwright.sync_api import Page

from browsing import READY, RUNS, Watched, fits, violations
from vaelab.pages.run_report import write_run_report
from vaelab.runs.folder import RunFolder


def on_a_phone(page: Page) -> bool:
    return bool(page.evaluate("navigator.maxTouchPoints"))


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


LOOKS = pytest.mark.parametrize("watched", ["light", "phone"], indirect=True)
"""axe judges markup and colours, which on a phone are the same."""


@pytest.mark.parametrize("watched", ["dark"], indirect=True)
def test_reports_in_the_dark_have_colours_that_contrast(pages: Path, watched: Watched) -> None:
    for folder, charts in ((RUNS[0], 3), ("comparison", 7)):
        page = watched.open(pages / folder / "report.html", READY)
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        page.wait_for_function(
            "(charts) => document.querySelectorAll('.chart svg').length >= charts", arg=charts
        )
        assert fits(page)
        assert violations(page, "color-contrast") == []


@LOOKS
def test_the_report_of_a_run_follows_the_chosen_epoch_image_and_class(pages: Path, watched: Watched) -> None:
    page = watched.open(pages / RUNS[0] / "report.html", READY)
    assert page.locator(".chart svg").count() == 3  # loss and neg_elbo are one
    assert fits(page)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert on_a_phone(page) or violations(page) == []
    last = [float(text.replace(",", "")) for text in page.locator(".values td").all_text_contents()]
    row = (pages / RUNS[0] / "metrics.csv").read_text().splitlines()[-1].split(",")
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
    if on_a_phone(page):
        assert scrolls_over(page, ".chart svg")
        assert scrolls_over(page, "canvas")


def test_a_figure_can_be_enlarged_from_the_keyboard(pages: Path, watched: Watched, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pages / RUNS[0], tmp_path / "run"))
    Image.new("RGB", (400, 300), "white").save(run / "latent_holes.png")
    (run / "figures").mkdir(exist_ok=True)
    (run / "latent_holes.png").rename(run / "figures" / "latent_holes.png")
    write_run_report(RunFolder(run))
    page = watched.open(run / "report.html", READY)
    page.locator("button.enlarge").first.press("Enter")
    assert page.locator("dialog").is_visible()
    assert violations(page, "wcag2a", "best-practice") == []  # markup; colours are those of other reports
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.locator("button.enlarge img").first.get_attribute("alt") == "Prior holes."


TWELVE_MODELS = """
for (const cell of document.querySelectorAll(".models [data-model='1']")) for (let more = 0; more < 10; more++) cell.after(cell.cloneNode(true));
document.querySelector(".models").style.setProperty("--models", 12);
"""


@pytest.mark.parametrize(
    ("watched", "name", "last"),
    [
        ("dark", "comparison", "Not compared"),
        pytest.param("dark", RUNS[0], "git commit", marks=pytest.mark.slow),
    ],
    indirect=["watched"],
)
def test_a_printed_report_is_whole_and_black(pages: Path, watched: Watched, name: str, last: str) -> None:
    watched.page.set_viewport_size({"width": 720, "height": 1000})
    page = watched.open(pages / name / "report.html", READY)
    closed = "document.querySelectorAll('details:not([open])').length"
    colour = "getComputedStyle(document.querySelector('.chart svg text')).fill"
    before = page.evaluate(f"[{closed}, {colour}]")
    assert before[1] == "rgb(236, 236, 239)"
    document = pypdfium2.PdfDocument(page.pdf(format="A4"))
    text = "".join(sheet.get_textpage().get_text_range() for sheet in document)
    for each in (last, "at this epoch", "Made by vaelab"):  # of folded sections, and the end
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


@LOOKS
def test_the_report_of_a_comparison_has_shared_axes_and_marks_a_model_everywhere(
    pages: Path, watched: Watched
) -> None:
    page = watched.open(pages / "comparison" / "report.html", READY)
    assert (
        page.locator("h1").text_content()
        == "What does model.hidden do? mlp, 3 latent dimensions, Fashion-MNIST (embedded subset; classes Trouser, Sneaker), 1 seed"
    )
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
    assert on_a_phone(page) or violations(page) == []
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


def test_a_wide_table_shows_that_there_is_more(pages: Path, watched: Watched) -> None:
    """A shadow at its edge, which the last column covers; names of models take several lines."""
    page = watched.open(pages / "comparison" / "report.html", READY)
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


@pytest.mark.parametrize("watched", ["phone"], indirect=True)
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
    page.wait_for_function("() => document.querySelectorAll('.chart svg').length === 4 * 6")
    assert violations(page, "wcag2a", "best-practice") == []  # markup; colours are those of other reports
    assert fits(page)
    for number, title in enumerate(titles):
        own = ("Trouser", "Sneaker") if title.startswith("Fashion") else ("1", "7")
        assert tuple(page.locator(f"#classes-{number} button").all_text_contents()) == own
        page.fill(f"#image-{number}", "3")
        assert page.inner_text(f"#class-{number}") in own
        table = page.locator("table.values").nth(number)
        assert table.locator("thead th[data-model]").get_attribute("data-model") == str(number)
        assert all(float(text) > 0 for text in table.locator("td").all_text_contents())
    assert "".join(page.locator("figcaption.heading").all_inner_texts()).count("grey line") == 0
    page.evaluate(
        "document.querySelector('section').append(document.createElement('p')); document.querySelector('section p:last-child').textContent = 'long'.repeat(50)"
    )
    assert fits(page)


def test_names_of_models_stand_at_their_own_points(pages: Path, watched: Watched) -> None:
    """On a phone, where points are near each other, some have none: then the tooltip tells."""
    page = watched.open(pages / "comparison" / "report.html", READY)
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
