"""One example of every figure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from vaelab.figures.curves import (
    PANELS,
    OverSeeds,
    loss_curves,
    overlaid_curves,
    rate_distortion,
    styles,
)
from vaelab.figures.density import Holes, density_plot, hole_map, hole_panels, kl_bars
from vaelab.figures.images import (
    diversity_panels,
    image_grid,
    image_panels,
)
from vaelab.figures.latent import (
    LatentPlot,
    LatentSpaces,
    LatentView,
)

GENERATOR = np.random.default_rng(0)


NAMES = {0: "T-shirt/top", 7: "Sneaker", 9: "Ankle boot"}


MEANS = GENERATOR.normal(size=(60, 2))


LABELS = GENERATOR.choice([0, 7, 9], size=60)


VIEW = LatentView(np.eye(2), ("z₁", "z₂"), 4.0)


ROW = {"kl_weight": 1.0} | {
    f"{split}/{term}": -1234.5 for split in ("train", "val") for term in ("loss", "reconstruction", "kl")
}


MODELS = {
    "KL off": 100.0,
    "beta 0.1": 10.0,
    "beta 1": 3.0,
    "conv, latent_dim 16, beta 4": 1.0,
    "beta 10": 0.5,
}


LOOKS = dict(zip(MODELS, styles([0, 0.1, 1, 4, 10]), strict=True))


LONG = (
    "conv, 16 latent dimensions, beta 0.5 · Fashion-MNIST (embedded subset; dynamically binarised) · seed 42"
)


def seeds(shape: tuple[int, int], scale: float = 1.0) -> OverSeeds:
    values_SE = GENERATOR.random(shape) * scale
    return OverSeeds(values_SE, values_SE.min(axis=0), values_SE.max(axis=0))


SPLITS = {"train": "training", "val": "validation"}


def several(scale: float) -> dict[str, OverSeeds]:
    terms = ("loss", "reconstruction", "kl")
    return {f"{split}/{term}": seeds((3, 5), scale) for split in SPLITS for term in terms}


EXAMPLE_FIGURES: dict[str, Callable[[], Figure]] = {
    "grid": lambda: image_grid(
        GENERATOR.random((3, 4, 28, 28)), "Title", LONG, row_labels=list(NAMES.values()),
        column_labels=["one", "two\nlines", "x", "y"], bottom_label=f"{LONG}\n{LONG}, and what the rows are",
    ),
    "scatter": lambda: LatentPlot(MEANS, LABELS, NAMES, VIEW, "Title", LONG).figure,
    "scatter far out": lambda: LatentPlot(
        5e4 * MEANS, LABELS, NAMES, LatentView(np.eye(2), ("z₁", "z₂"), 196608.0), "Title", LONG
    ).figure,
    "plain scatter": lambda: LatentPlot(MEANS, None, NAMES, VIEW, "Title", LONG).figure,
    "one dimension": lambda: LatentPlot(
        MEANS[:, :1], LABELS, NAMES, LatentView(np.eye(1), ("z₁", ""), 4.0), "Title", LONG
    ).figure,
    "curves": lambda: loss_curves(
        [{"epoch": epoch, **ROW} for epoch in (1, 2, 3)], "Title", LONG, 2
    ),
    "panels": lambda: image_panels(
        [("σ = 0.1", GENERATOR.random((8, 8, 28, 28))), ("σ = 1 (the prior)", GENERATOR.random((8, 8, 28, 28)))], "Title", LONG
    ),
    "panels of many models": lambda: image_panels(
        [(f"{LONG} {number}", GENERATOR.random((2, 3, 28, 28))) for number in range(5)], "Title", LONG
    ),
    "diversity": lambda: diversity_panels(
        [(f"σ = {sigma}\ndiversity 12.34 ± 0.05", GENERATOR.random((8, 8, 28, 28))) for sigma in range(4)],
        [(0.1, 2, 0.1), (0.5, 5, 0.1), (1, 9, 0.2)], {"real images: 10": (10, 0.1), "posterior samples: 9": (9, 0.1)},
        "diversity", "Title", LONG,
    ),
    "density": lambda: density_plot(MEANS, VIEW, "Title", LONG),
    "density of one dimension": lambda: density_plot(
        MEANS[:, :1], LatentView(np.eye(1), ("z₁", ""), 4.0), "Title", LONG
    ),
    "embedding": lambda: LatentPlot(
        MEANS, LABELS, NAMES, LatentView(np.eye(2), ("t-SNE (openTSNE, perplexity 30)\nnear points are alike", ""), 4.0, has_units=False), "Title", LONG
    ).figure,
    "latent spaces with insets": lambda: LatentSpaces(
        {name: 10**place * MEANS for place, name in enumerate(MODELS)}, dict.fromkeys(MODELS, LatentView(np.eye(2), ("z₁", "z₂"), 16384.0)), LABELS, NAMES, "Title", LONG
    ).figure,
    "holes of several models": lambda: hole_panels(
        [Holes(MEANS, 4.0, GENERATOR.random((41, 41)) > 0.5, f"{name}\n50.0 % of prior draws in holes (mean of 3 seeds)") for name in MODELS], 4.0, "95 %", "Title", LONG
    ),
    "holes": lambda: hole_map(GENERATOR.random((41, 41)) > 0.5, 4.0, "95 %", "holes: 50.0 ± 0.5 %\nof prior draws", "Title", LONG),
    "few bars": lambda: kl_bars(np.array([3.2, 0.001]), ["z₂", "z₁"], np.array([False, True]), "3.20 nats", "Title", LONG),
    "many bars": lambda: kl_bars(np.linspace(123, 0, 200), [f"z₁₂{i}" for i in range(200)], np.arange(200) > 198, "61.5 nats", "Title", LONG),
    "curves of several models": lambda: overlaid_curves(
        {name: several(scale) for name, scale in MODELS.items()}, LOOKS, SPLITS, list(PANELS), "Title", LONG,
    ),
    "rate and distortion": lambda: rate_distortion(
        {name: {"kl": seeds((3, 1), scale), "reconstruction": seeds((3, 1))} for name, scale in MODELS.items()}, LOOKS, "Title", LONG,
    ),
    "latent spaces": lambda: LatentSpaces(
        dict.fromkeys(MODELS, MEANS), dict.fromkeys(MODELS, VIEW), LABELS, NAMES, "Title", LONG
    ).figure,
    "curves with a warm-up": lambda: loss_curves(
        [{**ROW, "epoch": epoch, "kl_weight": weight} for epoch, weight in ((1, 0.5), (2, 1.0))], "Title", LONG, None
    ),
    "curves of one epoch": lambda: loss_curves([{"epoch": 1, **ROW}], "Title", LONG, 1),
}  # fmt: skip
