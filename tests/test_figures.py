"""All figures: nothing is cut off or overlaps, names and watermarks are drawn as they are."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from matplotlib.text import Text

from figure_examples import EXAMPLE_FIGURES, GENERATOR, LABELS, LONG, MEANS, NAMES, SPLITS, VIEW, several
from vaelab.figures import fonts, style
from vaelab.figures.curves import (
    PANELS,
    overlaid_curves,
    styles,
)
from vaelab.figures.images import (
    ffmpeg,
    image_grid,
    mp4,
)
from vaelab.figures.latent import (
    LatentPlot,
    LatentSpaces,
)


@pytest.mark.parametrize("name", EXAMPLE_FIGURES)
def test_nothing_is_cut_off(name: str) -> None:
    """Every text lies inside the figure, and the outermost pixels are white."""
    figure = EXAMPLE_FIGURES[name]()
    frame = style.pixels(figure)
    assert (frame[[0, -1]] == 255).all()
    assert (frame[:, [0, -1]] == 255).all()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible() and not text.get_clip_on():
            box = text.get_window_extent(renderer)
            assert box.x0 >= -1, text
            assert box.x1 <= figure.bbox.x1 + 1, text
            assert box.y0 >= -1, text
            assert box.y1 <= figure.bbox.y1 + 1, text


def test_the_same_figure_gives_the_same_bytes() -> None:
    """Whatever settings a notebook or a matplotlibrc has made."""
    images = set()
    for own in ({}, {"font.size": 20, "text.usetex": True, "figure.subplot.bottom": 0.3}):
        with mpl.rc_context(own):
            images.add(style.png(LatentPlot(MEANS, LABELS, NAMES, VIEW, "Title", "Subtitle").figure))
            assert own.items() <= mpl.rcParams.items()
    assert len(images) == 1


NAMES_IN_WORDS = {
    0: "$x^2$ 50 % of \\alpha",
    7: "_a_name_of_some_length, as plugins have them",
    9: "שלום <b>",
}


LITERAL: dict[str, Callable[[], Figure]] = {
    "legend": lambda: LatentPlot(MEANS, LABELS, NAMES_IN_WORDS, VIEW, "Title $a$", "$b$").figure,
    "legend of several": lambda: LatentSpaces({"$m$": MEANS}, {"$m$": VIEW}, LABELS, NAMES_IN_WORDS, "Title", "$b$").figure,
    "rows": lambda: image_grid(GENERATOR.random((3, 1, 8, 8)), "$t$", "$b$", row_labels=list(NAMES_IN_WORDS.values())),
    "models": lambda: overlaid_curves(
        {name: several(1) for name in NAMES_IN_WORDS.values()},
        dict(zip(NAMES_IN_WORDS.values(), styles([1, 1, 1]), strict=True)), SPLITS, list(PANELS), "$Title$", "$b$",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LITERAL)
def test_names_are_drawn_as_they_are(name: str) -> None:
    """Dollar signs are no formulas, an underscore hides nothing, and long names make the figure wider."""
    figure = LITERAL[name]()
    frame = style.pixels(figure)
    assert (frame[:, -1] == 255).all()
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    drawn = {each.replace("\u200b", "").replace("\n", " ") for each in map(Text.get_text, texts)}
    assert drawn >= set(NAMES_IN_WORDS.values())
    assert not any(text.get_parse_math() for text in texts if "$" in text.get_text())


@pytest.mark.parametrize(
    "watermark", [r"$\frac{1}{$ <b>x</b> 50 % a_b", "one line\nanother", "مرحبا", "five " * 20, "w" * 100]
)
def test_a_watermark_is_text_in_a_band_of_its_own(watermark: str) -> None:
    """So it covers nothing, however long it is: below every figure and every frame, and as wide as they are."""
    frame = GENERATOR.integers(0, 255, (90, 451, 3), dtype=np.uint8)
    marked = style.signed(frame, watermark)
    assert (marked[:90] == frame).all()
    band = marked[90:].min(axis=2)
    assert band.shape[1] == 451
    assert (band < 200).any()
    assert (band[[0, -1]] == 255).all()
    assert (band[:, [0, -1]] == 255).all()
    assert style.signed(frame, None) is frame


def test_a_video_has_every_frame_and_holds_the_last(tmp_path: Path) -> None:
    frames = [np.full((91, 121, 3), 30 * number, np.uint8) for number in range(5)]  # odd sizes
    program = ffmpeg()
    assert program is not None, "the test extra has one"
    content = mp4(frames, program, 200)
    assert content == mp4(frames, program, 200)
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    command = [program, "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    shown = subprocess.run(command, capture_output=True, check=True).stdout
    greys = np.frombuffer(shown, np.uint8).reshape(-1, 92, 122)[:, :90, :120].mean(axis=(1, 2))
    assert greys == pytest.approx([0, 30, 60, 90, *[120] * 11], abs=3)  # the last for two more seconds
    with pytest.raises(subprocess.SubprocessError, match="/bin/false: 1"):
        mp4(frames, "/bin/false", 200)


def text_of(figure: Figure, place: int) -> str:
    return figure.texts[place].get_text()


def test_long_subtitles_are_wrapped_and_leave_the_width_to_the_content() -> None:
    """The title alone widens a figure; what is placed from below stays where it is."""
    narrow, wide = (style.new_figure(width, 4.0, "Title", f"{LONG} · {LONG}") for width in (5.0, 30.0))
    assert (narrow.get_figwidth(), wide.get_figwidth()) == (5.0, 30.0)
    assert text_of(wide, style.SUBTITLE) == f"{LONG} · {LONG}"
    assert text_of(narrow, style.SUBTITLE).split("\n")[:2] == LONG.split(" · ", 1)
    lines = text_of(narrow, style.SUBTITLE).count("\n")
    assert lines == 3
    assert narrow.get_figheight() == pytest.approx(4.0 + lines * style.SUBTITLE_LINE)
    assert style.new_figure(1.0, 4.0, "A title that is longer than its content", "").get_figwidth() > 3.5
    assert style.new_figure(1.0, 4.0, "", "w" * 100).get_figwidth() > 5  # no space to break it at


def test_characters_that_no_font_has_are_boxes_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fonts, "NAMED", set())
    unassigned = "\U000e1000\U000e1001"
    for _ in range(3):
        figure = LatentPlot(
            MEANS, LABELS, {0: unassigned, 7: f"b\t{unassigned[0]}\ufe0f", 9: "c"}, VIEW, "T", "S"
        ).figure
        frame = style.pixels(figure)
        signed = style.signed(frame, f"Ada {unassigned}\x07")
        np.testing.assert_array_equal(signed, style.signed(frame, "Ada □□"))
    (record,) = caplog.records
    assert record.getMessage().startswith(f"No installed font has {unassigned}: ")


def test_an_installed_font_that_has_the_characters_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    """Of the fonts for formulas, which ship with matplotlib."""
    rare = next(
        chr(code) for code in get_font(fonts.regular_fonts()["STIXGeneral"]).get_charmap()
        if fonts.without_glyph(chr(code), fonts.regular_fonts()[fonts.FAMILY])
    )  # fmt: skip
    figure = style.new_figure(6, 4, f"Title {rare}", "")
    style.pixels(figure)
    title = figure.texts[style.TITLE]
    assert title.get_text() == f"Title {rare}"
    assert title.get_fontfamily()[0] == fonts.FAMILY
    assert len(title.get_fontfamily()) == 2
    assert title.get_window_extent().width / style.DPI <= style.text_width(
        f"Title {rare}", style.TITLE_SIZE, "bold"
    )
    assert not caplog.records


@pytest.mark.parametrize("name", EXAMPLE_FIGURES)
def test_text_is_legible_on_a_slide(name: str) -> None:
    """At 1,600 pixels across, of 96 to the inch, none is below 9 points."""
    figure = EXAMPLE_FIGURES[name]()
    figure.draw_without_rendering()  # which makes the labels of ticks
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(sizes) * 1600 / 96 / figure.get_figwidth() >= 9


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that are drawn over each other."""
    style.pixels(figure)
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    boxes = [text.get_window_extent() for text in texts]
    pairs = combinations(range(len(texts)), 2)
    return [(texts[a].get_text(), texts[b].get_text()) for a, b in pairs if boxes[a].overlaps(boxes[b])]


@pytest.mark.parametrize("name", ["grid", "panels", "diversity", "panels of many models"])
def test_headings_of_images_do_not_overlap(name: str) -> None:
    assert not overlapping(EXAMPLE_FIGURES[name]())
