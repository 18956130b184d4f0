"""Latent spaces as scatter plots, of one model or of several side by side, and their animations.

Shapes: N images, L latent dimensions, F frames, K images in a strip, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from vaelab.figures import Floats, Labels, Pixels, style
from vaelab.figures.images import tile

INSIDE = 0.995  # share of the points on the axes: a few outliers would otherwise shrink all others
IN_A_ROW = 4  # panels side by side before a new row begins


@dataclass(frozen=True, slots=True, eq=False)
class LatentView:
    """The plane that latents are drawn on, and how far its axes reach."""

    plane: NDArray[np.float64]  # (L, 2) or (L, 1), orthonormal columns
    names: tuple[str, str]
    limit: float

    def project(self, means_NL: Floats) -> NDArray[np.float64]:
        """Coordinates on the plane, shape (N, 2); with one latent dimension the second is 0."""
        points = means_NL.astype(np.float64) @ self.plane
        return points if points.shape[1] == 2 else np.column_stack([points, np.zeros(len(points))])

    def same_as(self, other: LatentView) -> bool:
        """Whether a plot on the other view would look the same."""
        return self.limit == other.limit and np.array_equal(self.plane, other.plane)


def limit_for(points_N2: Floats) -> float:
    """The axis limit that holds 99.5 % of the points: 4, 6, 8, 12, 16, …, so that runs share their axes.

    From −4 to 4 standard deviations of the prior fall 99.99 % of its draws.
    """
    reach = float(np.quantile(np.abs(points_N2).max(axis=1), INSIDE))
    limits = (mantissa * 2.0**exponent for exponent in count() for mantissa in (4, 6))
    return next(limit for limit in limits if not limit < reach)


class LatentPlane:
    """The axes of a latent plot: points, the prior's circles and a legend; the points can be moved."""

    def __init__(
        self,
        axes: Axes,
        view: LatentView,
        means_NL: Floats,
        labels_N: Labels | None,
        class_names: Mapping[int, str],
        *,
        names: bool = False,
    ) -> None:
        """`names` writes each class's name in the middle of its points; moving ones it would only hide."""
        self.axes, self.view, self.labels_N = axes, view, labels_N
        self.one_dimension = view.plane.shape[1] == 1
        colours: Any = style.INK
        if labels_N is not None:
            colours = [style.class_colour(label) for label in labels_N.tolist()]
        origin_N = np.zeros(len(means_NL))
        self.points = axes.scatter(origin_N, origin_N, s=4, c=colours, alpha=0.65, linewidths=0)
        handles = [style.prior_circles(axes, style.SOFT, self.one_dimension)]
        ticks = np.linspace(-view.limit, view.limit, 5)  # few: laying them out takes longer than the points
        axes.set(xlim=(-view.limit, view.limit), xticks=ticks, xlabel=view.names[0])
        if view.limit >= 10_000:  # "−131k" fits beside the axis
            axes.tick_params(labelsize=8)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(EngFormatter(places=0, sep=""))
        if self.one_dimension:  # a band for each class, the points spread over it by a fixed jitter
            axes.set(ylim=(len(class_names) - 0.5, -0.5), yticks=[])
            self.rows_N = np.random.default_rng(0).uniform(-0.4, 0.4, len(means_NL))
            if labels_N is None:
                self.rows_N = (len(class_names) - 1) / 2 + self.rows_N * len(class_names)
            else:
                self.rows_N += np.searchsorted(list(class_names), labels_N)
        else:
            axes.set(ylim=(-view.limit, view.limit), yticks=ticks, ylabel=view.names[1], aspect="equal")
        self.names: dict[int, Text] = {}
        for number, name in (class_names if labels_N is not None else {}).items():
            colour = style.class_colour(number)
            label = style.legend_label(name)
            handles += [Line2D([], [], linestyle="", marker="o", markersize=6, color=colour, label=label)]
            if names and not self.one_dimension and number in np.asarray(labels_N):
                halo = [effects.withStroke(linewidth=2.5, foreground="white")]
                self.names[number] = axes.text(
                    0, 0, name, fontsize=7.5, ha="center", va="center", path_effects=halo, clip_on=True
                )
        self.legend = style.legend_beside(axes, handles, handletextpad=0.5)
        self.show(means_NL)

    def show(self, means_NL: Floats) -> None:
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


class LatentPlot(LatentPlane):
    """Posterior means in a figure of their own, coloured by class with names, or all in one colour.

    For one moment there is `figure`; for many, `pixels` draws again only what moves.
    """

    @style.house_style()
    def __init__(
        self,
        means_NL: Floats,
        labels_N: Labels | None,
        class_names: Mapping[int, str],
        view: LatentView,
        title: str,
        subtitle: str,
    ) -> None:
        width = 6.25 + style.legend_width(class_names.values())
        self.figure = style.new_figure(width, 6.9, title, subtitle)
        axes = style.add_axes(self.figure, 0.75, 0.6, 5.5, 5.5)
        super().__init__(axes, view, means_NL, labels_N, class_names, names=True)
        self.cached: style.CachedBackground | None = None

    @style.house_style()
    def pixels(self, means_NL: Floats, title: str) -> Pixels:
        """The figure at another moment. `figure` itself can't be drawn any more."""
        heading = self.figure.texts[style.TITLE]
        self.cached = self.cached or style.CachedBackground(self.figure, [*self.moving, heading])
        heading.set_text(title)
        self.show(means_NL)
        return self.cached.pixels()


def latent_animation(
    means_FNL: Sequence[Floats],
    reconstructions_FKHW: Sequence[Floats],
    originals_KHW: Floats,
    labels_N: Labels,
    class_names: Mapping[int, str],
    view: LatentView,
    titles: Sequence[str],
    subtitle: str,
    watermark: str | None,
) -> Iterator[Pixels]:
    """One frame per step: the positions of the same images, and below how some are reconstructed.

    It is 648 pixels wide with names of usual length: few inches, so that letters are large.
    """
    legend, dpi = style.legend_width(class_names.values()), 108
    with style.house_style():
        width = max(6.0, 4.4 + legend)
        side = width - 0.7 - legend
        columns = len(originals_KHW)
        strip_width = width - 1.25
        strip_height = min(1.35, strip_width * 2 / columns)
        height = strip_height + side + style.HEADER + 0.85
        figure = style.new_figure(width, height, max(titles, key=len), subtitle)
        figure.set_dpi(dpi)
        axes = style.add_axes(figure, 0.7, strip_height + 0.75, side, side)
        plane = LatentPlane(axes, view, means_FNL[-1], labels_N, class_names)
        strip = style.add_axes(figure, 1.15, 0.1, strip_width, strip_height)
        bands = [tile(np.stack([originals_KHW, each]), gap=2) for each in reconstructions_FKHW]
        sheet = style.show_images(strip, bands[0])
        size = originals_KHW.shape[1]
        for row, label in enumerate(("original", "recon-\nstruction")):
            strip.text(-2, row * (size + 2) + size / 2, label, ha="right", va="center", fontsize=8.5)
        heading = figure.texts[style.TITLE]
        cached = style.CachedBackground(figure, [*plane.moving, sheet, heading])
        for means, band, title in zip(means_FNL, bands, titles, strict=True):
            plane.show(means)
            sheet.set_data(band)
            heading.set_text(title)
            yield style.signed(cached.pixels(), watermark, dpi)


class LatentSpaces:
    """Every model's posterior means of the same images, side by side on axes of the same reach."""

    @style.house_style()
    def __init__(
        self,
        means_NL: Mapping[str, Floats],
        views: Mapping[str, LatentView],
        labels_N: Labels,
        class_names: Mapping[int, str],
        title: str,
        *subtitles: str,
    ) -> None:
        """`subtitles` are those of all frames: the figure is wide enough for each, and shows the first."""
        rows = math.ceil(len(means_NL) / IN_A_ROW)
        columns = math.ceil(len(means_NL) / rows)
        side, legend = 3.6, 0.25 + style.legend_width(class_names.values())
        height = rows * side + style.HEADER
        self.figure = style.new_figure(columns * side + legend, height, title, *subtitles)
        self.planes: dict[str, LatentPlane] = {}
        for number, (model, means) in enumerate(means_NL.items()):
            row, column = divmod(number, columns)
            left, bottom = column * side + 0.65, height - style.HEADER - (row + 1) * side + 0.5
            axes = style.add_axes(self.figure, left, bottom, side - 0.75, side - 0.8)
            axes.set_title(model, loc="left")
            plane = self.planes[model] = LatentPlane(axes, views[model], means, labels_N, class_names)
            if number == columns - 1:  # one legend for all
                plane.legend.set_bbox_to_anchor((1.03, 1.0), transform=axes.transAxes)
            else:
                plane.legend.remove()

    def animation(
        self, frames_F: Sequence[Mapping[str, Floats]], subtitles: Sequence[str], watermark: str | None
    ) -> Iterator[Pixels]:
        """One frame for each step. `figure` itself can't be drawn any more."""
        with style.house_style():
            self.figure.set_dpi(80)
            moving = [artist for plane in self.planes.values() for artist in plane.moving]
            cached = style.CachedBackground(self.figure, [*moving, self.figure.texts[style.SUBTITLE]])
            for means_NL, subtitle in zip(frames_F, subtitles, strict=True):
                for model, plane in self.planes.items():
                    plane.show(means_NL[model])
                style.set_subtitle(self.figure, subtitle)
                yield style.signed(cached.pixels(), watermark, 80)
