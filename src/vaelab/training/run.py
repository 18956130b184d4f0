"""A finished run in Python: `vaelab.load(path)`.

Shapes: N images, C channels (1), H height and W width (28), L latent dimensions.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import Config, VaelabError
from vaelab.models import VAE, Gaussian, evaluating
from vaelab.objectives import Objective
from vaelab.runs.folder import RunFolder, RunFolderError, existing
from vaelab.runs.random_streams import stream
from vaelab.training import checkpoint
from vaelab.training.interpolation import between

AT_ONCE = 64
"""Images that are sampled at once."""


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained model with all that is known about it. Tensors come back on the CPU."""

    config: Config
    metrics: list[dict[str, float]]
    """What metrics.csv shows, a dict per epoch, in nats per image; of a checkpoint, up to its epoch."""
    model: VAE  # in eval mode, on the CPU
    objective: Objective
    """What was minimised: `objective(model, x, noise, kl_weight)` gives its terms in nats per image."""
    epoch: int  # complete epochs behind these weights
    checkpoint: Path
    trained_on: Mapping[str, Any]
    """The data set's `name`, the `sha256` of its files, and whether it was `complete` or the subset."""

    def __repr__(self) -> str:
        config = self.config
        what = f"{config.model['name']}, {config.dataset.name}, {config.objective_label}, epoch {self.epoch}"
        return f"<Run: {what}, {self.checkpoint}>"

    @property
    def moment(self) -> str:
        """`best, epoch 12`: which of the run's checkpoints this is."""
        return f"{self.checkpoint.stem}, epoch {self.epoch}"

    def sample(self, count: int = 64, seed: int = 0, sigma: float = 1.0) -> Tensor:
        """Expected images of `count` draws from the prior, shape (count, 1, H, W), in [0, 1].

        Of more images, the first ones are the same. `sigma` is the standard deviation of the draws.
        """
        batches = islice(self.prior_draws(seed, sigma), math.ceil(count / AT_ONCE))
        return torch.cat([self.decode(z_BL) for z_BL in batches])[:count]

    def prior_draws(self, seed: int, sigma: float = 1.0) -> Iterator[Tensor]:
        """Endless latents, (64, L) each: always drawn, and to be decoded, as many at once.

        The last bits of an image depend on how many are decoded at once, and draws on how many are drawn.
        """
        noise = stream(seed, "sample")
        while True:
            yield sigma * torch.randn(AT_ONCE, self.model.latent_dim, generator=noise)

    def encode(self, images: Tensor | NDArray[np.generic]) -> Gaussian:
        """q(z|x): `.mean` and `.log_variance`, shape (N, L) each. For `images` see `as_images`."""
        with evaluating(self.model):
            return self.model.encode(self.as_images(images))

    def decode(self, z: Tensor | NDArray[np.floating]) -> Tensor:
        """Expected images of latents of shape (N, L) or (L,): (N, 1, H, W), in [0, 1]."""
        z_NL, latents = torch.atleast_2d(as_tensor(z).float()), self.model.latent_dim
        if z_NL.ndim != 2 or z_NL.shape[1] != latents:
            raise VaelabError(f"Latents have the shape (N, {latents}) in this run, not {tuple(z_NL.shape)}.")
        with evaluating(self.model):
            return self.objective.likelihood.mean(self.model.decode(z_NL))

    def reconstruct(self, images: Tensor | NDArray[np.generic]) -> Tensor:
        """The images decoded from their posterior means, shape (N, 1, H, W), in [0, 1]."""
        return self.decode(self.encode(images).mean)

    def interpolate(
        self, start: Tensor | NDArray[np.generic], end: Tensor | NDArray[np.generic], steps: int = 10,
        path: str = "linear",
    ) -> Tensor:  # fmt: skip
        """Images decoded at equal steps between the posterior means of two images, (steps, 1, H, W).

        `path` is linear, or spherical for a great circle.
        """
        start_L, end_L = (self.encode(image).mean[0] for image in (start, end))
        return self.decode(between(start_L, end_L, steps, path))

    def as_images(self, images: Tensor | NDArray[np.generic]) -> Tensor:
        """Floats of shape (N, 1, H, W) from (N, 1, H, W), (N, H, W) or (H, W).

        uint8 is taken as 0 … 255, floats as [0, 1]. Raises VaelabError for other shapes and ranges.
        """
        x = as_tensor(images)
        x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
        shape = self.model.image_shape
        if x.shape[-2:] != shape[1:] or x.ndim not in (2, 3, 4) or (x.ndim == 4 and x.shape[1] != shape[0]):
            wanted = ", ".join(map(str, shape))
            raise VaelabError(f"Images have the shape (N, {wanted}), not {tuple(x.shape)}.")
        if x.numel() and not (x.min() >= 0 and x.max() <= 1):
            raise VaelabError("Images are floats from 0 to 1 or uint8 from 0 to 255; these are out of range.")
        return x.reshape(-1, *shape)


def as_tensor(values: Tensor | NDArray[np.generic]) -> Tensor:
    """A tensor as it is, and a copy of anything else: PyTorch warns of arrays that can't be written to."""
    return values if isinstance(values, Tensor) else torch.as_tensor(np.array(values))


def load(path: Path | str, which: str | None = None) -> Run:
    """The run of a run folder (its best checkpoint) or of a checkpoint. Needs no data, and no GPU.

    `which` is another checkpoint of the folder: last, epoch_0005. FOLDER/last is the same.
    Raises RunFolderError or CheckpointError, with a sentence that says what to give instead.
    """
    path = existing(path)
    if which is not None:
        if path.is_file():
            raise RunFolderError(f"{path} is a checkpoint already: give which={which} with a run folder.")
        path = existing(path / which)
    folder = None if path.is_file() else RunFolder.holding(path)
    path = path if folder is None else folder.best_checkpoint
    saved = checkpoint.load(path)
    metrics = saved.history if folder is None else newest(folder, path).history
    model, objective = checkpoint.model_of(saved)
    config, facts = checkpoint.config_of(saved), saved.data.model_dump()
    return Run(config, metrics, model, objective, saved.epoch, path, facts)


def newest(folder: RunFolder, other: Path) -> checkpoint.Checkpoint:
    """The last checkpoint, which knows all epochs, or another one where the last can't be read."""
    with suppress(checkpoint.CheckpointError, OSError):
        return checkpoint.load(folder.last_checkpoint)
    return checkpoint.load(other)
