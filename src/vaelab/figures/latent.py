"""The latent space as a scatter plot, and its animation.

Shapes: N images, F frames, K images in a strip, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from vaelab.figures.images import tile
from vaelab.figures.style import (
    HEADER,
    INK,
    SOFT,
    SUBTITLE,
    TITLE,
    CachedBackground,
    add_axes,
    class_colour,
    house_style,
    legend_beside,
    new_figure,
    prior_circles,
    show_images,
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


class LatentPlot:
    """Posterior means on a plane, coloured by class with the names beside, or all in one colour.

    For one moment there is `figure`; for many, `pixels` draws again only what moves.
    """

    def __init__(
        self,
        means_NL: NDArray[np.floating],
        labels_N: NDArray[np.integer] | None,
        class_names: Mapping[int, str],
        view: LatentView,
        title: str,
        subtitle: str,
    ) -> None:
        self.view = view
        with house_style():
            self.figure = new_figure(7.6, 6.9, title, subtitle)
            axes = add_axes(self.figure, 0.75, 0.6, 5.5, 5.5)
            self.plane = LatentPlane(axes, view, means_NL, labels_N, class_names)
        self.cached: CachedBackground | None = None

    def pixels(self, means_NL: NDArray[np.floating], title: str) -> NDArray[np.uint8]:
        """The figure at another moment, shape (height, width, 3). `figure` itself can't be drawn any more."""
        heading = self.figure.texts[TITLE]
        with house_style():
            if self.cached is None:
                self.cached = CachedBackground(self.figure, [*self.plane.moving, heading])
            heading.set_text(title)
            self.plane.show(means_NL)
            return self.cached.pixels()


class LatentPlane:
    """The axes of a latent plot: points, the prior's circles and a legend; the points can be moved."""

    def __init__(
        self,
        axes: Axes,
        view: LatentView,
        means_NL: NDArray[np.floating],
        labels_N: NDArray[np.integer] | None,
        class_names: Mapping[int, str],
        *,
        names: bool = True,
    ) -> None:
        """`names` writes each class's name in the middle of its points."""
        self.axes, self.view, self.labels_N = axes, view, labels_N
        self.one_dimension = view.plane.shape[1] == 1
        if self.one_dimension:
            self.rows_N = rows_of(labels_N, class_names, len(means_NL))
        colours: Any = INK
        if labels_N is not None:
            classes, of_points = np.unique(labels_N, return_inverse=True)
            colours = to_rgba_array([class_colour(int(number)) for number in classes])[of_points]
        origin_N = np.zeros(len(means_NL))
        self.points = axes.scatter(origin_N, origin_N, s=4, c=colours, alpha=0.65, linewidths=0)
        prior = prior_circles(axes, SOFT, self.one_dimension)
        ticks = np.linspace(-view.limit, view.limit, 5)  # few: laying them out takes longer than the points
        axes.set(xlim=(-view.limit, view.limit), xticks=ticks, xlabel=view.names[0])
        if view.limit >= 10_000:  # "−131k" fits beside the axis
            axes.tick_params(labelsize=8)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(EngFormatter(places=0, sep=""))
        if self.one_dimension:
            axes.set(ylim=(len(class_names) - 0.5, -0.5), yticks=[])
        else:
            axes.set(ylim=(-view.limit, view.limit), yticks=ticks, ylabel=view.names[1], aspect="equal")
        handles = [prior]
        self.names: dict[int, Text] = {}
        for number, name in (class_names if labels_N is not None else {}).items():
            colour = class_colour(number)
            handles += [Line2D([], [], linestyle="", marker="o", markersize=6, color=colour, label=name)]
            if names and not self.one_dimension and number in np.asarray(labels_N):
                halo = [effects.withStroke(linewidth=2.5, foreground="white")]
                self.names[number] = axes.text(
                    0, 0, name, fontsize=7.5, ha="center", va="center", path_effects=halo, clip_on=True
                )
        legend_beside(axes, handles, handletextpad=0.5)
        self.show(means_NL)

    def show(self, means_NL: NDArray[np.floating]) -> None:
        """Move the points, and the names with them."""
        points_N2 = self.view.project(means_NL)
        if self.one_dimension:
            points_N2[:, 1] = self.rows_N
        self.points.set_offsets(points_N2)
        for number, text in self.names.items():
            middle = np.median(points_N2[self.labels_N == number], axis=0)
            text.set_position(middle.clip(-self.view.limit, self.view.limit))

    @property
    def moving(self) -> list[Artist]:
        """What must be drawn again when the points have moved, in the order of drawing."""
        axes = self.axes
        return [self.points, *axes.patches, *axes.lines, *axes.spines.values(), *self.names.values()]


def rows_of(
    labels_N: NDArray[np.integer] | None, class_names: Mapping[int, str], count: int
) -> NDArray[np.float64]:
    """Heights for a plot of one latent dimension: a band for each class, spread by a fixed jitter."""
    jitter = np.random.default_rng(0).uniform(-0.4, 0.4, count)
    if labels_N is None:
        return (len(class_names) - 1) / 2 + jitter * len(class_names)
    rows = {number: row for row, number in enumerate(class_names)}
    return jitter + np.array([rows[int(label)] for label in labels_N])


def latent_animation(
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
    """One frame for each step: where the same images lie, and below how some are reconstructed.

    Yields arrays of shape (height, width, 3). Only points, strip and subtitle move.
    """
    strip_height, height = 1.35, 7.9
    with house_style():
        figure = new_figure(7.2, height, title, *subtitles)
        figure.set_dpi(90)
        sign(figure, watermark)
        side = height - strip_height - HEADER - 0.75
        # Without names: over moving clouds they would only hide them.
        axes = add_axes(figure, 0.7, strip_height + 0.6, side, side)
        plane = LatentPlane(axes, view, means_FNL[-1], labels_N, class_names, names=False)
        strip = add_axes(figure, 1.1, 0.1, figure.get_figwidth() - 1.2, strip_height)
        bands = [tile(np.stack([originals_KHW, each]), gap=2) for each in reconstructions_FKHW]
        sheet = show_images(strip, bands[0])
        size = originals_KHW.shape[1]
        for row, label in enumerate(("original", "recon-\nstruction")):
            strip.text(-2, row * (size + 2) + size / 2, label, ha="right", va="center", fontsize=8)
        cached = CachedBackground(figure, [*plane.moving, sheet, figure.texts[SUBTITLE]])
        for means, band, subtitle in zip(means_FNL, bands, subtitles, strict=True):
            plane.show(means)
            sheet.set_data(band)
            figure.texts[SUBTITLE].set_text(subtitle)
            yield cached.pixels()
