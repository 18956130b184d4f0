"""Figures of the latent space that are drawn once, when a model is evaluated.

Shapes: N images, L latent dimensions, Y and X places on a plane.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from vaelab.figures import Floats, style
from vaelab.figures.latent import LatentView

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
    axis = np.linspace(-view.limit, view.limit, DENSITY_GRID)
    handles: list[Artist] | None = None
    if view.plane.shape[1] == 1:
        estimate = gaussian_kde(points[:, 0])(axis)
        axes.fill_between(axis, estimate, color=TINTS[0], label="aggregate posterior q(z)")
        prior = np.exp(-(axis**2) / 2) / np.sqrt(2 * np.pi)
        axes.plot(axis, prior, color=style.INK, linestyle="--", linewidth=1, label="prior N(0, 1)")
        axes.set_ylim(bottom=0)
        axes.set_ylabel("density")
    else:
        kernel = gaussian_kde(points.T)
        grid = np.stack(np.meshgrid(axis, axis)).reshape(2, -1)
        estimate = kernel(grid).reshape(DENSITY_GRID, DENSITY_GRID)
        levels = np.quantile(kernel(points[:RANKED].T), [1 - mass for mass in reversed(MASSES)])
        axes.contourf(axis, axis, estimate, levels=[*levels, np.inf], colors=TINTS)
        handles = [
            Patch(color=tint, label=f"{100 * mass:.0f} % of posterior samples")
            for tint, mass in zip(reversed(TINTS), MASSES, strict=True)
        ]
        for mass, dash in zip(MASSES, ((1, 1), (4, 2), (8, 2)), strict=True):
            line: dict[str, Any] = {"color": style.INK, "linewidth": 1.0, "linestyle": (0, dash)}
            axes.add_patch(Circle((0, 0), np.sqrt(-2 * np.log(1 - mass)), fill=False, **line))
            handles.append(Line2D([], [], label=f"{100 * mass:.0f} % of the prior", **line))
        axes.set(ylim=(-view.limit, view.limit), ylabel=view.names[1], aspect="equal")
    axes.set(xlim=(-view.limit, view.limit), xlabel=view.names[0])
    style.legend_beside(axes, handles)
    return figure


@style.house_style()
def hole_map(
    uncovered_YX: NDArray[np.bool_], reach: float, share: str, holes: str, title: str, subtitle: str
) -> Figure:
    """Where from −reach to reach there is no posterior, in stronger colour where the prior is denser.

    `holes` says in the legend how much of the prior that is.
    """
    axis = np.linspace(-reach, reach, len(uncovered_YX))
    prior_YX = np.exp(-(axis[:, None] ** 2 + axis**2) / 2)
    white, hole = np.ones(3), np.array(to_rgb(style.SCORED))
    sheet = white + (0.12 + 0.88 * prior_YX[..., None]) * (hole - white)
    sheet[~uncovered_YX] = to_rgb(COVERED)
    figure = style.new_figure(8.6, 6.9, title, subtitle)
    axes = style.add_axes(figure, 0.75, 0.6, 5.5, 5.5)
    half = reach / (len(axis) - 1)
    extent = (-reach - half, reach + half, -reach - half, reach + half)
    axes.imshow(sheet, origin="lower", extent=extent, interpolation="nearest")
    axes.grid(False)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="z₁", ylabel="z₂")
    handles = [
        Patch(color=COVERED, label=f"inside the {share} ellipse\nof an image's q(z|x)"),
        Patch(color=style.SCORED, label=f"{holes},\npaler where its density is low"),
        style.prior_circles(axes, style.INK),
    ]
    style.legend_beside(axes, handles, labelspacing=0.9)
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
    more = f", the first {MOST_BARS} drawn" if len(kl_L) > MOST_BARS else ""
    dimensions = "dimension" if len(kl_L) == 1 else "dimensions"
    axes.set_xlabel(
        f"{len(kl_L)} latent {dimensions}, in total {total}{more}; {collapsed_L.sum()} collapsed"
        + (" (grey)" if collapsed_L.any() else "")
    )
    return figure
