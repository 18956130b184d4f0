"""Pictures of the latent space.

Shapes: N images, F frames, K images in a strip, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from numpy.typing import NDArray

from vaelab.figures.images import tile
from vaelab.figures.style import (
    HEADER,
    INK,
    SOFT,
    class_colour,
    frames,
    header_width,
    house_style,
    new_figure,
    sign,
)

SMALLEST_LIMIT = 4.0
"""Axes reach from −4 to 4 standard deviations of the prior, where 99.99 % of its draws fall."""

INSIDE = 0.995
"""Share of the points that the axes must hold; a few stragglers would otherwise shrink all others."""


@dataclass(frozen=True, slots=True, eq=False)
class LatentView:
    """The plane that latents are drawn on, and how far its axes reach."""

    plane: NDArray[np.float64]  # (L, 2) or (L, 1), orthonormal columns
    names: tuple[str, str]
    limit: float

    def project(self, means_NL: NDArray[np.floating]) -> NDArray[np.float64]:
        """Coordinates on the plane, shape (N, 2); with one latent dimension the second is 0."""
        points = means_NL.astype(np.float64) @ self.plane
        return points if points.shape[1] == 2 else np.column_stack([points, np.zeros(len(points))])

    def same_as(self, other: LatentView) -> bool:
        """Whether a plot on the other view would look the same."""
        return self.limit == other.limit and np.array_equal(self.plane, other.plane)


def limit_for(points_N2: NDArray[np.floating]) -> float:
    """The axis limit that holds 99.5 % of the points: 4, 6, 8, 12, 16, …, so that runs share their axes."""
    reach = float(np.quantile(np.abs(points_N2).max(axis=1), INSIDE))
    limit = SMALLEST_LIMIT
    while limit < reach:
        limit *= 4 / 3 if np.log2(limit / 6).is_integer() else 3 / 2
    return round(limit, 6)


def latent_scatter(
    means_NL: NDArray[np.floating],
    labels_N: NDArray[np.integer] | None,
    class_names: Mapping[int, str],
    view: LatentView,
    title: str,
    subtitle: str,
) -> Figure:
    """Posterior means on the view's plane, coloured by class with the names beside, or all in one colour."""
    width, height = max(7.6, header_width(title, subtitle)), 6.9
    with house_style():
        figure = new_figure(width, height, title, subtitle)
        axes = figure.add_axes((0.75 / width, 0.6 / height, 5.5 / width, 5.5 / height))
        draw_plane(axes, view, means_NL, labels_N, class_names)
    return figure


def draw_plane(
    axes: Axes,
    view: LatentView,
    means_NL: NDArray[np.floating],
    labels_N: NDArray[np.integer] | None,
    class_names: Mapping[int, str],
) -> PathCollection:
    """The points, the prior's circles, the axes and the legend; returns the points."""
    points = view.project(means_NL)
    one_dimension = view.plane.shape[1] == 1
    if one_dimension:
        points[:, 1] = rows_of(labels_N, class_names, len(points))
    colours: Any = INK
    if labels_N is not None:
        classes, of_points = np.unique(labels_N, return_inverse=True)
        colours = to_rgba_array([class_colour(int(number)) for number in classes])[of_points]
    collection = axes.scatter(points[:, 0], points[:, 1], s=4, c=colours, alpha=0.65, linewidths=0)
    dashes: dict[str, Any] = {"color": SOFT, "linewidth": 0.8, "linestyle": (0, (4, 3))}
    for radius in (1, 2, 3):
        if one_dimension:
            axes.axvline(-radius, **dashes)
            axes.axvline(radius, **dashes)
        else:
            axes.add_patch(Circle((0, 0), radius, fill=False, **dashes))
    ticks = np.linspace(
        -view.limit, view.limit, 5
    )  # few: to lay them out takes longer than to draw the points
    axes.set(xlim=(-view.limit, view.limit), xticks=ticks, xlabel=view.names[0])
    if one_dimension:
        axes.set_yticks([])
        axes.set_ylim(len(class_names) - 0.5, -0.5)
    else:
        axes.set(ylim=(-view.limit, view.limit), yticks=ticks, ylabel=view.names[1], aspect="equal")
    handles = [Line2D([], [], label="prior, 1 to 3 σ", **dashes)]
    if labels_N is not None:
        handles += [
            Line2D([], [], linestyle="", marker="o", markersize=6, color=class_colour(number), label=name)
            for number, name in class_names.items()
        ]
        for number, name in class_names.items():
            of_class = points[labels_N == number]
            if len(of_class) and not one_dimension:
                x, y = np.median(of_class, axis=0).clip(-view.limit, view.limit)
                halo = [effects.withStroke(linewidth=2.5, foreground="white")]
                axes.text(x, y, name, fontsize=7.5, ha="center", va="center", path_effects=halo, clip_on=True)
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5, handletextpad=0.5)
    return collection


def rows_of(
    labels_N: NDArray[np.integer] | None, class_names: Mapping[int, str], count: int
) -> NDArray[np.float64]:
    """Heights for a plot of one latent dimension: a band for each class, spread by a fixed jitter."""
    jitter = np.random.default_rng(0).uniform(-0.4, 0.4, count)
    if labels_N is None:
        return (len(class_names) - 1) / 2 + jitter * len(class_names)
    rows = {number: row for row, number in enumerate(class_names)}
    return jitter + np.array([rows[int(label)] for label in labels_N])


def latent_film(
    means_FNL: Sequence[NDArray[np.floating]],
    reconstructions_FKHW: Sequence[NDArray[np.floating]],
    originals_KHW: NDArray[np.floating],
    labels_N: NDArray[np.integer],
    class_names: Mapping[int, str],
    view: LatentView,
    title: str,
    subtitles: Sequence[str],
    watermark: str | None,
) -> Iterator[NDArray[np.uint8]]:
    """One frame a moment of training: where the same images lie, and below how some are reconstructed.

    Yields arrays of shape (height, width, 3). Only points, strip and subtitle move.
    """
    width, height = max(7.2, *(header_width(title, subtitle) for subtitle in subtitles)), 7.9
    strip_height = 1.35
    with house_style():
        figure = new_figure(width, height, title, subtitles[0])
        figure.set_dpi(90)
        sign(figure, watermark)
        side = height - strip_height - HEADER - 0.75
        axes = figure.add_axes((0.7 / width, (strip_height + 0.6) / height, side / width, side / height))
        points = draw_plane(axes, view, means_FNL[-1], labels_N, class_names)
        for text in list(axes.texts):
            text.remove()  # the names stay in the legend; over moving clouds they would only hide them
        strip = figure.add_axes((1.1 / width, 0.1 / height, (width - 1.2) / width, strip_height / height))
        sheet = strip.imshow(np.zeros((1, 1)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        strip.set_axis_off()
        size = originals_KHW.shape[1]
        for row, label in enumerate(("original", "recon-\nstruction")):
            strip.text(-2, row * (size + 2) + size / 2, label, ha="right", va="center", fontsize=8)

        def move() -> Iterator[None]:
            for means, reconstructions, subtitle in zip(
                means_FNL, reconstructions_FKHW, subtitles, strict=True
            ):
                moved = view.project(means)
                if view.plane.shape[1] == 1:
                    moved[:, 1] = np.asarray(points.get_offsets())[:, 1]
                points.set_offsets(moved)
                image = tile(np.stack([originals_KHW, reconstructions]), gap=2)
                sheet.set_data(image)
                sheet.set_extent((-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5))
                figure.texts[1].set_text(subtitle)
                yield

        yield from frames(figure, [points, *axes.patches, *axes.lines, sheet, figure.texts[1]], move())
