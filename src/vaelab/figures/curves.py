"""Curves over epochs, of one model or of several, and rate against distortion.

Shapes: E epochs, S seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from vaelab.figures import Floats
from vaelab.figures.style import INK, SCORED, SOFT, TRAIN, house_style, new_figure

PANELS = {"loss": "Loss", "reconstruction": "Reconstruction, −log p(x|z)", "kl": "KL(q(z|x) ‖ p(z))"}
WIDE_RANGE = 6.0  # ratio of the largest to the smallest number from which an axis is logarithmic
MARKERS = "osv^P<>*X"


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
    curves: Mapping[str, Mapping[str, Floats]],
    looks: Mapping[str, Style],
    panels: Sequence[tuple[str, str]],
    title: str,
    subtitle: str,
) -> Figure:
    """A panel per term; in each the curves of all models, mean and band from minimum to maximum over seeds.

    `curves[model][term]` has shape (S, E); `panels` are (term, heading).
    """
    figure, all_axes = epoch_panels(4.3, [heading for _, heading in panels], title, subtitle)
    for axes, (term, _) in zip(all_axes, panels, strict=True):
        for model, terms in curves.items():
            values_SE, look = terms[term], looks[model]
            epochs = np.arange(1, values_SE.shape[1] + 1)
            axes.plot(
                epochs, values_SE.mean(axis=0), look.dashes, color=look.colour, marker=look.marker,
                markersize=3.5, markevery=max(1, len(epochs) // 10), label=model,
            )  # fmt: skip
            if len(values_SE) > 1:
                least, most = values_SE.min(axis=0), values_SE.max(axis=0)
                axes.fill_between(epochs, least, most, color=look.colour, alpha=0.2, linewidth=0)
        last = [terms[term][:, -1].mean() for terms in curves.values()]
        if min(last) > 0 and max(last) / min(last) > WIDE_RANGE:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(ScalarFormatter())
            axes.yaxis.set_minor_formatter(ScalarFormatter())
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8.5)
    return figure


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
    points: Mapping[str, tuple[Floats, Floats]],
    looks: Mapping[str, Style],
    line: Sequence[str],
    title: str,
    subtitle: str,
) -> Figure:
    """KL against reconstruction: `points[model]` has both of each seed, (S,) each; `line` joins models."""
    figure = new_figure(8.0, 5.6, title, subtitle, plots=True)
    axes = figure.subplots()
    means = {
        model: (kl_S.mean(), reconstruction_S.mean()) for model, (kl_S, reconstruction_S) in points.items()
    }
    axes.plot(*np.array([means[model] for model in line]).T, color=SOFT, linewidth=0.9, zorder=1)
    for model, values in points.items():
        look = looks[model]
        axes.scatter(*values, s=14, color=look.colour, alpha=0.5, linewidths=0)
        xerr, yerr = (each.std(ddof=1) if len(each) > 1 else None for each in values)
        axes.errorbar(
            *means[model], xerr=xerr, yerr=yerr, fmt=look.marker, color=look.colour, markersize=8, capsize=3
        )
        axes.annotate(model, means[model], xytext=(8, 7), textcoords="offset points", fontsize=9)
    rates = [rate for rate, _ in means.values()]
    if min(rates) > 0 and max(rates) / min(rates) > WIDE_RANGE:
        axes.set_xscale("log")
        ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]
        ticks = [tick for tick in ticks if min(rates) / 2 < tick < 2 * max(rates)]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    axes.margins(x=0.15, y=0.12)
    axes.set_xlabel("rate: KL(q(z|x) ‖ p(z)), nats per image")
    axes.set_ylabel("distortion: reconstruction, −log p(x|z), nats per image")
    return figure
