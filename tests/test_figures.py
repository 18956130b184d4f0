"""Figures: the same input gives the same bytes, nothing is cut off, the axes hold what they must."""

from __future__ import annotations

import io
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
from PIL import Image

from vaelab.figures import fonts, style
from vaelab.figures.curves import OverSeeds, frontier, loss_curves, overlaid_curves, rate_distortion, styles
from vaelab.figures.density import density_plot, hole_map, kl_bars
from vaelab.figures.images import (
    ImageGrid,
    diversity_panels,
    ffmpeg,
    gif,
    image_grid,
    image_panels,
    mp4,
    tile,
)
from vaelab.figures.latent import LatentPlot, LatentSpaces, LatentView, latent_animation, limit_for

GENERATOR = np.random.default_rng(0)
NAMES = {0: "T-shirt/top", 7: "Sneaker", 9: "Ankle boot"}
MEANS = GENERATOR.normal(size=(60, 2))
LABELS = GENERATOR.choice([0, 7, 9], size=60)
VIEW = LatentView(np.eye(2), ("z₁", "z₂"), 4.0)
ROW = {f"{split}/{term}": -1234.5 for split in ("train", "val") for term in ("loss", "reconstruction", "kl")}
MODELS = {
    "KL off": 100.0,
    "beta 0.1": 10.0,
    "beta 1": 3.0,
    "conv, latent_dim 16, beta 4": 1.0,
    "beta 10": 0.5,
}
LOOKS = dict(zip(MODELS, styles([True, False, False, False, False]), strict=True))
LONG = (
    "conv, 16 latent dimensions, beta 0.5 · Fashion-MNIST (embedded subset; dynamically binarised) · seed 42"
)


def seeds(shape: tuple[int, int], scale: float = 1.0) -> OverSeeds:
    values_SE = GENERATOR.random(shape) * scale
    return OverSeeds(values_SE, values_SE.min(axis=0), values_SE.max(axis=0))


FIGURES: dict[str, Callable[[], Figure]] = {
    "grid": lambda: image_grid(
        GENERATOR.random((3, 4, 28, 28)), "Title", LONG, row_labels=list(NAMES.values()),
        column_labels=["one", "two\nlines", "x", "y"], bottom_label=f"{LONG}\n{LONG}, and what the rows are",
    ),
    "scatter": lambda: LatentPlot(MEANS, LABELS, NAMES, VIEW, "Title", LONG).figure,
    "scatter far out": lambda: LatentPlot(
        5e4 * MEANS, LABELS, NAMES, LatentView(np.eye(2), ("z₁", "z₂"), 196608.0), "Title", LONG
    ).figure,
    "plain scatter": lambda: LatentPlot(MEANS, None, NAMES, VIEW, "Title", LONG).figure,
    "one dimension": lambda: LatentPlot(
        MEANS[:, :1], LABELS, NAMES, LatentView(np.eye(1), ("z₁", ""), 4.0), "Title", LONG
    ).figure,
    "curves": lambda: loss_curves(
        [{"epoch": epoch, **ROW} for epoch in (1, 2, 3)], "Title", LONG, 2
    ),
    "panels": lambda: image_panels(
        [("σ = 0.1", GENERATOR.random((8, 8, 28, 28))), ("σ = 1 (the prior)", GENERATOR.random((8, 8, 28, 28)))], "Title", LONG
    ),
    "panels of many models": lambda: image_panels(
        [(f"{LONG} {number}", GENERATOR.random((2, 3, 28, 28))) for number in range(5)], "Title", LONG
    ),
    "diversity": lambda: diversity_panels(
        [(f"σ = {sigma}\ndiversity 12.34 ± 0.05", GENERATOR.random((8, 8, 28, 28))) for sigma in range(4)],
        [(0.1, 2, 0.1), (0.5, 5, 0.1), (1, 9, 0.2)], {"real images: 10": (10, 0.1), "posterior samples: 9": (9, 0.1)},
        "diversity", "Title", LONG,
    ),
    "density": lambda: density_plot(MEANS, VIEW, "Title", LONG),
    "density of one dimension": lambda: density_plot(
        MEANS[:, :1], LatentView(np.eye(1), ("z₁", ""), 4.0), "Title", LONG
    ),
    "holes": lambda: hole_map(GENERATOR.random((41, 41)) > 0.5, 4.0, "95 %", "holes: 50.0 ± 0.5 %\nof prior draws", "Title", LONG),
    "few bars": lambda: kl_bars(np.array([3.2, 0.001]), ["z₂", "z₁"], 0.01, "Title", LONG),
    "many bars": lambda: kl_bars(np.linspace(123, 0, 200), [f"z₁₂{i}" for i in range(200)], 0.01, "Title", LONG),
    "curves of several models": lambda: overlaid_curves(
        {name: {"kl": seeds((3, 5), scale)} for name, scale in MODELS.items()}, LOOKS,
        [("kl", "KL(q(z|x) ‖ p(z))")] * 3, "Title", LONG,
    ),
    "rate and distortion": lambda: rate_distortion(
        {name: {"kl": seeds((3, 1), scale), "reconstruction": seeds((3, 1))} for name, scale in MODELS.items()}, LOOKS, "Title", LONG,
    ),
    "latent spaces": lambda: LatentSpaces(
        dict.fromkeys(MODELS, MEANS), dict.fromkeys(MODELS, VIEW), LABELS, NAMES, "Title", LONG
    ).figure,
    "curves of one epoch": lambda: loss_curves([{"epoch": 1, **ROW}], "Title", LONG, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name: str) -> None:
    """Every text lies inside the figure, and the outermost pixels are white."""
    figure = FIGURES[name]()
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


def test_the_hole_map_colours_holes_by_how_often_the_prior_draws_there() -> None:
    uncovered = np.ones((81, 81), bool)
    uncovered[30:51, 30:51] = False  # within 1 sigma of the prior's mean
    figure = hole_map(uncovered, 4.0, "95 %", "holes: 25.0 %", "Title", "Subtitle")
    legend = " ".join(text.get_text() for text in figure.axes[0].get_legend().get_texts())  # type: ignore[union-attr]
    assert "holes: 25.0 %" in legend
    (image,) = figure.axes[0].get_images()
    sheet = np.asarray(image.get_array())
    assert sheet[40, 40].tolist() == sheet[45, 45].tolist()  # covered: one colour
    saturation = sheet.max(axis=2) - sheet.min(axis=2)
    assert saturation[40, 55] > saturation[40, 75]


def test_the_density_contours_hold_what_they_say() -> None:
    points = GENERATOR.normal(size=(4000, 2)) * 0.5
    axes = density_plot(points, VIEW, "Title", "Subtitle").axes[0]
    outlines = [path.vertices for path in axes.collections[0].get_paths()]
    radii = [
        np.linalg.norm(vertices, axis=1).max() for vertices in outlines
    ]  # 99, 90 and 50 %, outermost first
    expected = [0.5 * np.sqrt(-2 * np.log(1 - mass)) for mass in (0.99, 0.9, 0.5)]
    assert radii == pytest.approx(expected, rel=0.25)


def test_the_frontier_holds_who_is_beaten_by_nobody_in_both() -> None:
    points = np.array([[5.0, 270], [2, 280], [5, 271], [8, 260], [3, 290], [8, 260], [9, 265]])
    assert frontier(points).tolist() == [[2, 280], [5, 270], [8, 260]]
    assert frontier(points[:1]).tolist() == [[5, 270]]


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
        {name: {"kl": seeds((3, 5))} for name in NAMES_IN_WORDS.values()},
        dict(zip(NAMES_IN_WORDS.values(), styles([False] * 3), strict=True)), [("kl", "$KL$")], "Title", "$b$",
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
    assert record.getMessage().startswith(f"No installed font has {unassigned}: figures show □ instead. ")


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
    sheet = (255 * tile(images, 2, 1, 2).clip(0, 1)).round().repeat(4, axis=0).repeat(4, axis=1)
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
        assert places == pytest.approx([4 * 7, 4 * (7 + 14 + 6)], abs=2)


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that are drawn over each other."""
    style.pixels(figure)
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    boxes = [text.get_window_extent() for text in texts]
    pairs = combinations(range(len(texts)), 2)
    return [(texts[a].get_text(), texts[b].get_text()) for a, b in pairs if boxes[a].overlaps(boxes[b])]


@pytest.mark.parametrize("name", ["grid", "panels", "diversity", "panels of many models"])
def test_headings_of_images_do_not_overlap(name: str) -> None:
    assert not overlapping(FIGURES[name]())


@pytest.mark.parametrize(("reach", "limit"), [(0.1, 4), (4.1, 6), (7, 8), (11, 12), (100, 128)])
def test_axes_have_few_sizes(reach: float, limit: float) -> None:
    points = np.zeros((1000, 2))
    points[:, 1] = -reach
    assert limit_for(points) == limit


def test_axes_ignore_a_few_outliers_but_not_many() -> None:
    points = np.zeros((1000, 2))
    points[:4] = 50
    assert limit_for(points) == 4
    points[:10] = 50
    assert limit_for(points) == 64


def test_views_keep_distances_from_the_priors_mean() -> None:
    plane = np.linalg.qr(GENERATOR.normal(size=(5, 2)))[0]
    points = LatentView(plane, ("a", "b"), 4.0).project((plane @ np.array([[3.0], [4.0]])).T)
    assert np.linalg.norm(points) == pytest.approx(5)


def test_the_animation_moves_and_keeps_its_colours() -> None:
    frames = list(
        latent_animation(
            [0.1 * MEANS, MEANS], [np.zeros((3, 28, 28)), np.ones((3, 28, 28))], np.ones((3, 28, 28)),
            LABELS, NAMES, VIEW, ["Before", "After 11.11 epochs"], LONG, "A. Student",
        )
    )  # fmt: skip
    assert frames[0].shape[1] == 648
    assert frames[0].shape == frames[1].shape
    assert (frames[0] != frames[1]).any()
    assert (frames[1][:, [0, -1]] == 255).all()
    # The strip of images below, as wide as three of them and their gaps, of which the lower ones turn white.
    changed = (frames[0] != frames[1]).any(axis=2)[-180:]
    assert changed.any(axis=1).sum() == pytest.approx(changed.any(axis=0).sum() / 3, abs=4)
    colours = [style.class_colour(number) for number in NAMES]
    with Image.open(io.BytesIO(gif(frames, colours, 100, 900))) as animation:
        assert animation.n_frames == 2
        assert animation.info["loop"] == 0
        assert animation.info["duration"] == 100
        animation.seek(1)
        assert animation.info["duration"] == 900
        last = np.asarray(animation.convert("RGB")).astype(int)
    assert (last[0, 0] == 255).all()
    for colour in colours:  # the legend's markers are still of their class's colour
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(last - rgb).max(axis=2).min() <= 6


@pytest.mark.parametrize("latents", [1, 2])
def test_drawing_only_what_moves_gives_the_same_image(latents: int) -> None:
    view = LatentView(np.eye(latents), ("z₁", "z₂"), 4.0)
    before, after = 3 * MEANS[:, :latents], MEANS[:, :latents] + 0.5
    plot = LatentPlot(before, LABELS, NAMES, view, "Before", LONG)
    for means, title in ((after, "After"), (before, "Before"), (after, "After")):
        drawn = style.pixels(LatentPlot(means, LABELS, NAMES, view, title, LONG).figure)
        np.testing.assert_array_equal(plot.pixels(means, title), drawn)


def test_grey_figures_are_saved_as_grey() -> None:
    grey, coloured = style.png(FIGURES["grid"]()), style.png(FIGURES["scatter"]())
    assert [Image.open(io.BytesIO(content)).mode for content in (grey, coloured)] == ["L", "RGB"]
    with Image.open(io.BytesIO(grey)) as image:
        assert image.info["dpi"] == pytest.approx((style.DPI, style.DPI), abs=0.1)


def test_class_colours_differ() -> None:
    assert len({style.class_colour(number) for number in range(10)}) == 10
