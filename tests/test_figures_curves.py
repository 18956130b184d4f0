"""Curves, rate and distortion, and the colours of models."""

from __future__ import annotations

import re
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Text
from skimage.color import deltaE_ciede2000, rgb2lab

from figure_examples import LONG, SPLITS, seeds
from vaelab.config import CONF_DIR
from vaelab.figures import style
from vaelab.figures.curves import (
    MINIMUM_SPAN,
    PANELS,
    OverSeeds,
    collapse_rate,
    epoch_ticks,
    frontier,
    loss_curves,
    model_colour,
    overlaid_curves,
    rate_distortion,
    styles,
)


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


def test_a_rate_at_which_the_posterior_begins_to_collapse_separates_all_models_or_none_is_said() -> None:
    assert collapse_rate([1, 4, 16, 30], [True, True, False, False], logarithmic=True) == pytest.approx(8)
    assert collapse_rate([16, 4, 1], [False, True, True], logarithmic=False) == 10
    for collapsed in ([False] * 3, [True] * 3, [False, True, False], [False, True, True]):
        assert collapse_rate([1, 4, 16], collapsed, logarithmic=False) is None


def test_models_with_kl_of_one_weight_differ_in_colour() -> None:
    looks = styles([0, 1, 1, 1])
    assert len({look.colour for look in looks}) == 4
    assert looks[0] == styles([0, 0.5])[0]  # red without KL, whatever the others are


def test_the_frontier_has_the_models_that_no_other_beats_in_both() -> None:
    points = np.array([[5.0, 270], [2, 280], [5, 271], [8, 260], [3, 290], [8, 260], [9, 265]])
    assert frontier(points).tolist() == [[2, 280], [5, 270], [8, 260]]
    assert frontier(points[:1]).tolist() == [[5, 270]]


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


def test_what_a_schedule_changes_has_a_panel_even_if_each_epoch_has_a_whole_cycle() -> None:
    row = {"train/loss": 1.0, "train/reconstruction": 1.0, "train/kl": 1.0} | dict.fromkeys(("val/loss", "val/reconstruction", "val/kl"), 1.0)  # fmt: skip
    for changing, title in (
        ({}, None),
        ({"kl_weight_mean": [0.75, 0.75]}, "KL weight, mean over the epoch"),
        ({"kl_weight": [0.5, 1.0]}, "KL weight at the end of the epoch"),
        ({"kl_weight_mean": [0.2, 0.7], "train/capacity": [5.0, 20.0]}, "Capacity C, mean over the epoch"),
    ):
        history = [{"epoch": 1 + at, "kl_weight": 1.0, **row, **{key: each[at] for key, each in changing.items()}} for at in (0, 1)]  # fmt: skip
        titles = [axes.get_title(loc="left") for axes in loss_curves(history, "Title", "", None).axes]
        assert titles[3:] == ([title] if title else [])


def test_the_dots_of_one_epoch_are_whole() -> None:
    row = {"epoch": 1, "kl_weight": 1.0, "train/kl": 5.0, "val/kl": 7.2}
    row |= {f"{split}/{term}": 250.0 for split in ("train", "val") for term in ("loss", "reconstruction")}
    figure = loss_curves([row], "Title", "Subtitle", 1, conditional=True)
    figure.draw_without_rendering()
    for axes in figure.axes:
        low, high = axes.bbox.intervaly
        dots = [axes.transData.transform((1, line.get_ydata()[0]))[1] for line in axes.lines]
        assert len(dots) == 2  # no star hides one
        assert low < min(dots) - 5
        assert high > max(dots) + 5
    assert [axes.get_title(loc="left") for axes in figure.axes[1:]] == [
        "Reconstruction, −log p(x|z, y)", "KL(q(z|x, y) ‖ p(z))"
    ]  # fmt: skip


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
