"""Figures of the latent space that are drawn once, when a model is evaluated.

Shapes: N images, L latent dimensions, Y and X places on a plane.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from vaelab.config import counted
from vaelab.config.train import notation
from vaelab.figures import Floats, style
from vaelab.figures.latent import IN_A_ROW, LatentView, add_inset, is_dot, note_outside, outside, panel_title

MASSES = (0.5, 0.9, 0.99)  # shares of a distribution inside its contours
TINTS = ("#9ecbf0", "#5aa3e0", "#1f6fb5")  # from the outermost region to the innermost one
COVERED = "#cfe4f7"
DENSITY_GRID = 120
RANKED = 2000  # samples whose densities give the contours' levels
MOST_BARS = 64


@style.house_style()
def density_plot(samples_NL: Floats, view: LatentView, title: str, subtitle: str) -> Figure:
    """Smallest regions with 50, 90 and 99 % of the samples beside the prior's circles of those shares.

    The density is a kernel estimate (scipy's gaussian_kde) with its default bandwidth.
    """
    points = view.project(samples_NL)
    figure = style.new_figure(8.6, 6.9, title, subtitle)
    axes = style.add_axes(figure, 0.75, 0.6, 5.5, 5.5)
    handles: list[Artist] | None = None
    if view.plane.shape[1] == 1:
        axis = np.linspace(-view.limit, view.limit, DENSITY_GRID)
        estimate = gaussian_kde(points[:, 0])(axis)
        axes.fill_between(axis, estimate, color=TINTS[0], label="aggregate posterior q(z)")
        prior = np.exp(-(axis**2) / 2) / np.sqrt(2 * np.pi)
        axes.plot(axis, prior, color=style.INK, linestyle="--", linewidth=1, label="prior N(0, 1)")
        axes.set(xlim=(-view.limit, view.limit), ylabel="density")
        axes.set_ylim(bottom=0)
    else:
        handles = draw_density(axes, points, view.limit)
        axes.set_ylabel(view.names[1])
    axes.set_xlabel(view.names[0])
    style.legend_beside(axes, handles)
    return figure


def draw_density(axes: Axes, points_N2: Floats, limit: float, places: int = DENSITY_GRID) -> list[Artist]:
    """Contours from `places` points per axis, and the prior's circles; returns the legend's handles."""
    axis = np.linspace(-limit, limit, places)
    kernel = gaussian_kde(points_N2.T)
    grid = np.stack(np.meshgrid(axis, axis)).reshape(2, -1)
    estimate = kernel(grid).reshape(places, places)
    levels = np.quantile(kernel(points_N2[:RANKED].T), [1 - mass for mass in reversed(MASSES)])
    axes.contourf(axis, axis, estimate, levels=[*levels, np.inf], colors=TINTS)
    handles: list[Artist] = [
        Patch(color=tint, label=f"{100 * mass:.0f} % of posterior samples")
        for tint, mass in zip(reversed(TINTS), MASSES, strict=True)
    ]
    for mass, dash in zip(MASSES, ((1, 1), (4, 2), (8, 2)), strict=True):
        line: dict[str, Any] = {"color": style.INK, "linewidth": 1.0, "linestyle": (0, dash)}
        axes.add_patch(Circle((0, 0), np.sqrt(-2 * np.log(1 - mass)), fill=False, **line))
        handles.append(Line2D([], [], label=f"{100 * mass:.0f} % of the prior", **line))
    note_outside(axes).set_text(outside(points_N2, limit))
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    return handles


@style.house_style()
def hole_map(
    uncovered_YX: NDArray[np.bool_],
    reach: float,
    share: str,
    holes: str,
    title: str,
    subtitle: str,
    *,
    conditional: bool = False,
) -> Figure:
    """Where, from −reach to reach, there is no posterior, in stronger colours where the prior is denser.

    `holes` is the legend's text, which says what share of the prior that is.
    """
    figure = style.new_figure(8.6, 6.9, title, subtitle)
    axes = style.add_axes(figure, 0.75, 0.6, 5.5, 5.5)
    style.legend_beside(
        axes, draw_holes(axes, uncovered_YX, reach, share, holes, conditional), labelspacing=0.9
    )
    axes.set(xlabel="z₁", ylabel="z₂")
    return figure


def draw_holes(
    axes: Axes, uncovered_YX: NDArray[np.bool_], reach: float, share: str, holes: str, conditional: bool
) -> list[Artist]:
    """The map of `hole_map`; returns the legend's handles."""
    axis = np.linspace(-reach, reach, len(uncovered_YX))
    prior_YX = np.exp(-(axis[:, None] ** 2 + axis**2) / 2)
    white, hole = np.ones(3), np.array(to_rgb(style.SCORED))
    sheet = white + (0.12 + 0.88 * prior_YX[..., None]) * (hole - white)
    sheet[~uncovered_YX] = to_rgb(COVERED)
    half = reach / (len(axis) - 1)
    extent = (-reach - half, reach + half, -reach - half, reach + half)
    axes.imshow(sheet, origin="lower", extent=extent, interpolation="nearest")
    axes.grid(False)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    return [
        Patch(
            color=COVERED, label=notation(f"inside the {share} ellipse\nof an image's q(z|x)", conditional)
        ),
        Patch(color=style.SCORED, label=f"{holes},\npaler where the prior\ndensity is lower"),
        style.prior_circles(axes, style.INK),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Holes:
    """What `hole_panels` draws of a model with two latent dimensions."""

    samples_N2: Floats  # one of each image's posterior
    limit: float  # of axes that hold them
    uncovered_YX: NDArray[np.bool_]
    heading: str


@style.house_style()
def hole_panels(
    models: Sequence[Holes],
    reach: float,
    share: str,
    title: str,
    subtitle: str,
    *,
    conditional: bool = False,
) -> Figure:
    """A column per model, each row on the same axes: above its density, below the prior holes."""
    side, limit = 3.3, max(model.limit for model in models)
    rows = 2 * math.ceil(len(models) / IN_A_ROW)
    columns = math.ceil(2 * len(models) / rows)
    height = rows * side + style.HEADER + 0.25
    figure = style.new_figure(columns * side + 2.4, height, title, subtitle)
    for number, model in enumerate(models):
        row, column = divmod(number, columns)
        left, top = column * side + 0.65, height - style.HEADER - 0.5 - 2 * row * side
        place = (left, top - side + 0.75, side - 0.75, side - 0.75)
        above = style.add_axes(figure, *place)
        below = style.add_axes(figure, left, top - 2 * side + 0.75, side - 0.75, side - 0.75)
        densities = draw_density(above, model.samples_N2, limit, places=DENSITY_GRID // 2)
        if is_dot(model.limit, limit):
            inset = add_inset(above, place, model.limit)
            draw_density(inset, model.samples_N2, model.limit, places=DENSITY_GRID // 2)
            inset.texts[0].remove()  # how many lie outside, of which the panel has another
            inset.set(xticks=(-model.limit, 0, model.limit), yticks=(-model.limit, 0, model.limit))
        holes = draw_holes(below, model.uncovered_YX, reach, share, "prior holes", conditional)
        panel_title(above, model.heading, [each.heading for each in models])
        above.set(xticks=np.linspace(-limit, limit, 5), yticks=np.linspace(-limit, limit, 5))
        for axes, handles in ((above, densities), (below, holes)):
            axes.set(xlabel="z₁", ylabel="z₂")
            if number == columns - 1:  # one legend for all
                style.legend_beside(axes, handles, labelspacing=0.7)
    return figure


@style.house_style()
def kl_bars(
    kl_L: Floats, names: Sequence[str], collapsed_L: NDArray[np.bool_], total: str, title: str, subtitle: str
) -> Figure:
    """A bar per latent dimension, most KL first, at most 64; grey where it is collapsed."""
    shown = kl_L[:MOST_BARS]
    figure = style.new_figure(max(6.0, 0.17 * len(shown) + 1.2), 4.2, title, subtitle, plots=True)
    axes = figure.subplots()
    places = np.arange(len(shown))
    colours = np.where(collapsed_L[:MOST_BARS], style.SOFT, style.TRAIN)
    bars = axes.bar(places, shown, color=colours, width=0.7)
    if len(shown) <= 20:
        axes.bar_label(bars, [f"{value:.2f}" for value in shown], fontsize=8, padding=2, color=style.INK)
    axes.set_xticks(places, names[:MOST_BARS], fontsize=9 if len(shown) <= 32 else 7)
    axes.set_xlim(-0.6, max(len(shown), 4) - 0.4)
    axes.grid(False, axis="x")
    axes.margins(y=0.1)
    axes.set_ylabel("nats per image")
    more = f", the first {MOST_BARS} shown" if len(kl_L) > MOST_BARS else ""
    axes.set_xlabel(
        f"{counted(len(kl_L), 'latent dimension')}, in total {total}{more}; {collapsed_L.sum()} collapsed"
        + (" (grey)" if collapsed_L.any() else "")
    )
    return figure
