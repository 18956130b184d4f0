"""Curves over epochs, of one or several models, and rate–distortion plots.

Shapes: E epochs, S seeds, M models.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from matplotlib.transforms import Bbox

from vaelab.config.train import notation
from vaelab.figures import Floats, style
from vaelab.figures.style import (
    INK,
    SCORED,
    SOFT,
    TRAIN,
    house_style,
    legend_label,
    new_figure,
    text_width,
)

PANELS = {
    "loss": "Loss: what is minimised",
    "reconstruction": "Reconstruction, −log p(x|z)",
    "kl": "KL(q(z|x) ‖ p(z))",
}
WIDE_RANGE = 6.0  # ratio of the largest to the smallest number from which an axis is logarithmic
MINIMUM_SPAN = 5.0  # nats that an axis shows at least: seeds differ by one or two, which is not a trend
MARKERS = "osv^P*h"
DASHES = ("-", "--", ":", "-.")
LEAST_EPOCHS = 5  # from which an axis need not hold the first one
KL_OFF = "#bd1f01"
NOT_RED = (4, 7, 3, 8, 6, 0, 9)  # classes whose colours are far from that one's
VIRIDIS, VIRIDIS_ON_DARK = (0.0, 0.59), (0.35, 1.0)  # the parts with a contrast of 3 or more
COLOURED_BETAS = (0.05, 8.0)
"""Where the colours begin and end; betas outside have those of the ends."""
ALIKE = 0.2  # of the way between them: colours that hardly differ


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """A number of a model at each epoch: of every seed, and the confidence interval of their mean."""

    values_SE: Floats
    low_E: Floats  # NaN for one seed
    high_E: Floats

    @property
    def means(self) -> Floats:
        return self.values_SE.mean(axis=0)

    @property
    def last_bars(self) -> Floats:
        """How far the interval of the last epoch extends below and above the mean, shape (2, 1)."""
        mean = self.means[-1]
        return np.array([[mean - self.low_E[-1]], [self.high_E[-1] - mean]])


@dataclass(frozen=True, slots=True)
class Style:
    """How a model is drawn in every figure of a comparison."""

    colour: str
    marker: str
    dashes: str


def model_colour(weight: float, on_dark: bool = False) -> str:
    """The colour of a beta, or of no KL where the weight is 0: the same in every figure, page and sweep.

    From dark to light with the logarithm of beta, so that 0.1, 0.25, 0.5, 1, 2 and 4 can be told apart in
    print and with each common form of colour blindness; red without KL. Each has a contrast of at least 3
    with white, or with a dark background.
    """
    if weight <= 0:
        return style.on_dark(KL_OFF) if on_dark else KL_OFF
    low, high = VIRIDIS_ON_DARK if on_dark else VIRIDIS
    return mpl.colors.to_hex(mpl.colormaps["viridis"](low + (high - low) * place_of(weight)))


def place_of(weight: float) -> float:
    """The position of a beta on the colour scale, from 0 to 1."""
    first, last = np.log(COLOURED_BETAS)
    return float(np.clip((np.log(weight) - first) / (last - first), 0, 1))


def styles(weights: Sequence[float], on_dark: bool = False) -> list[Style]:
    """How models with these KL weights are drawn, 0 without KL.

    Models whose colours are alike differ in their dashes and markers. Where all with KL would have one
    colour, as in a sweep over the network, those have the colours of classes.
    """
    colours = [model_colour(weight, on_dark) for weight in weights]
    with_kl = [number for number, weight in enumerate(weights) if weight > 0]
    alike = len({weights[number] for number in with_kl}) == 1 < len(with_kl)
    for place, number in enumerate(with_kl if alike else ()):
        colours[number] = style.class_colour(NOT_RED[place % len(NOT_RED)], on_dark)
    places = [place_of(weight) if weight > 0 else -1.0 for weight in weights]
    found: list[Style] = []
    for number, (colour, weight) in enumerate(zip(colours, weights, strict=True)):
        near = [
            each
            for each, at in zip(found, places, strict=False)
            if each.colour == colour or (not alike and abs(at - places[number]) < ALIKE)
        ]
        place = number if alike else round(np.log2(weight or 1))
        marker = "D" if weight == 0 else unused(MARKERS, [each.marker for each in near], place)
        found.append(Style(colour, marker, unused(DASHES, [each.dashes for each in near], int(weight == 0))))
    return found


def unused(looks: Sequence[str], used: Sequence[str], first: int) -> str:
    """The least used of some looks, starting the search at index `first`."""
    return min((looks[(first + step) % len(looks)] for step in range(len(looks))), key=used.count)


@house_style()
def loss_curves(
    history: Sequence[Mapping[str, float]],
    title: str,
    subtitle: str,
    best_epoch: int | None,
    *,
    conditional: bool = False,
) -> Figure:
    """Loss, reconstruction and KL over epochs, training beside validation or test images.

    `history` holds rows of metrics.csv. The subtitle says what the loss is made of. A KL weight that changes
    has a panel. `best_epoch` was chosen by the validation loss, where one was.
    """
    split, scored = ("val", "validation") if "val/loss" in history[0] else ("test", "test")
    epochs = [row["epoch"] for row in history]
    alone = len(epochs) == 1  # which makes no line
    dot, dashes = (7.0, ("none", "none")) if alone else (3.5, ("-", "--"))
    marks: dict[str, Any] = {"marker": "o" if len(epochs) < 40 else "", "markersize": dot}
    over = scheduled(history)
    figure = new_figure(15.5 if over else 12.0, 4.0, title, subtitle, plots=True)
    panels = figure.subplots(1, len(PANELS) + (over is not None))
    if over:
        panels[-1].plot(epochs, over[2], "-", color=INK, **marks)
        panels[-1].set_title(over[0], loc="left")
        panels[-1].set_xlabel("epoch")
        panels[-1].set_xticks(epoch_ticks(len(epochs)))
        panels[-1].set_ylim(bottom=0)
    for axes, (key, heading) in zip(panels, PANELS.items(), strict=False):
        of_training, of_scored = ([row[f"{each}/{key}"] for row in history] for each in ("train", split))
        label = "training (mean over the epoch)"
        axes.plot(epochs, of_training, ls=dashes[0], color=TRAIN, label=label, **marks)
        axes.plot(epochs, of_scored, ls=dashes[1], color=SCORED, label=scored, **marks)
        axes.set_title(notation(heading, conditional), loc="left")
        axes.set_xlabel("epoch")
        axes.set_xticks(epoch_ticks(len(epochs)))
        if key == "kl":
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])  # the highest dot is whole
        minimum_span(axes)
    # On test images nothing is chosen: the best epoch is the last one.
    if split == "val" and best_epoch and not alone:
        panels[0].plot(
            best_epoch, history[best_epoch - 1]["val/loss"], "*", color=INK, markersize=11, linestyle="",
            label=f"best epoch ({best_epoch}), by validation loss",
        )  # fmt: skip
    panels[0].set_ylabel("nats per image")
    panels[0].legend(fontsize=8.5)
    return figure


def scheduled(history: Sequence[Mapping[str, float]]) -> tuple[str, str, list[float]] | None:
    """What a schedule changes over the epochs: title, unit and values of the capacity or of the KL weight."""
    for key, name, unit in SCHEDULED:
        values = [row[key] for row in history if key in row]
        if len({*values}) > 1 or (values and key == "kl_weight_mean"):
            return name, unit, values
    return None


SCHEDULED = (
    ("train/capacity", "Capacity C, mean over the epoch", "nats"),
    ("kl_weight_mean", "KL weight, mean over the epoch", "weight"),
    ("kl_weight", "KL weight at the end of the epoch", "weight"),  # runs of version 0.1 have no mean
)


@house_style()
def overlaid_curves(
    curves: Mapping[str, Mapping[str, OverSeeds]],
    looks: Mapping[str, Style],
    splits: Mapping[str, str],
    terms: Sequence[str],
    title: str,
    subtitle: str,
    *,
    conditional: bool = False,
) -> Figure:
    """Small multiples: a column per term, a row per split, in each the mean of every model over its seeds.

    `curves` are by model and key, such as `train/kl`; `splits` are the rows' names by the keys' first word,
    and `terms` some of PANELS.
    The interval of a mean is a band. Panels of a column share their axis.
    """
    every = [curve for found in curves.values() for curve in found.values()]
    epochs = max(len(curve.means) for curve in every)
    if skipped_epochs(every):
        subtitle += " · vertical axes fit epochs 2 and later"
    figure = new_figure(12.0, 1.5 + 2.7 * len(splits), title, subtitle, plots=True)
    grid = figure.subplots(len(splits), len(terms), squeeze=False, sharex=True, sharey="col")
    for row, split in zip(grid, splits, strict=True):
        row[0].set_ylabel(f"{splits[split]}\nnats per image")
        for axes, term in zip(row, terms, strict=True):
            for model, found in curves.items():
                curve, look = found[f"{split}/{term}"], looks[model]
                numbers = np.arange(1, len(curve.means) + 1)
                axes.plot(
                    numbers, curve.means, look.dashes, color=look.colour, marker=look.marker,
                    markersize=7 if epochs == 1 else 3.5, markevery=max(1, epochs // 10),
                    label=legend_label(model),
                )  # fmt: skip
                axes.fill_between(
                    numbers, curve.low_E, curve.high_E, color=look.colour, alpha=0.2, linewidth=0
                )
    for axes, term in zip(grid[0], terms, strict=True):
        vertical = VerticalAxis.of(
            term, [found[f"{split}/{term}"] for found in curves.values() for split in splits]
        )
        vertical.set(axes)
        axes.set_xticks(epoch_ticks(epochs))
        scale = ", logarithmic" if vertical.logarithmic else ""
        axes.set_title(f"{notation(PANELS[term], conditional)}{scale}", loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize=8.5)
    return figure


@dataclass(frozen=True, slots=True)
class VerticalAxis:
    """The range of an axis in nats: that of all epochs but the first, if there are LEAST_EPOCHS or more.

    The first epoch can be ten times as far from the others as the models are from each other, and would hide
    their differences. A KL begins at 0, unless its axis is logarithmic, and all others are at least
    MINIMUM_SPAN long: an axis that ends where the numbers do makes the noise between two epochs look like a
    trend.
    """

    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def of(cls, term: str, curves: Sequence[OverSeeds]) -> "VerticalAxis":
        skipped = skipped_epochs(curves)
        last, means = [each.means[-1] for each in curves], [each.means[skipped:] for each in curves]
        bounds = [bound[skipped:] for each in curves for bound in (each.low_E, each.high_E)]
        values = np.concatenate([*means, *bounds])
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        if term != "kl":
            margin = 0.05 * (high - low) + max(0.0, MINIMUM_SPAN - (high - low)) / 2
            return cls(low - margin, high + margin)
        if is_wide(last):
            return cls(0.8 * float(np.concatenate(means).min()), 1.2 * high, logarithmic=True)
        return cls(0.0, max(1.05 * high, 1.0))

    def set(self, axes: Axes) -> None:
        """To be called after everything is drawn."""
        if self.logarithmic:
            axes.set_yscale("log")
        axes.set_ylim(self.low, self.high)
        if self.logarithmic:
            log_ticks(axes.yaxis)
        else:
            axes.yaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]

    def for_page(self) -> dict[str, Any]:
        """The same for a chart of the reports."""
        ticks = {"ticks": round_numbers(self.low, self.high)} if self.logarithmic else {}
        return {"domain": [self.low, self.high], **ticks}


def skipped_epochs(curves: Sequence[OverSeeds]) -> int:
    """How many of the first epochs an axis need not hold."""
    return int(max(len(each.means) for each in curves) >= LEAST_EPOCHS)


def minimum_span(axes: Axes) -> None:
    """Lengthen a vertical axis that is too short, after everything is drawn."""
    axes.yaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
    low, high = axes.get_ylim()
    if (missing := MINIMUM_SPAN - (high - low)) > 0:
        below = 0 if low == 0 else missing / 2
        axes.set_ylim(low - below, high + missing - below)


def is_wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > WIDE_RANGE


def epoch_ticks(last: int) -> list[int]:
    """The first and the last epoch, and round numbers between."""
    step = next(size for size in nice_steps() if last <= 6 * size)
    between = [epoch for epoch in range(step, last, step) if min(epoch - 1, last - epoch) >= step / 2]
    return sorted({1, *between, last})


def nice_steps() -> Iterator[int]:
    """1, 2, 5, 10, 20 …"""
    for power in count():
        yield from (digit * 10**power for digit in (1, 2, 5))


def round_numbers(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 … from `low` to `high`."""
    numbers = (digit * 10.0**power for power in range(-4, 6) for digit in (1, 2, 5))
    return [number for number in numbers if low <= number <= high]


def log_ticks(axis: Axis) -> None:
    """Plain numbers at 1, 2, 5, 10 … of a logarithmic axis whose limits are set."""
    ticks = round_numbers(*axis.get_view_interval())
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())


@house_style()
def rate_distortion(
    points: Mapping[str, Mapping[str, OverSeeds]],
    looks: Mapping[str, Style],
    title: str,
    subtitle: str,
    *,
    inactive: Mapping[str, str] | None = None,
    conditional: bool = False,
) -> Figure:
    """KL against reconstruction after the last epoch: every seed, means with intervals, and the frontier.

    `points` are by model, then `kl` and `reconstruction`. `inactive` has the active units of models that have
    fewer than latent dimensions, in words: where the posterior begins to collapse is marked.
    """
    inactive = inactive or {}
    means_M2 = np.array([[both[term].means[-1] for term in RATE_DISTORTION] for both in points.values()])
    on_frontier = frontier(means_M2)
    if len(on_frontier) > 1:
        subtitle += " · line: the Pareto frontier of the models in rate and distortion"
    figure = new_figure(8.0, 5.6, title, subtitle, plots=True)
    axes = figure.subplots()
    axes.plot(*on_frontier.T, color=SOFT, linewidth=0.9, zorder=1)
    for (model, both), mean in zip(points.items(), means_M2.tolist(), strict=True):
        look, (rate, distortion) = looks[model], (both[term] for term in RATE_DISTORTION)
        x_S, y_S = rate.values_SE[:, -1], distortion.values_SE[:, -1]
        axes.scatter(x_S, y_S, s=14, color=look.colour, alpha=0.5, linewidths=0)
        axes.errorbar(
            mean[0], mean[1], xerr=rate.last_bars, yerr=distortion.last_bars, fmt=look.marker,
            color=look.colour, markersize=8, capsize=3, elinewidth=1,
        )  # fmt: skip
    axes.margins(x=0.15, y=0.12)
    minimum_span(axes)
    logarithmic = is_wide(means_M2[:, 0].tolist())
    if logarithmic:
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
    else:
        axes.set_xlim(left=0)
    scale = ", logarithmic" if logarithmic else ""
    axes.set_xlabel(notation(f"rate: KL(q(z|x) ‖ p(z)), nats per image{scale}", conditional))
    axes.set_ylabel(notation("distortion: reconstruction, −log p(x|z), nats per image", conditional))
    boundary = collapse_rate(means_M2[:, 0].tolist(), [model in inactive for model in points], logarithmic)
    if boundary is not None:
        left, right = axes.get_xlim()
        axes.set_xlim(left, right)
        axes.axvspan(left, boundary, color=SOFT, alpha=0.09, linewidth=0, zorder=0)
        axes.annotate(
            COLLAPSE, (left, 0), (5, 5), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
            ha="left", va="bottom", fontsize=NAME_SIZE, color=SOFT,
        )  # fmt: skip
    write_names(
        axes, means_M2, [f"{each}: {inactive[each]}" if each in inactive else each for each in points]
    )
    return figure


COLLAPSE = "posterior collapse: inactive units"


def collapse_rate(rates: Sequence[float], collapsed: Sequence[bool], logarithmic: bool) -> float | None:
    """The rate between models with inactive units and those without; None if no rate separates them."""
    below = max((rate for rate, each in zip(rates, collapsed, strict=True) if each), default=math.inf)
    above = min((rate for rate, each in zip(rates, collapsed, strict=True) if not each), default=-math.inf)
    if below >= above:
        return None
    return math.sqrt(below * above) if logarithmic else (below + above) / 2


def write_names(axes: Axes, points_M2: Floats, names: Sequence[str]) -> None:
    """Each name beside its point, at the nearest of many places where it hides no name, point or edge."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # then the points' places are known
    scale = axes.figure.dpi / 72
    centres_M2 = axes.transData.transform(points_M2) / scale
    (left, bottom), (right, top) = np.array(axes.get_window_extent().get_points()) / scale
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres_M2]
    for name, (x, y), point in zip(names, centres_M2, points_M2.tolist(), strict=True):
        width, height = 72 * text_width(name, NAME_SIZE) + 2, NAME_SIZE + 3
        for distance, (across, up) in product((8, 20, 34, 50, 70, 95), NAME_DIRECTIONS):
            middle = x + across * (distance + width / 2), y + up * (distance + height / 2)
            box = Bbox.from_bounds(middle[0] - width / 2, middle[1] - height / 2, width, height)
            inside = left < box.x0 and box.x1 < right and bottom < box.y0 and box.y1 < top
            if inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
        far = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.6} if distance > 8 else None
        axes.annotate(
            name, point, xytext=(middle[0] - x, middle[1] - y), textcoords="offset points", ha="center",
            va="center", fontsize=NAME_SIZE, arrowprops=far,
        )  # fmt: skip


NAME_SIZE = 9
NAME_DIRECTIONS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1))


RATE_DISTORTION = ("kl", "reconstruction")


def frontier(means_M2: Floats) -> Floats:
    """The Pareto frontier, by increasing rate: models that no other beats in both rate and distortion."""
    order = np.lexsort((means_M2[:, 1], means_M2[:, 0]))
    sorted_M2 = means_M2[order]
    lowest_before = np.minimum.accumulate([np.inf, *sorted_M2[:-1, 1]])
    return sorted_M2[sorted_M2[:, 1] < lowest_before]
