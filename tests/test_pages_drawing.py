"""Drawings and image files get the form of the data."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from playwright.sync_api import Page

from browsing import EXPLORER, FRAMES, SINGLE, Watched, box_and_mass, seen, z
from harness import settings
from vaelab.data import splits

MNIST_FORM = "{ light: false, side: 20, by: 'mass', at: [14.5, 14.5], level: 1, stroke: 1.84 }"
"""What measureForm finds on MNIST; the pages here show Fashion-MNIST."""


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


def test_drawings_get_the_form_of_the_data(pages: Path, watched: Watched) -> None:
    """Wherever and however large they are drawn; measured on the images, and for digits as MNIST's."""
    page = watched.open(pages / SINGLE, EXPLORER)
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


def test_clothes_are_filled_and_erased(pages: Path, watched: Watched) -> None:
    page = watched.open(pages / SINGLE, EXPLORER)
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


def test_an_image_file_is_read_as_the_data_is(pages: Path, watched: Watched, tmp_path: Path) -> None:
    clean = Image.new("RGBA", (400, 300), (255, 255, 255, 0))  # transparent
    ImageDraw.Draw(clean).line([(140, 80), (240, 80), (180, 260)], fill=(0, 0, 0, 255), width=20)
    clean.save(tmp_path / "clean.png")
    photograph().save(tmp_path / "photo.png")
    photograph(inverted=True).save(tmp_path / "negative.png")
    page = watched.open(pages / SINGLE, EXPLORER)
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
        "() => document.getElementById('message').textContent === 'paper.png contains nothing that differs from its background.'"
    )
    np.testing.assert_array_equal(seen(page), read["negative"])  # what was there stays, in the pad too
    assert page.evaluate("pad.pasted.some((value) => value > 0.5)")
