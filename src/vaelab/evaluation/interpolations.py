"""The images between two images, along a path between their posterior means.

Shapes: P paths, S steps, C channels, H height, W width, L latent dimensions.
"""

import io
import json
from pathlib import Path

import numpy as np
import torch

from vaelab.config import ConfigError, InterpolateConfig
from vaelab.evaluation.inputs import read_inputs
from vaelab.evaluation.outputs import (
    about,
    class_in_name,
    facts_of,
    given_classes,
    output_file,
    write_new,
)
from vaelab.figures import style
from vaelab.figures.images import image_grid
from vaelab.runs import logs as console
from vaelab.training.examples import as_arrays, as_bytes
from vaelab.training.interpolation import PATHS, between
from vaelab.training.run import load

MOST_DRAWN = 12  # steps
WAYS = {"linear": "a straight line", "spherical": "a great circle"}


def interpolate(config: InterpolateConfig) -> list[Path]:
    """Write the figure and, with `npz`, the images; returns their paths. Raises VaelabError."""
    with console.logging_to(console.ProgressBarHandler()):
        run = load(config.run)
        inputs = read_inputs(run, [config.from_, config.to], config.dataset, config.invert, config.seed)
        if len(inputs.images) != 2:
            raise ConfigError("from and to need one image each: type a test image's number or an image file.")
        paths = list(PATHS) if config.path == "both" else [config.path]
        labels_2 = inputs.given(run, config.class_)
        own_2 = None if labels_2 is None else inputs.encoded(run, config.class_)
        mean_2L = run.encoded(inputs.images, own_2).mean
        decoded = None if labels_2 is None else labels_2[:1]
        z_PSL = torch.stack([between(mean_2L[0], mean_2L[1], config.steps, path) for path in paths])
        x_PSCHW = torch.stack(
            [run.decoded(z_SL, None if decoded is None else decoded.expand(config.steps)) for z_SL in z_PSL]
        )
        name = f"{run.checkpoint.stem}_{inputs.file_name}_{config.path}_{config.steps}"
        if decoded is not None and config.class_ is not None:
            name += class_in_name(run, int(decoded))
        drawn = output_file(config.output, run, "interpolations", f"{name}.png")
        shown = np.linspace(0, config.steps - 1, min(config.steps, MOST_DRAWN)).round().astype(int)
        rows = [
            as_arrays(torch.cat([inputs.images[:1], x_SCHW[shown], inputs.images[1:]])) for x_SCHW in x_PSCHW
        ]
        some = f", {len(shown)} of {config.steps} steps" if len(shown) < config.steps else ""
        percents = [f"{100 * each / (config.steps - 1):.0f} %" for each in shown]
        ways = " and ".join(WAYS[path] for path in paths)
        figure = image_grid(
            np.stack(rows),
            f"From {inputs.names[0]} to {inputs.names[1]}{some}",
            about(run),
            row_labels=paths if len(paths) > 1 else (),
            column_labels=["original", *percents, "original"],
            bottom_label=f"decoded at {config.steps} equal steps on {ways} between posterior means"
            f"{given_classes(run, decoded)}\n{inputs.preparation}",
        )
        written = [write_new(drawn, style.signed_png(figure, run.config.artifacts.watermark))]
        if config.npz:
            content = io.BytesIO()
            facts = facts_of(run) | {"from": inputs.names[0], "to": inputs.names[1], "paths": paths}
            facts |= {} if decoded is None else {"class": run.trained_on["classes"][int(decoded)]}
            images = as_bytes(x_PSCHW.flatten(0, 1))
            np.savez(
                content, images=images, latents=z_PSL.flatten(0, 1).numpy(), about=np.array(json.dumps(facts))
            )
            written.append(write_new(drawn.with_suffix(".npz"), content.getvalue()))
        return written
