"""Latent spaces as scatter plots, of one model or of several side by side, and their animations.

Shapes: N images, L latent dimensions, F frames, K images in a strip, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from vaelab.figures import Floats, Labels, Pixels, style
from vaelab.figures.images import tile

INSIDE = 0.995  # share of the points on the axes: a few outliers would otherwise shrink all others
IN_A_ROW = 4  # panels side by side before a new row begins
SMALL = 1 / 20  # share of a panel's area below which a model's points get an inset of their own
NAME_SIZE = 7.5  # of the class names among the points, in points
MOST_NAMED = 30  # classes in a legend
MOST_PLACES = 200  # points of a class among which its name's place is sought


@dataclass(frozen=True, slots=True, eq=False)
class LatentView:
    """The plane that latents are drawn on, and how far its axes reach."""

    plane: NDArray[np.float64]  # (L, 2) or (L, 1), orthonormal columns
    names: tuple[str, str]
    limit: float
    has_units: bool = True
    """Whether distances are those of the latent space, where the prior has its place: not in an embedding."""

    def project(self, means_NL: Floats) -> NDArray[np.float64]:
        """Coordinates on the plane, shape (N, 2); with one latent dimension the second is 0."""
        points = means_NL.astype(np.float64) @ self.plane
        return points if points.shape[1] == 2 else np.column_stack([points, np.zeros(len(points))])

    def same_as(self, other: LatentView) -> bool:
        """Whether a plot on the other view would look the same."""
        return self.limit == other.limit and np.array_equal(self.plane, other.plane)


def limit_for(points_N2: Floats, smallest: int = 0) -> float:
    """The axis limit that holds 99.5 % of the points: 4, 6, 8, 12, 16, …, so that runs share their axes.

    99.99 % of the prior's draws lie within 4 standard deviations. The smallest limit is 4 · 2^smallest.
    """
    reach = float(np.quantile(np.abs(points_N2).max(axis=1), INSIDE))
    limits = (mantissa * 2.0**exponent for exponent in count(smallest) for mantissa in (4, 6))
    return next(limit for limit in limits if not limit < reach)


def note_outside(axes: Axes) -> Text:
    """The note in the lower right corner that says how many points the axes don't hold."""
    halo = [effects.withStroke(linewidth=2.5, foreground="white")]
    look: dict[str, Any] = {"fontsize": 8, "color": style.SOFT, "ha": "right", "va": "bottom"}
    return axes.text(0.99, 0.01, "", transform=axes.transAxes, path_effects=halo, **look)


def outside(points_N2: Floats, limit: float) -> str:
    """How many points the axes don't hold; nothing where they hold all."""
    beyond = int((np.abs(points_N2).max(axis=1) > limit).sum())
    return f"{beyond:,} of {len(points_N2):,} outside the axes" if beyond else ""


def panel_title(axes: Axes, text: str, others: Sequence[str] = ()) -> None:
    """A title on the left, smaller where it, or one of the `others`, would be wider than the axes."""
    room, widest = axes.bbox.width / style.DPI, max(style.text_width(each, 11) for each in (text, *others))
    axes.set_title(text, loc="left", fontsize=min(11, 11 * room / widest))


def name_places(
    points_N2: Floats, labels_N: Labels, sizes: Mapping[int, tuple[float, float]], limit: float
) -> dict[int, NDArray[np.float64]]:
    """Where each class's name is drawn: on that of its points with most others around that has room for it.

    Names overlap neither each other nor the edge. `sizes` are their widths and heights in the points' unit.
    Of each class the denser half of its points is tried; a name that fits nowhere there, or would hide half
    of its class, is left to the legend.
    """
    candidates, spread = {}, {}
    for number in sizes:
        points = points_N2[labels_N == number][:MOST_PLACES]
        distances = np.hypot(*(points[:, None] - points).T)
        tenth = np.partition(distances, len(points) // 10, axis=1)[:, len(points) // 10]  # its radius
        candidates[number] = points[tenth.argsort(kind="stable")][: len(points) // 2 + 1]
        spread[number] = float(tenth.min())
    placed: dict[int, NDArray[np.float64]] = {}
    for number in sorted(sizes, key=lambda number: spread[number]):  # the densest first
        size, places_C2 = np.array(sizes[number]), candidates[number]
        free_C = (np.abs(places_C2) + size / 2 < limit).all(axis=1)
        for other, place in placed.items():
            free_C &= (np.abs(places_C2 - place) > (size + sizes[other]) / 2).any(axis=1)
        place = places_C2[free_C.argmax()]
        hidden_N = (np.abs(points_N2[labels_N == number] - place) < size / 2).all(axis=1)
        if free_C.any() and hidden_N.mean() < 0.5:
            placed[number] = place
    return placed


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
        labels_N = labels_N if class_names else None
        self.axes, self.view, self.labels_N = axes, view, labels_N
        self.one_dimension = view.plane.shape[1] == 1
        colours: Any = style.INK
        if labels_N is not None:
            colours = [style.class_colour(label) for label in labels_N.tolist()]
        origin_N = np.zeros(len(means_NL))
        self.points = axes.scatter(origin_N, origin_N, s=4, c=colours, alpha=0.65, linewidths=0)
        handles = [style.prior_circles(axes, style.SOFT, self.one_dimension)] if view.has_units else []
        self.outside = note_outside(axes)
        ticks = np.linspace(-view.limit, view.limit, 5)  # few: laying them out takes longer than the points
        axes.set(xlim=(-view.limit, view.limit), xticks=ticks, xlabel=view.names[0])
        if view.limit >= 10_000:  # "−131k" fits beside the axis
            axes.tick_params(labelsize=8)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(EngFormatter(places=0, sep=""))
        if self.one_dimension:  # a band for each class, the points spread over it by a fixed jitter
            bands = max(1, len(class_names))
            axes.set(ylim=(bands - 0.5, -0.5), yticks=[])
            self.rows_N = np.random.default_rng(0).uniform(-0.4, 0.4, len(means_NL))
            if labels_N is None:
                self.rows_N = (bands - 1) / 2 + self.rows_N * bands
            else:
                self.rows_N += np.searchsorted(list(class_names), labels_N)
        else:
            axes.set(ylim=(-view.limit, view.limit), yticks=ticks, ylabel=view.names[1], aspect="equal")
        if not view.has_units:
            axes.tick_params(labelbottom=False, labelleft=False, length=0)
        self.names: dict[int, Text] = {}
        self.sizes: dict[int, tuple[float, float]] = {}
        inch = 2 * view.limit * style.DPI / axes.bbox.width
        for number, name in (class_names if labels_N is not None else {}).items():
            colour = style.class_colour(number)
            label = style.legend_label(name if len(handles) <= MOST_NAMED else "…")
            if len(handles) > MOST_NAMED + 1:
                continue
            handles += [Line2D([], [], linestyle="", marker="o", markersize=6, color=colour, label=label)]
            if names and not self.one_dimension and number in np.asarray(labels_N):
                frame = {
                    "boxstyle": "round,pad=0.15",
                    "facecolor": "white",
                    "edgecolor": colour,
                    "alpha": 0.9,
                }
                self.names[number] = axes.text(
                    0, 0, name, fontsize=NAME_SIZE, ha="center", va="center", bbox=frame, clip_on=True
                )
                width = style.text_width(name, NAME_SIZE) + 0.5 * NAME_SIZE / 72
                self.sizes[number] = (width * inch, 1.9 * NAME_SIZE / 72 * inch)
        self.legend = style.legend_beside(axes, handles, handletextpad=0.5)
        self.show(means_NL)

    def show(self, means_NL: Floats) -> None:
        """Move the points, and the names with them."""
        points_N2 = self.view.project(means_NL)
        self.outside.set_text(outside(points_N2, self.view.limit))
        if self.one_dimension:
            points_N2[:, 1] = self.rows_N
        self.points.set_offsets(points_N2)
        if self.labels_N is not None:
            places = name_places(points_N2, self.labels_N, self.sizes, self.view.limit)
            for number, text in self.names.items():
                text.set_visible(number in places)
                text.set_position(tuple(places.get(number, (0, 0))))

    @property
    def moving(self) -> list[Artist]:
        """What must be drawn again when the points have moved, in the order of drawing."""
        axes = self.axes
        above = [*axes.patches, *axes.lines, *axes.spines.values(), *self.names.values(), self.outside]
        return [self.points, *above]


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


def is_dot(own: float, limit: float) -> bool:
    """Whether points that axes of `own` reach hold are too small to be seen on axes that reach to `limit`."""
    return (own / limit) ** 2 < SMALL


def add_inset(axes: Axes, place: tuple[float, float, float, float], own: float) -> Axes:
    """Axes of `own` reach in the upper right of a panel.

    The panel is at `place`: left, bottom, width and height, in inches.
    """
    left, bottom, width, height = place
    axes.add_patch(Rectangle((-own, -own), 2 * own, 2 * own, fill=False, color=style.INK))
    side, figure = 0.35 * width, axes.get_figure(root=True)
    assert figure is not None
    inset = style.add_axes(figure, left + 0.6 * width, bottom + 0.6 * height, side, side)
    inset.spines[:].set(visible=True, color=style.INK)
    inset.xaxis.tick_top()  # away from the points of the panel
    inset.yaxis.tick_right()
    inset.tick_params(labelsize=7.5, pad=1, length=2)
    return inset


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
        self.planes: list[tuple[str, LatentPlane]] = []
        self.insets: list[tuple[str, LatentPlane]] = []
        """Of models whose points are a dot on the common axes, once more on axes of their own."""
        for number, (model, means) in enumerate(means_NL.items()):
            row, column = divmod(number, columns)
            left, bottom = column * side + 0.65, height - style.HEADER - (row + 1) * side + 0.5
            axes = style.add_axes(self.figure, left, bottom, side - 0.75, side - 0.8)
            panel_title(axes, model)
            plane = LatentPlane(axes, views[model], means, labels_N, class_names)
            if len(views[model].plane) > 2:  # "1st principal direction, 23 % of variance"
                axes.xaxis.label.set_fontsize(7.5)
                axes.yaxis.label.set_fontsize(7.5)
            self.planes.append((model, plane))
            own = limit_for(views[model].project(means), smallest=-16)
            if is_dot(own, views[model].limit) and not plane.one_dimension:
                inset = add_inset(axes, (left, bottom, side - 0.75, side - 0.8), own)
                view = replace(views[model], limit=own, names=("", ""))
                self.insets.append((model, LatentPlane(inset, view, means, labels_N, class_names)))
                self.insets[-1][1].legend.remove()
                self.insets[-1][1].outside.remove()
                inset.set(xticks=(-own, 0, own), yticks=(-own, 0, own))
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
            moving = [artist for _, plane in self.planes for artist in plane.moving]
            moving += [plane.axes for _, plane in self.insets]  # over the points of the panels
            cached = style.CachedBackground(self.figure, [*moving, self.figure.texts[style.SUBTITLE]])
            for means_NL, subtitle in zip(frames_F, subtitles, strict=True):
                for model, plane in self.planes + self.insets:
                    plane.show(means_NL[model])
                style.set_subtitle(self.figure, subtitle)
                yield style.signed(cached.pixels(), watermark, 80)
