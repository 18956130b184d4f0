"""Curves over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaelab.figures.style import HEADER, HELD_OUT, SOFT, TRAIN, house_style, new_figure

HELD_OUT_NAMES = {"val": "held out", "test": "test"}


def loss_curves(history: Sequence[Mapping[str, float]], title: str, subtitle: str, best_epoch: int) -> Figure:
    """Loss, reconstruction and KL over epochs, training beside held-out images.

    `history` holds rows of metrics.csv. The subtitle has room to say what the loss is made of.
    """
    held_out = "val" if "val/loss" in history[0] else "test"
    epochs = [row["epoch"] for row in history]
    panels = (
        ("loss", "Loss"),
        ("reconstruction", "Reconstruction, −log p(x|z)"),
        ("kl", "KL(q(z|x) ‖ p(z))"),
    )
    width, height = 12.0, 4.0
    with house_style():
        figure = new_figure(width, height, title, subtitle)
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - HEADER / height), w_pad=0.1, h_pad=0.08)
        panel = figure.subplots(1, 3)
        for column, (key, heading) in enumerate(panels):
            axes = panel[column]
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
                best_epoch,
                color=SOFT,
                linewidth=0.8,
                linestyle=":",
                label=f"best epoch ({best_epoch})",
            )
            axes.set_title(heading, loc="left")
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.yaxis.get_major_formatter().set_useOffset(False)
            if column == 0:
                axes.set_ylabel("nats per image")
                axes.legend(fontsize=8.5)
    return figure
