"""Grids of images: every pixel a square, saved small and at any resolution."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from figure_examples import EXAMPLE_FIGURES, GENERATOR, LABELS, LONG, MEANS, NAMES, VIEW
from vaelab.figures import style
from vaelab.figures.images import (
    ImageGrid,
    image_grid,
    tile,
    zoom_for,
)
from vaelab.figures.latent import (
    LatentPlot,
)


def test_tiles_are_where_they_belong() -> None:
    images = np.arange(2 * 3).reshape(2, 3, 1, 1) * np.ones((1, 1, 4, 5))
    sheet = tile(images, gap=2)
    assert sheet.shape == (2 * 4 + 2, 3 * 5 + 2 * 2)
    assert (sheet[6:, 7:12] == 4).all()
    assert (sheet[4:6] == 1).all()
    grouped = tile(images, gap=2, row_group=1, column_group=2)
    assert grouped.shape == (sheet.shape[0] + 4, sheet.shape[1] + 4)
    assert (grouped[10:, 7:12] == 4).all()
    assert (grouped[10:, 18:] == 5).all()
    assert (grouped[4:10] == 1).all()


@pytest.mark.parametrize("labels", [["a"] * 4, ["a", "b"]])
def test_an_image_grid_shows_every_pixel_as_a_square(labels: list[str]) -> None:
    """None resampled, under headings of columns or of groups of them; and the same for a new frame."""
    images = GENERATOR.integers(-40, 300, (2, 4, 5, 6)) / 255  # a likelihood's mean may be out of range
    grid = ImageGrid(
        images, "Title", LONG, row_labels=["one", "two"], column_labels=labels, bottom_label=LONG,
        row_group=1, column_group=2, zoom=4,
    )  # fmt: skip
    zoom = zoom_for(4, *images.shape[2:])
    sheet = (255 * tile(images, 2, 1, 2).clip(0, 1)).round().repeat(zoom, axis=0).repeat(zoom, axis=1)
    frame = style.pixels(grid.figure)
    left, bottom = grid.sheet.left, len(frame) - grid.sheet.bottom
    assert (frame[bottom - len(sheet) : bottom, left : left + sheet.shape[1]] == sheet[:, :, None]).all()
    other = ImageGrid(
        1 - images, "Other", LONG, row_labels=["one", "two"], column_labels=labels, bottom_label=LONG,
        row_group=1, column_group=2, zoom=4,
    )  # fmt: skip
    for _ in range(2):
        np.testing.assert_array_equal(grid.pixels(1 - images, "Other"), style.pixels(other.figure))
    if len(labels) == 2:  # each in the middle of its group
        middles = [text.get_window_extent() for text in other.figure.texts if text.get_text() in labels]
        places = [(box.x0 + box.x1) / 2 - left for box in middles]
        assert places == pytest.approx([zoom * 7, zoom * (7 + 14 + 6)], abs=2)


def test_grey_figures_are_saved_as_grey() -> None:
    grey, coloured = style.png(EXAMPLE_FIGURES["grid"]()), style.png(EXAMPLE_FIGURES["scatter"]())
    assert [Image.open(io.BytesIO(content)).mode for content in (grey, coloured)] == ["L", "RGB"]
    with Image.open(io.BytesIO(grey)) as image:
        assert image.info["dpi"] == pytest.approx((style.DPI, style.DPI), abs=0.1)


def test_a_grid_is_saved_at_any_resolution_cropped_and_as_vectors(tmp_path: Path) -> None:
    """What a user does with a Figure: the images stay where the text is, each pixel a square."""
    images = GENERATOR.random((2, 3, 28, 28)).round()
    figure = image_grid(images, "Title", LONG, row_labels=["original", "reconstruction"])
    plain = style.png(figure)

    def saved(name: str, **how: Any) -> NDArray[np.uint8]:
        figure.savefig(tmp_path / name, **how)
        return np.asarray(Image.open(tmp_path / name).convert("L"))

    drawn = np.asarray(Image.open(io.BytesIO(plain)).convert("L"))
    double = saved("double.png", dpi=2 * style.DPI)[::2, ::2][: drawn.shape[0], : drawn.shape[1]]
    assert (np.abs(double.astype(int) - drawn)[-150:] > 50).mean() < 0.1  # elsewhere a third
    cropped = saved("cropped.png", bbox_inches="tight", dpi="figure")
    assert (cropped == 0).sum() == pytest.approx((drawn == 0).sum(), rel=0.01)
    figure.savefig(tmp_path / "vectors.svg")
    assert (tmp_path / "vectors.svg").read_text().count("<image ") == 1
    assert style.png(figure) == plain


def test_a_notebook_shows_a_figure_with_fewer_colours() -> None:
    figure = LatentPlot(MEANS, LABELS, NAMES, VIEW, "Title", LONG).figure
    shown, size = figure._repr_png_()  # type: ignore[attr-defined]
    whole = Image.open(io.BytesIO(style.png(figure)))
    small = Image.open(io.BytesIO(shown))
    assert (small.mode, small.size) == ("P", whole.size)
    assert size == {"width": round(96 * figure.get_figwidth()), "height": round(96 * figure.get_figheight())}
    difference = np.abs(np.asarray(small.convert("RGB")).astype(int) - np.asarray(whole.convert("RGB")))
    assert difference.mean() < 0.5
