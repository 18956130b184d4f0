"""Figures: the same input gives the same bytes, nothing is cut off, the axes hold what they must."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from vaelab.config import CONF_DIR
from vaelab.figures import fonts, style
from vaelab.figures.curves import (
    MINIMUM_SPAN,
    PANELS,
    OverSeeds,
    epoch_ticks,
    frontier,
    loss_curves,
    model_colour,
    overlaid_curves,
    rate_distortion,
    styles,
)
from vaelab.figures.density import Holes, density_plot, hole_map, hole_panels, kl_bars
from vaelab.figures.images import (
    ImageGrid,
    diversity_panels,
    ffmpeg,
    gif,
    image_grid,
    image_panels,
    mp4,
    tile,
    zoom_for,
)
from vaelab.figures.latent import (
    LatentPlot,
    LatentSpaces,
    LatentView,
    latent_animation,
    limit_for,
    name_places,
)

GENERATOR = np.random.default_rng(0)
NAMES = {0: "T-shirt/top", 7: "Sneaker", 9: "Ankle boot"}
MEANS = GENERATOR.normal(size=(60, 2))
LABELS = GENERATOR.choice([0, 7, 9], size=60)
VIEW = LatentView(np.eye(2), ("z₁", "z₂"), 4.0)
ROW = {"kl_weight": 1.0} | {
    f"{split}/{term}": -1234.5 for split in ("train", "val") for term in ("loss", "reconstruction", "kl")
}
MODELS = {
    "KL off": 100.0,
    "beta 0.1": 10.0,
    "beta 1": 3.0,
    "conv, latent_dim 16, beta 4": 1.0,
    "beta 10": 0.5,
}
LOOKS = dict(zip(MODELS, styles([0, 0.1, 1, 4, 10]), strict=True))
LONG = (
    "conv, 16 latent dimensions, beta 0.5 · Fashion-MNIST (embedded subset; dynamically binarised) · seed 42"
)


def seeds(shape: tuple[int, int], scale: float = 1.0) -> OverSeeds:
    values_SE = GENERATOR.random(shape) * scale
    return OverSeeds(values_SE, values_SE.min(axis=0), values_SE.max(axis=0))


SPLITS = {"train": "training", "val": "validation"}


def several(scale: float) -> dict[str, OverSeeds]:
    terms = ("loss", "reconstruction", "kl")
    return {f"{split}/{term}": seeds((3, 5), scale) for split in SPLITS for term in terms}


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
    "embedding": lambda: LatentPlot(
        MEANS, LABELS, NAMES, LatentView(np.eye(2), ("t-SNE (openTSNE, perplexity 30)\nnear points are alike", ""), 4.0, has_units=False), "Title", LONG
    ).figure,
    "latent spaces with insets": lambda: LatentSpaces(
        {name: 10**place * MEANS for place, name in enumerate(MODELS)}, dict.fromkeys(MODELS, LatentView(np.eye(2), ("z₁", "z₂"), 16384.0)), LABELS, NAMES, "Title", LONG
    ).figure,
    "holes of several models": lambda: hole_panels(
        [Holes(MEANS, 4.0, GENERATOR.random((41, 41)) > 0.5, f"{name}\n50.0 % of prior draws in holes (mean of 3 seeds)") for name in MODELS], 4.0, "95 %", "Title", LONG
    ),
    "holes": lambda: hole_map(GENERATOR.random((41, 41)) > 0.5, 4.0, "95 %", "holes: 50.0 ± 0.5 %\nof prior draws", "Title", LONG),
    "few bars": lambda: kl_bars(np.array([3.2, 0.001]), ["z₂", "z₁"], np.array([False, True]), "3.20 nats", "Title", LONG),
    "many bars": lambda: kl_bars(np.linspace(123, 0, 200), [f"z₁₂{i}" for i in range(200)], np.arange(200) > 198, "61.5 nats", "Title", LONG),
    "curves of several models": lambda: overlaid_curves(
        {name: several(scale) for name, scale in MODELS.items()}, LOOKS, SPLITS, list(PANELS), "Title", LONG,
    ),
    "rate and distortion": lambda: rate_distortion(
        {name: {"kl": seeds((3, 1), scale), "reconstruction": seeds((3, 1))} for name, scale in MODELS.items()}, LOOKS, "Title", LONG,
    ),
    "latent spaces": lambda: LatentSpaces(
        dict.fromkeys(MODELS, MEANS), dict.fromkeys(MODELS, VIEW), LABELS, NAMES, "Title", LONG
    ).figure,
    "curves with a warm-up": lambda: loss_curves(
        [{**ROW, "epoch": epoch, "kl_weight": weight} for epoch, weight in ((1, 0.5), (2, 1.0))], "Title", LONG, None
    ),
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


def test_names_of_models_hide_neither_each_other_nor_points_nor_edges() -> None:
    """Twelve models at nearly one place."""
    points = {f"model number {n}, beta {n}": {"kl": seeds((1, 1), 0.1), "reconstruction": seeds((1, 1), 0.1)} for n in range(12)}  # fmt: skip
    looks = dict(zip(points, styles([1.0] * 12), strict=True))
    figure = rate_distortion(points, looks, "Title", LONG)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without their lines
    assert len(boxes) == 12
    edge = axes.get_window_extent()
    for number, box in enumerate(boxes):
        assert edge.x0 <= box.x0 <= box.x1 <= edge.x1
        assert edge.y0 <= box.y0 <= box.y1 <= edge.y1
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_densities_of_several_models_are_on_the_same_axes() -> None:
    """And what is a dot there has an inset."""
    covered = np.zeros((21, 21), bool)
    sizes = {4.0: 1.0, 96.0: 20.0}
    figure = hole_panels(
        [Holes(scale * MEANS, limit, covered, "model") for limit, scale in sizes.items()],
        4.0,
        "95 %",
        "T",
        "s",
    )
    limits = [axes.get_ylim()[1] for axes in figure.axes]
    assert limits == [96, 4, 4, 96, 4]  # of the first model above, below and its inset, and of the second


def test_models_with_kl_of_one_weight_differ_in_colour() -> None:
    looks = styles([0, 1, 1, 1])
    assert len({look.colour for look in looks}) == 4
    assert looks[0] == styles([0, 0.5])[0]  # red without KL, whatever the others are


def test_the_frontier_has_the_models_that_no_other_beats_in_both() -> None:
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


@pytest.mark.parametrize(
    ("last", "ticks"),
    [(1, [1]), (3, [1, 2, 3]), (7, [1, 2, 4, 6, 7]), (10, [1, 2, 4, 6, 8, 10]), (21, [1, 5, 10, 15, 21]), (20, [1, 5, 10, 15, 20]), (600, [1, *range(100, 601, 100)])],
)  # fmt: skip
def test_the_first_and_the_last_epoch_are_ticks(last: int, ticks: list[int]) -> None:
    assert epoch_ticks(last) == ticks


@pytest.mark.parametrize("split", ["val", "test"])
def test_loss_curves_show_noise_as_noise_and_the_best_epoch_on_its_curve(split: str) -> None:
    """Differences of a tenth of a nat fill no axis, and a KL begins at 0."""
    terms = {"loss": 250.0, "reconstruction": 245.0, "kl": 5.0}
    history = [
        {"epoch": epoch, "kl_weight": 1.0} | {f"{of}/{term}": value + 0.1 * (epoch % 3) for of in ("train", split) for term, value in terms.items()}
        for epoch in range(1, 11)
    ]  # fmt: skip
    loss, reconstruction, kl = loss_curves(history, "Title", "Subtitle", 3).axes
    for axes in (loss, reconstruction):
        low, high = axes.get_ylim()
        assert high - low >= MINIMUM_SPAN
    assert kl.get_ylim()[0] == 0
    stars = [line for axes in (loss, reconstruction, kl) for line in axes.lines if line.get_marker() == "*"]
    assert [(line.get_xdata(), line.get_ydata()) for line in stars] == (
        [([3], [250.0])] if split == "val" else []
    )
    if stars:
        assert stars[0] in loss.lines
        assert stars[0].get_label() == "best epoch (3), by validation loss"


def test_the_axes_of_several_models_show_what_differs() -> None:
    """A first epoch far above, a KL of two sizes: that axis is logarithmic, and says so."""

    def curve(first: float, then: float) -> OverSeeds:
        values_SE = np.array([[first, then, then - 0.1, then, then - 0.1]])
        return OverSeeds(values_SE, *np.full((2, 5), np.nan))

    terms = {"loss": (900.0, 250.0), "reconstruction": (900.0, 245.0), "kl": (90.0, 60.0)}
    off = {f"{split}/{term}": curve(*of) for split in SPLITS for term, of in terms.items()}
    on = {**off, **{f"{split}/kl": curve(3.0, 4.0) for split in SPLITS}}
    figure = overlaid_curves({"KL off": off, "beta 1": on}, dict(zip(("KL off", "beta 1"), styles([0, 1]), strict=True)), SPLITS, list(PANELS), "T", "S")  # fmt: skip
    assert figure.texts[style.SUBTITLE].get_text() == "S · vertical axes fit epochs 2 and later"
    for row in (figure.axes[:3], figure.axes[3:]):
        loss, reconstruction, kl = row
        for axes in (loss, reconstruction):
            assert axes.get_ylim()[1] < 260
            assert np.diff(axes.get_ylim()) >= MINIMUM_SPAN
        assert kl.get_yscale() == "log"
        assert kl.get_ylim()[0] < 4.0 < 60.0 < kl.get_ylim()[1]
    assert figure.axes[2].get_title(loc="left") == "KL(q(z|x) ‖ p(z)), logarithmic"
    alone = overlaid_curves({"beta 1": on}, {"beta 1": styles([1])[0]}, SPLITS, list(PANELS), "T", "S")
    assert alone.axes[2].get_ylim()[0] == 0
    assert alone.axes[2].get_title(loc="left") == "KL(q(z|x) ‖ p(z))"


def test_a_colour_is_a_function_of_beta() -> None:
    """The same in every sweep; all six of the assignments' and KL off can be told apart, on white and on dark."""
    weights = [0, 0.1, 0.25, 0.5, 1, 2, 4]
    assert [each.colour for each in styles(weights)] == [*map(model_colour, weights)]
    assert [each.colour for each in styles([1, 4])] == [model_colour(1), model_colour(4)]
    for on_dark in (False, True):
        colours = np.array([mpl.colors.to_rgb(model_colour(weight, on_dark)) for weight in weights])
        lightness = luminance(colours)[1:]
        assert (np.diff(lightness) > 0.01).all()  # in the order of beta, for who sees no colours
    same = styles([1, 1, 0, 0.5, 1])
    assert len({(each.colour, each.dashes) for each in same}) == 5
    for (
        betas
    ) in PRESET_BETAS:  # where two colours are hard to tell apart, as lines and as points they are not
        looks = styles(betas)
        lab = rgb2lab(np.array([mpl.colors.to_rgb(each.colour) for each in looks]))
        apart = deltaE_ciede2000(lab[:, None], lab[None])
        for one, other in combinations(range(len(betas)), 2):
            assert apart[one, other] > 12 or looks[one].dashes != looks[other].dashes, (
                betas[one],
                betas[other],
            )
            assert apart[one, other] > 12 or looks[one].marker != looks[other].marker, (
                betas[one],
                betas[other],
            )
    network = styles([1, 1, 1, 1])
    assert len({each.colour for each in network}) == len({each.marker for each in network}) == 4
    assert model_colour(0) not in {each.colour for each in network}


PRESET_BETAS = [
    [float(beta) for beta in found.group(1).split(",")]
    for path in sorted((CONF_DIR / "experiment").glob("*.yaml"))
    if (found := re.search(r"^ +beta: ([\d.,]+,[\d.]+)$", path.read_text(), re.MULTILINE))
]
"""Of the shipped sweeps over beta."""


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_legible_on_a_slide(name: str) -> None:
    """At 1,600 pixels across, of 96 to the inch, none is below 9 points."""
    figure = FIGURES[name]()
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(sizes) * 1600 / 96 / figure.get_figwidth() >= 9


# Machado, Oliveira and Fernandes (2009), table 1: severity 1, for linear RGB.
SEEN_BY = {
    "all cones": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


@pytest.mark.parametrize("seen", SEEN_BY.values(), ids=SEEN_BY)
@pytest.mark.parametrize("dark", [False, True], ids=["white", "dark"])
def test_colours_can_be_told_apart_and_seen(seen: np.ndarray, dark: bool) -> None:
    """Of classes and of the assignments' betas, also with colour blindness; on their background as curves need it."""
    classes = [style.class_colour(number, dark) for number in range(10)]
    models = [model_colour(weight, dark) for weight in (0, 0.1, 0.25, 0.5, 1, 2, 4)]
    assert len(PRESET_BETAS) >= 3
    presets = [model_colour(weight, dark) for betas in PRESET_BETAS for weight in (0, *betas)]
    for names, least in ((classes, 13.0), (models, 4.5), (presets, -1)):
        colours = np.array([mpl.colors.to_rgb(name) for name in names])
        linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
        shown = (linear @ seen.T).clip(0, 1)
        lab = rgb2lab(np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055))
        apart = deltaE_ciede2000(lab[:, None], lab[None]) + 100 * np.eye(len(names))
        assert apart.min() > least, names
        light, paper = (
            luminance(colours),
            luminance(np.array(mpl.colors.to_rgb("#17181b" if dark else "#ffffff"))),
        )
        contrast = (np.maximum(light, paper) + 0.05) / (np.minimum(light, paper) + 0.05)
        assert contrast.min() >= 3.0, names
        if names is classes and seen is SEEN_BY["all cones"]:  # none is a grey
            assert np.linalg.norm(lab[:, 1:], axis=1).min() > 15


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB colours, as WCAG defines it."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    found: np.ndarray = linear @ [0.2126, 0.7152, 0.0722]
    return found


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


def test_names_stand_on_their_own_points_and_on_no_other_name() -> None:
    """Ten classes at nearly one place; a name that is wider than the axes is left to the legend."""
    points, labels = GENERATOR.normal(size=(2000, 2)), GENERATOR.integers(0, 10, 2000)
    sizes = {number: (0.4 + 0.1 * number, 0.15) for number in range(9)} | {9: (8.5, 0.15)}
    places = name_places(points, labels, sizes, 4.0)
    assert sorted(places) == list(range(9))
    for number, place in places.items():
        assert (points[labels == number] == place).all(axis=1).any()
        assert (np.abs(place) + np.array(sizes[number]) / 2 < 4).all()
        for other in set(places) - {number}:
            apart = np.abs(place - places[other]) > (np.array(sizes[number]) + sizes[other]) / 2
            assert apart.any(), (number, other)
    crowded = name_places(
        np.zeros((20, 2)), labels[:20], dict.fromkeys(set(labels[:20].tolist()), (1, 1)), 4.0
    )
    assert not crowded  # a name would hide its class


def test_a_name_stands_in_a_cluster_of_its_class_not_between_two() -> None:
    points = np.concatenate([GENERATOR.normal(size=(50, 2)) * 0.2 + side for side in (-3, 3)])
    place = name_places(points, np.zeros(100, int), {0: (0.5, 0.2)}, 4.0)[0]
    assert np.linalg.norm(np.abs(place) - 3) < 0.3


def test_drawn_names_do_not_overlap() -> None:
    """What is measured before drawing agrees with what is drawn, frames included."""
    names = dict(enumerate(["T-shirt/top", "Pullover", "Ankle boot", "Coat", "0"]))
    generator = np.random.default_rng(0)
    points, labels = 0.3 * generator.normal(size=(400, 2)), generator.integers(0, 5, 400)
    plot = LatentPlot(points, labels, names, VIEW, "Title", LONG)
    style.pixels(plot.figure)
    boxes = [text.get_bbox_patch().get_window_extent() for text in plot.names.values() if text.get_visible()]  # type: ignore[union-attr]
    assert len(boxes) >= 3
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_points_outside_the_axes_are_counted() -> None:
    far = np.vstack([MEANS, [[9, 0], [0, -9], [4.1, 4.1]]])
    plot = LatentPlot(far, np.append(LABELS, [0, 0, 0]), NAMES, VIEW, "Title", LONG)
    assert plot.outside.get_text() == "3 of 63 outside the axes"
    plot.show(0.1 * far)
    assert plot.outside.get_text() == ""
    notes = [text.get_text() for text in density_plot(far, VIEW, "Title", LONG).axes[0].texts]
    assert notes == ["3 of 63 outside the axes"]


def test_a_model_that_is_a_dot_on_the_common_axes_has_an_inset() -> None:
    means = {"far": 20 * MEANS, "near": MEANS, "nearly collapsed": 0.01 * MEANS}
    view = LatentView(np.eye(2), ("z₁", "z₂"), 64.0)
    spaces = LatentSpaces(means, dict.fromkeys(means, view), LABELS, NAMES, "Title", LONG)
    assert [(model, inset.axes.get_xlim()[1]) for model, inset in spaces.insets] == [
        ("near", limit_for(MEANS, smallest=-16)),
        ("nearly collapsed", limit_for(means["nearly collapsed"], smallest=-16)),
    ]
    frames = list(spaces.animation([means, {name: -each for name, each in means.items()}], ["a", "b"], None))
    moved = (frames[0] != frames[1]).any(axis=2)
    height = len(moved)
    for _, inset in spaces.insets:
        box = inset.axes.bbox
        assert moved[height - int(box.y1) : height - int(box.y0), int(box.x0) : int(box.x1)].any()
    alone = LatentSpaces({"near": MEANS}, {"near": VIEW}, LABELS, NAMES, "Title", LONG)
    assert not alone.insets


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
