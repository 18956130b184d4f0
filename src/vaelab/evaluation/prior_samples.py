"""Images from the prior, as a picture and as an array."""

import io
import math
from pathlib import Path

import numpy as np

from vaelab.config import SampleConfig
from vaelab.figures import style
from vaelab.figures.images import image_grid
from vaelab.runs.files import write_bytes, writing
from vaelab.runs.folder import RunFolder
from vaelab.training.run import load


def write_samples(config: SampleConfig) -> list[Path]:
    """A grid as PNG and the images (count, 1, H, W) in [0, 1] as .npy: their paths. Raises VaelabError."""
    run = load(config.run)
    images_NCHW = run.sample(config.count, config.seed).numpy()
    around = RunFolder.around(Path(config.run).expanduser())
    beside = around.path if around is not None else run.checkpoint.parent
    folder = Path(config.output).expanduser() if config.output is not None else beside / "samples"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    columns = math.ceil(math.sqrt(config.count))
    rows = math.ceil(config.count / columns)
    grid = np.ones((rows * columns, *images_NCHW.shape[2:]))
    grid[: config.count] = images_NCHW.mean(axis=1)
    about = f"{run.config.model['name']}, {run.config.kl_label}, epoch {run.epoch}, seed {config.seed}"
    figure = image_grid(
        grid.reshape(rows, columns, *grid.shape[1:]), f"{config.count} samples from the prior", about
    )
    array = io.BytesIO()
    np.save(array, images_NCHW)
    path = folder / f"{run.checkpoint.stem}_seed-{config.seed}_{config.count}.png"
    write_bytes(path, style.signed_png(figure, run.config.artifacts.watermark))
    write_bytes(path.with_suffix(".npy"), array.getvalue())
    return [path, path.with_suffix(".npy")]
