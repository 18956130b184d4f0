"""Figures that put models side by side.

Shapes: E epochs, S seeds, N images, L latent dimensions, F frames.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray

from vaelab.figures.latent import LatentPlane, LatentView
from vaelab.figures.style import (
    HEADER,
    INK,
    SOFT,
    SUBTITLE,
    CachedBackground,
    add_axes,
    epoch_panel,
    house_style,
    new_figure,
    sign,
)

WIDE_RANGE = 6.0
"""Ratio of the largest to the smallest number from which an axis is logarithmic."""

IN_A_ROW = 4
"""Panels side by side before a new row begins."""

MARKERS = "osv^P<>*X"


@dataclass(frozen=True, slots=True)
class Style:
    """How a model is drawn in every figure of a comparison."""

    colour: str
    marker: str
    dashes: str


def styles(kl_off: Sequence[bool], on_dark: bool = False) -> list[Style]:
    """A colour from dark to light in the order of the models; those without KL in black and dashed.

    On dark paper the other end of the colour map is left out, and black is white.
    """
    count = sum(not off for off in kl_off)
    reach = (0.3, 1.0) if on_dark else (0.0, 0.85)
    ramp = iter(mpl.colormaps["viridis"](np.linspace(*reach, max(count, 1))))
    found = []
    for number, off in enumerate(kl_off):
        ink = "#ececef" if on_dark else INK
        colour = ink if off else mpl.colors.to_hex(next(ramp))
        found.append(Style(colour, "D" if off else MARKERS[number % len(MARKERS)], "--" if off else "-"))
    return found


def overlaid_curves(
    curves: Mapping[str, Mapping[str, NDArray[np.floating]]],
    looks: Mapping[str, Style],
    panels: Sequence[tuple[str, str]],
    title: str,
    subtitle: str,
) -> Figure:
    """A panel per term; in each the curves of all models, mean and band from minimum to maximum over seeds.

    `curves[model][term]` has shape (S, E); `panels` are (term, heading).
    """
    with house_style():
        figure = new_figure(12.0, 4.3, title, subtitle, plots=True)
        axes: Sequence[Axes] = figure.subplots(1, len(panels), squeeze=False)[0]
        for each, (term, heading) in zip(axes, panels, strict=True):
            for model, terms in curves.items():
                values_SE, look = terms[term], looks[model]
                epochs = np.arange(1, values_SE.shape[1] + 1)
                each.plot(
                    epochs, values_SE.mean(axis=0), look.dashes, color=look.colour, marker=look.marker,
                    markersize=3.5, markevery=max(1, len(epochs) // 10), label=model,
                )  # fmt: skip
                if len(values_SE) > 1:
                    least, most = values_SE.min(axis=0), values_SE.max(axis=0)
                    each.fill_between(epochs, least, most, color=look.colour, alpha=0.2, linewidth=0)
            epoch_panel(each, heading)
            last = [terms[term][:, -1].mean() for terms in curves.values()]
            if min(last) > 0 and max(last) / min(last) > WIDE_RANGE:
                each.set_yscale("log")
                each.yaxis.set_major_formatter(ScalarFormatter())
                each.yaxis.set_minor_formatter(ScalarFormatter())
        axes[0].set_ylabel("nats per image")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8.5)
    return figure


def rate_distortion(
    points: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]],
    looks: Mapping[str, Style],
    line: Sequence[str],
    title: str,
    subtitle: str,
) -> Figure:
    """KL against reconstruction: `points[model]` has both of each seed, (S,) each; `line` joins models."""
    with house_style():
        figure = new_figure(8.0, 5.6, title, subtitle, plots=True)
        axes = figure.subplots()
        joined = [points[model] for model in line]
        axes.plot(
            [kl.mean() for kl, _ in joined], [reconstruction.mean() for _, reconstruction in joined],
            color=SOFT, linewidth=0.9, zorder=1,
        )  # fmt: skip
        for model, (kl_S, reconstruction_S) in points.items():
            look = looks[model]
            x, y = kl_S.mean(), reconstruction_S.mean()
            axes.scatter(kl_S, reconstruction_S, s=14, color=look.colour, alpha=0.5, linewidths=0)
            axes.errorbar(
                x, y, xerr=deviation(kl_S), yerr=deviation(reconstruction_S), fmt=look.marker,
                color=look.colour,
                markersize=8, capsize=3,
            )  # fmt: skip
            axes.annotate(model, (x, y), xytext=(8, 7), textcoords="offset points", fontsize=9)
        rates = [kl.mean() for kl, _ in points.values()]
        if min(rates) > 0 and max(rates) / min(rates) > WIDE_RANGE:
            axes.set_xscale("log")
            ticks = [
                tick
                for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
                if min(rates) / 2 < tick < 2 * max(rates)
            ]
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        axes.margins(x=0.15, y=0.12)
        axes.set_xlabel("rate: KL(q(z|x) ‖ p(z)), nats per image")
        axes.set_ylabel("distortion: reconstruction, −log p(x|z), nats per image")
    return figure


def deviation(values: NDArray[np.floating]) -> float | None:
    """Sample standard deviation, None of one value."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def latent_spaces(
    means_NL: Mapping[str, NDArray[np.floating]],
    views: Mapping[str, LatentView],
    labels_N: NDArray[np.integer],
    class_names: Mapping[int, str],
    title: str,
    subtitle: str,
) -> Figure:
    """Every model's posterior means of the same images, on axes of the same reach."""
    with house_style():
        return planes(means_NL, views, labels_N, class_names, title, [subtitle])[0]


def side_by_side_animation(
    frames_F: Sequence[Mapping[str, NDArray[np.floating]]],
    views: Mapping[str, LatentView],
    labels_N: NDArray[np.integer],
    class_names: Mapping[int, str],
    title: str,
    subtitles: Sequence[str],
    watermark: str | None,
) -> Iterator[NDArray[np.uint8]]:
    """One frame for each step: the same images in every model's latent space. Yields (height, width, 3)."""
    with house_style():
        figure, of_models = planes(frames_F[-1], views, labels_N, class_names, title, subtitles)
        figure.set_dpi(80)
        sign(figure, watermark)
        moving = [artist for plane in of_models.values() for artist in plane.moving]
        cached = CachedBackground(figure, [*moving, figure.texts[SUBTITLE]])
        for means_NL, subtitle in zip(frames_F, subtitles, strict=True):
            for model, plane in of_models.items():
                plane.show(means_NL[model])
            figure.texts[SUBTITLE].set_text(subtitle)
            yield cached.pixels()


def planes(
    means_NL: Mapping[str, NDArray[np.floating]],
    views: Mapping[str, LatentView],
    labels_N: NDArray[np.integer],
    class_names: Mapping[int, str],
    title: str,
    subtitles: Sequence[str],
) -> tuple[Figure, dict[str, LatentPlane]]:
    """A panel per model, one legend on the right."""
    rows = math.ceil(len(means_NL) / IN_A_ROW)
    columns = math.ceil(len(means_NL) / rows)
    side, legend = 3.6, 1.6
    height = rows * side + HEADER
    figure = new_figure(columns * side + legend, height, title, *subtitles)
    of_models: dict[str, LatentPlane] = {}
    for number, (model, means) in enumerate(means_NL.items()):
        row, column = divmod(number, columns)
        left, bottom = column * side + 0.65, height - HEADER - (row + 1) * side + 0.5
        axes = add_axes(figure, left, bottom, side - 0.75, side - 0.8)
        of_models[model] = LatentPlane(axes, views[model], means, labels_N, class_names, names=False)
        axes.set_title(model, loc="left")
        if (drawn := axes.get_legend()) is None:
            continue
        if number == columns - 1:
            drawn.set_bbox_to_anchor((1.03, 1.0), transform=axes.transAxes)
        else:
            drawn.remove()
    return figure, of_models
