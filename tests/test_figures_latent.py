"""Figures of the latent space: holes, densities, axes, names of classes, the animation."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from figure_examples import GENERATOR, LABELS, LONG, MEANS, NAMES, VIEW
from vaelab.figures import style
from vaelab.figures.density import Holes, density_plot, hole_map, hole_panels
from vaelab.figures.images import (
    gif,
)
from vaelab.figures.latent import (
    LatentPlot,
    LatentSpaces,
    LatentView,
    latent_animation,
    limit_for,
    name_places,
)


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
