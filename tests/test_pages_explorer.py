"""The explorer in a browser: what is where, keys and fingers, the tour, and the address."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pypdfium2
import pytest

from browsing import (
    CONDITIONAL,
    EXPLORER,
    FRAMES,
    PAIR,
    SINGLE,
    Watched,
    box_and_mass,
    fits,
    seen,
    violations,
    z,
)

SCREENS = [(1440, 900), (1024, 768), (390, 844)]
OTHER_SCREENS = [
    (667, 375), (844, 390), (320, 568), (720, 450), (1280, 960), (1280, 1024), (1201, 900), (701, 1000),
]  # fmt: skip
"""Low, narrow, zoomed in, and nearly square."""


@pytest.mark.parametrize("which", [PAIR, pytest.param(SINGLE, marks=pytest.mark.slow)])
def test_cause_and_effect_are_on_one_screen(pages: Path, watched: Watched, which: str) -> None:
    """And on others the plane is never too small, nor the page too wide."""
    page = watched.open(pages / which, EXPLORER)
    for width, height in SCREENS:
        page.set_viewport_size({"width": width, "height": height})
        assert fits(page), (width, height)
        for selector in (".plane canvas", ".outputs .tile:last-child canvas", "#image canvas", "#pad"):
            for found in page.locator(selector).all():
                box = found.bounding_box()
                assert box is not None
                where = (width, height, selector)
                assert box["width"] >= 60, where
                assert min(box["x"], box["y"]) >= 0, where
                assert box["x"] + box["width"] <= width, where
                assert box["y"] + box["height"] <= height, where
    for width, height in OTHER_SCREENS:
        page.set_viewport_size({"width": width, "height": height})
        least = 140 if which == PAIR and width == 320 else 220
        for box in page.locator(".plane canvas").evaluate_all("(all) => all.map((each) => each.clientWidth)"):
            assert box >= least, (width, height)
        assert fits(page), (width, height)


def test_every_class_has_its_name_in_the_plane(pages: Path, families: Path, watched: Watched) -> None:
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
    page.goto((pages / SINGLE).absolute().as_uri())
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


@pytest.mark.parametrize("watched", ["dark"], indirect=True)
def test_a_printed_explorer_is_light_and_has_its_keys(pages: Path, watched: Watched) -> None:
    page = watched.open(pages / SINGLE, EXPLORER)
    sheet = pypdfium2.PdfDocument(page.pdf(format="A4"))[0]
    assert sheet.render().to_numpy().mean() > 200
    page.emulate_media(media="print")
    for selector in (".legend i", ".hatched"):
        own = page.locator(selector).first.evaluate("(each) => getComputedStyle(each).printColorAdjust")
        assert own == "exact"
    hatched = page.locator(".hatched").evaluate("(each) => getComputedStyle(each).backgroundImage")
    assert "rgba" not in hatched  # transparent colours are lost on paper


@pytest.mark.parametrize(
    ("watched", "which"), [("light", PAIR), ("dark", SINGLE)], indirect=["watched"]
)  # fmt: skip
def test_explorers_are_accessible(pages: Path, watched: Watched, which: str) -> None:
    """axe judges markup and colours."""
    page = watched.open(pages / which, EXPLORER)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.click("#tour-switch")
    page.wait_for_timeout(400)
    assert violations(page) == []
    for width in (1200, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert fits(page), width


@pytest.mark.parametrize("watched", ["phone"], indirect=True)
def test_fingers_scroll_the_page_zoom_the_plane_and_take_the_point(pages: Path, watched: Watched) -> None:
    page = watched.open(pages / SINGLE, EXPLORER)
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


def test_keys_do_all_and_what_they_do_is_said(pages: Path, watched: Watched) -> None:
    page = watched.open(pages / SINGLE, EXPLORER)
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
        r"(Covered|Hole): .* Nearest test images: (\d of 6 are of class \w+|3 each of 6 are of class \w+ and class \w+)\.",
        page.inner_text("#announce"),
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


def test_what_is_seen_is_in_the_address(
    pages: Path, watched: Watched, request: pytest.FixtureRequest
) -> None:
    page = watched.open(pages / PAIR, EXPLORER)
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
    request.addfinalizer(other.close)
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


def test_the_tour_has_five_steps_and_ends(pages: Path, watched: Watched) -> None:
    page = watched.open(pages / SINGLE, EXPLORER)
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
    assert f"{100 * share:.0f} % of 1,000 prior draws fall in a hole" in said[2]
    assert "with β = 1 the KL is" in said[3]
    assert "reconstruction + KL, the KL is" in page.evaluate("TOUR[3].text(views[0].model.objective = '')")
    page.click("#tour-switch")
    page.click("#tour-end")
    assert page.is_hidden("#tour")


WHOLE = (
    "() => { const view = window.explorer.views[0];"
    " return view.manifold.getContext('2d').getImageData(view.size - 3, view.size - 3, 1, 1).data[3] === 255; }"
)
"""Whether the last image of the plane is drawn."""


def test_the_plane_shows_decoded_images_holes_and_thumbnails(pages: Path, watched: Watched) -> None:
    page = watched.open(pages / SINGLE, EXPLORER)
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
