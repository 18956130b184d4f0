"""Curves over epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from vaelab.figures.style import SCORED, SOFT, TRAIN, epoch_panel, house_style, new_figure

PANELS = {
    "loss": "Loss",
    "reconstruction": "Reconstruction, −log p(x|z)",
    "kl": "KL(q(z|x) ‖ p(z))",
}


def loss_curves(history: Sequence[Mapping[str, float]], title: str, subtitle: str, best_epoch: int) -> Figure:
    """Loss, reconstruction and KL over epochs, training beside validation or test images.

    `history` holds rows of metrics.csv. The subtitle says what the loss is made of.
    """
    split, scored = ("val", "validation") if "val/loss" in history[0] else ("test", "test")
    epochs = [row["epoch"] for row in history]
    style: dict[str, Any] = {"marker": "o" if len(epochs) < 40 else "", "markersize": 3.5}
    with house_style():
        figure = new_figure(12.0, 4.0, title, subtitle, plots=True)
        panels = figure.subplots(1, len(PANELS))
        for axes, (key, heading) in zip(panels, PANELS.items(), strict=True):
            of_training, of_scored = ([row[f"{each}/{key}"] for row in history] for each in ("train", split))
            axes.plot(epochs, of_training, "-", color=TRAIN, label="training (weights changing)", **style)
            axes.plot(epochs, of_scored, "--", color=SCORED, label=scored, **style)
            axes.axvline(
                best_epoch, color=SOFT, linewidth=0.8, linestyle=":", label=f"best epoch ({best_epoch})"
            )
            epoch_panel(axes, heading)
            axes.yaxis.get_major_formatter().set_useOffset(False)
        panels[0].set_ylabel("nats per image")
        panels[0].legend(fontsize=8.5)
    return figure
