"""Curves over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaelab.figures.style import HEADER, HELD_OUT, SOFT, TRAIN, house_style, new_figure

HELD_OUT_NAMES = {"val": "held out", "test": "test"}


def loss_curves(
    history: Sequence[Mapping[str, float]], title: str, subtitle: str, loss_formula: str, best_epoch: int
) -> Figure:
    """Loss, reconstruction and KL over epochs, training beside held-out images.

    `history` holds rows of metrics.csv; `loss_formula` says what the loss is made of.
    """
    held_out = "val" if "val/loss" in history[0] else "test"
    epochs = [row["epoch"] for row in history]
    panels = (
        ("loss", f"Loss = {loss_formula}"),
        ("reconstruction", "Reconstruction, −log p(x|z)"),
        ("kl", "KL(q(z|x) ‖ p(z))"),
    )
    width, height = 12.0, 4.0
    with house_style():
        figure = new_figure(width, height, title, subtitle)
        grid = figure.add_gridspec(
            1, 3, left=0.75 / width, right=1 - 0.2 / width, bottom=0.55 / height,
            top=1 - (HEADER + 0.35) / height, wspace=0.28,
        )  # fmt: skip
        for column, (key, heading) in enumerate(panels):
            axes = figure.add_subplot(grid[column])
            marker = "o" if len(epochs) < 40 else ""
            train = [row[f"train/{key}"] for row in history]
            scored = [row[f"{held_out}/{key}"] for row in history]
            axes.plot(
                epochs, train, color=TRAIN, marker=marker, markersize=3.5, label="train (while learning)"
            )
            axes.plot(
                epochs, scored, color=HELD_OUT, marker=marker, markersize=3.5, linestyle="--",
                label=HELD_OUT_NAMES[held_out],
            )  # fmt: skip
            axes.axvline(
                best_epoch, color=SOFT, linewidth=0.8, linestyle=":", label=f"best.pt (epoch {best_epoch})"
            )
            axes.set_title(heading, loc="left")
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.yaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
            if column == 0:
                axes.set_ylabel("nats per image")
                axes.legend(fontsize=8.5)
    return figure
