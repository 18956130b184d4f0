"""Curves over epochs, of one model or of several, and rate against distortion.

Shapes: E epochs, S seeds, M models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from vaelab.figures import Floats
from vaelab.figures.style import INK, SCORED, SOFT, TRAIN, house_style, legend_label, new_figure

PANELS = {"loss": "Loss", "reconstruction": "Reconstruction, −log p(x|z)", "kl": "KL(q(z|x) ‖ p(z))"}
WIDE_RANGE = 6.0  # ratio of the largest to the smallest number from which an axis is logarithmic
MARKERS = "osv^P<>*X"


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """A number of a model at each epoch: of every seed, and the confidence interval of their mean."""

    values_SE: Floats
    low_E: Floats  # nan of one seed
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


def styles(kl_off: Sequence[bool], on_dark: bool = False) -> list[Style]:
    """A colour from dark to light in the order of the models; those without KL in black and dashed.

    On a dark background the other end of the colour map is left out, and black is white.
    """
    count = max(1, sum(not off for off in kl_off))
    ramp = iter(mpl.colormaps["viridis"](np.linspace(*((0.3, 1.0) if on_dark else (0.0, 0.85)), count)))
    without_kl = Style("#ececef" if on_dark else INK, "D", "--")
    return [
        without_kl if off else Style(mpl.colors.to_hex(next(ramp)), MARKERS[number % len(MARKERS)], "-")
        for number, off in enumerate(kl_off)
    ]


@house_style()
def loss_curves(history: Sequence[Mapping[str, float]], title: str, subtitle: str, best_epoch: int) -> Figure:
    """Loss, reconstruction and KL over epochs, training beside validation or test images.

    `history` holds rows of metrics.csv. The subtitle says what the loss is made of.
    """
    split, scored = ("val", "validation") if "val/loss" in history[0] else ("test", "test")
    epochs = [row["epoch"] for row in history]
    style: dict[str, Any] = {"marker": "o" if len(epochs) < 40 else "", "markersize": 3.5}
    figure, panels = epoch_panels(4.0, list(PANELS.values()), title, subtitle)
    for axes, key in zip(panels, PANELS, strict=True):
        of_training, of_scored = ([row[f"{each}/{key}"] for row in history] for each in ("train", split))
        axes.plot(epochs, of_training, "-", color=TRAIN, label="training (weights changing)", **style)
        axes.plot(epochs, of_scored, "--", color=SCORED, label=scored, **style)
        axes.axvline(best_epoch, color=SOFT, linewidth=0.8, ls=":", label=f"best epoch ({best_epoch})")
        axes.yaxis.get_major_formatter().set_useOffset(False)
    panels[0].legend(fontsize=8.5)
    return figure


@house_style()
def overlaid_curves(
    curves: Mapping[str, Mapping[str, OverSeeds]],
    looks: Mapping[str, Style],
    panels: Sequence[tuple[str, str]],
    title: str,
    subtitle: str,
) -> Figure:
    """A panel per term; in each the mean of every model over its seeds, and its interval as a band.

    `curves` are by model and term; `panels` are (term, heading).
    """
    figure, all_axes = epoch_panels(4.3, [heading for _, heading in panels], title, subtitle)
    for axes, (term, _) in zip(all_axes, panels, strict=True):
        for model, terms in curves.items():
            curve, look = terms[term], looks[model]
            epochs = np.arange(1, len(curve.means) + 1)
            axes.plot(
                epochs, curve.means, look.dashes, color=look.colour, marker=look.marker,
                markersize=3.5, markevery=max(1, len(epochs) // 10), label=legend_label(model),
            )  # fmt: skip
            axes.fill_between(epochs, curve.low_E, curve.high_E, color=look.colour, alpha=0.2, linewidth=1)
        last = [terms[term].means[-1] for terms in curves.values()]
        if min(last) > 0 and max(last) / min(last) > WIDE_RANGE:
            log_scale(axes, "y")
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8.5)
    return figure


def log_scale(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with plain numbers at 1, 2, 5, 10 …, after everything is drawn."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    ticks = [digit * 10.0**power for power in range(-4, 6) for digit in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())


def epoch_panels(height: float, headings: Sequence[str], title: str, subtitle: str) -> tuple[Figure, Any]:
    """A figure with axes side by side, epochs across and nats upwards, each under its heading."""
    figure = new_figure(12.0, height, title, subtitle, plots=True)
    panels = figure.subplots(1, len(headings), squeeze=False)[0]
    for axes, heading in zip(panels, headings, strict=True):
        axes.set_title(heading, loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].set_ylabel("nats per image")
    return figure, panels


@house_style()
def rate_distortion(
    points: Mapping[str, Mapping[str, OverSeeds]], looks: Mapping[str, Style], title: str, subtitle: str
) -> Figure:
    """KL against reconstruction after the last epoch: every seed, means with intervals, and the frontier.

    `points` are by model, then `kl` and `reconstruction`.
    """
    figure = new_figure(8.0, 5.6, title, subtitle, plots=True)
    axes = figure.subplots()
    means_M2 = np.array([[both[term].means[-1] for term in RATE_DISTORTION] for both in points.values()])
    axes.plot(*frontier(means_M2).T, color=SOFT, linewidth=0.9, zorder=1, label=FRONTIER)
    for (model, both), mean in zip(points.items(), means_M2.tolist(), strict=True):
        look, (rate, distortion) = looks[model], (both[term] for term in RATE_DISTORTION)
        x_S, y_S = rate.values_SE[:, -1], distortion.values_SE[:, -1]
        axes.scatter(x_S, y_S, s=14, color=look.colour, alpha=0.5, linewidths=0)
        axes.errorbar(
            mean[0], mean[1], xerr=rate.last_bars, yerr=distortion.last_bars, fmt=look.marker,
            color=look.colour, markersize=8, capsize=3, elinewidth=1,
        )  # fmt: skip
        axes.annotate(model, mean, xytext=(8, 7), textcoords="offset points", fontsize=9)
    axes.margins(x=0.15, y=0.12)
    rates = means_M2[:, 0]
    if rates.min() > 0 and rates.max() / rates.min() > WIDE_RANGE:
        log_scale(axes, "x")
    axes.set_xlabel("rate: KL(q(z|x) ‖ p(z)), nats per image")
    axes.set_ylabel("distortion: reconstruction, −log p(x|z), nats per image")
    axes.legend(loc="upper right", fontsize=8.5)
    return figure


RATE_DISTORTION = ("kl", "reconstruction")
FRONTIER = "frontier: no model has a lower rate and a lower distortion"


def frontier(means_M2: Floats) -> Floats:
    """The models that no other one beats in both rate and distortion (Pareto), by rising rate."""
    order = np.lexsort((means_M2[:, 1], means_M2[:, 0]))
    sorted_M2 = means_M2[order]
    lowest_before = np.minimum.accumulate([np.inf, *sorted_M2[:-1, 1]])
    return sorted_M2[sorted_M2[:, 1] < lowest_before]
