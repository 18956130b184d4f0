"""Images above their reconstructions, and a table with the terms and the posterior of each.

Shapes: B images at once, N images, C channels, H height, W width, L latent dimensions, S posterior samples.
"""

import csv
import hashlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tabulate import tabulate
from torch import Tensor

from vaelab.config import ReconstructConfig, counted
from vaelab.evaluation.inputs import Inputs, read_inputs
from vaelab.evaluation.outputs import (
    about,
    class_in_name,
    computed,
    facts_of,
    given_classes,
    in_rows,
    output_folder,
    unfinished,
    write_new,
)
from vaelab.figures import Figure, style
from vaelab.figures.images import image_grid
from vaelab.models import evaluating
from vaelab.runs import logs as console
from vaelab.runs.random_streams import stream
from vaelab.training.examples import as_arrays
from vaelab.training.run import AT_ONCE, Run, load

FIRST = 8  # test images, where none are named
COLUMNS, MOST_DRAWN = 8, 64
MOST_PRINTED = 10
TERMS = ("reconstruction", "reconstruction_se", "kl", "neg_elbo")


def reconstruct(config: ReconstructConfig) -> tuple[list[Path], str]:
    """Write the figure and the table; returns their paths, and the table's first rows as text.

    Raises VaelabError.
    """
    with console.logging_to(console.ProgressBarHandler()):
        run = load(config.run)
        wanted = list(range(FIRST)) if config.images is None else config.images
        inputs = read_inputs(run, wanted, config.dataset, config.invert, config.seed)
        labels_N = inputs.given(run, config.class_)
        folder = output_folder(config.output, run, "reconstructions")
        path = folder / f"{run.checkpoint.stem}_{inputs.file_name}{other_settings(run, config, labels_N)}.csv"
        pixels = hashlib.sha256(inputs.images.numpy().tobytes()).hexdigest()
        facts = facts_of(run) | {"pixels": pixels, "samples": config.samples, "seed": config.seed}
        facts |= (
            {} if labels_N is None else {"classes": [run.trained_on["classes"][each] for each in labels_N]}
        )
        rows = computed(
            path, facts, len(inputs.images), AT_ONCE, (len(TERMS) + 2 * run.model.latent_dim,), np.float64,
            lambda number: table_rows(run, inputs.images, labels_N, number, config), "encoding",
        )  # fmt: skip
        try:
            write_new(path, table(inputs.names, rows, run.model.latent_dim))
            figure = pairs(run, inputs, labels_N, rows, config)
            drawn = write_new(
                path.with_suffix(".png"), style.signed_png(figure, run.config.artifacts.watermark)
            )
        finally:  # also of a file that is in the way
            unfinished(path, facts).unlink(missing_ok=True)
    return [drawn, path], summary(inputs, rows, config)


def other_settings(run: Run, config: ReconstructConfig, labels_N: Tensor | None) -> str:
    """The suffix that distinguishes the file name from that of the default settings."""
    untouched = ReconstructConfig(run=config.run)
    parts = [
        f"_{key}-{getattr(config, key)}"
        for key in ("samples", "seed")
        if getattr(config, key) != getattr(untouched, key)
    ]
    chosen = "" if labels_N is None or config.class_ is None else class_in_name(run, int(labels_N[0]))
    return "".join([*parts, "_inverted" * config.invert, chosen])


def table_rows(
    run: Run, x_NCHW: Tensor, labels_N: Tensor | None, batch: int, config: ReconstructConfig
) -> NDArray[np.float64]:
    """A row of the table for each image: the terms in nats, then posterior means and standard deviations.

    All images share the same ε, so that the numbers of an image don't depend on the other images.
    """
    noise, likelihood = stream(config.seed, "posterior samples of given images"), run.objective.likelihood
    index = slice(batch * AT_ONCE, (batch + 1) * AT_ONCE)
    x_BCHW, model = x_NCHW[index], run.model.given(None if labels_N is None else labels_N[index])
    with evaluating(model):
        posterior = model.encode(x_BCHW)
        sigma_BL = posterior.sigma
        losses = []
        for _ in range(config.samples):
            z_BL = posterior.mean + sigma_BL * torch.randn(run.model.latent_dim, generator=noise)
            losses.append(-likelihood.log_prob(model.decode(z_BL), x_BCHW).double())
        loss_SB = torch.stack(losses)
    reconstruction_B, kl_B = loss_SB.mean(dim=0), posterior.kl().double()
    terms = (
        reconstruction_B, loss_SB.std(dim=0) / math.sqrt(config.samples), kl_B, reconstruction_B + kl_B
    )  # fmt: skip
    return torch.cat([torch.stack(terms, dim=1), posterior.mean, sigma_BL], dim=1).numpy()


def table(names: list[str], rows: NDArray[np.float64], latents: int) -> bytes:
    """The CSV file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    dimensions = [f"{kind}_{number}" for kind in ("mean", "sd") for number in range(1, latents + 1)]
    writer.writerow(["file", *TERMS, *dimensions])
    for name, row in zip(names, rows.tolist(), strict=True):
        writer.writerow([name, *(f"{value:.7g}" for value in row)])
    return text.getvalue().encode()


def pairs(
    run: Run, inputs: Inputs, labels_N: Tensor | None, rows: NDArray[np.float64], config: ReconstructConfig
) -> Figure:
    """The first images in bands, each band above its reconstructions from posterior means."""
    shown = min(len(inputs.images), MOST_DRAWN)
    columns = min(COLUMNS, shown)
    images, given_N = inputs.images[:shown], None if labels_N is None else labels_N[:shown]
    reconstructed = run.decoded(run.encoded(images, given_N).mean, given_N)
    rows_of = [in_rows(as_arrays(x), columns) for x in (images, reconstructed)]
    bands = np.stack(rows_of, axis=1).reshape(-1, *rows_of[0].shape[1:])
    labels = []
    if shown <= COLUMNS:
        short = [name.removeprefix("test image ") for name in inputs.names]
        labels = [f"{shortened(name)}\n{nats:.1f} nats" for name, nats in zip(short, rows[:, 3], strict=True)]
    of = f" (the first {shown})" if shown < len(inputs.images) else ""
    what = "its reconstruction" if len(inputs.images) == 1 else "their reconstructions"
    caption = f"{inputs.preparation}\nreconstructions: decoded from posterior means"
    caption += given_classes(run, labels_N)
    if labels:
        caption += f"; nats: neg_elbo of each image, {config.samples} posterior samples"
    return image_grid(
        bands,
        f"{counted(len(inputs.images), 'image')} and {what}{of}",
        about(run),
        row_labels=["original", "reconstruction"] * (len(bands) // 2),
        column_labels=labels,
        bottom_label=caption,
        row_group=2,
        zoom=3 if columns > 4 else 5,
    )


def shortened(name: str) -> str:
    return name if len(name) <= 14 else f"…{name[-13:]}"


def summary(inputs: Inputs, rows: NDArray[np.float64], config: ReconstructConfig) -> str:
    """What the images are and the table's first rows, for the terminal."""
    body: list[list[Any]] = [
        [name, f"{row[3]:.1f} ± {row[1]:.1f}", f"{row[0]:.1f} ± {row[1]:.1f}", f"{row[2]:.1f}"]
        for name, row in zip(inputs.names[:MOST_PRINTED], rows, strict=False)
    ]
    head = ["nats", "neg_elbo", "reconstruction", "kl"]
    text = tabulate(body, head, colalign=("left", "right", "right", "right"), disable_numparse=True)
    if len(rows) > MOST_PRINTED:
        text += f"\n… {len(rows):,} images in all"
    error = f"± is the standard error over {config.samples} posterior samples"
    return f"{inputs.preparation}\n\n{text}\n{error}\n"
