"""A finished run in Python: `vaelab.load(path)`.

Shapes: N images, C channels (1, of colours 3), H height, W width, L latent dimensions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import (
    Config,
    ConfigError,
    DatasetConfig,
    EvaluationConfig,
    SampleConfig,
    VaelabError,
    counted,
    resolve,
)
from vaelab.data import sources, splits
from vaelab.data.datasets import class_number
from vaelab.data.splits import Data
from vaelab.models import VAE, Gaussian, evaluating
from vaelab.objectives import Objective
from vaelab.pages.notebook import Rows
from vaelab.runs.environment import pick_device
from vaelab.runs.folder import RunFolder, RunFolderError, existing
from vaelab.runs.random_streams import stream
from vaelab.training import checkpoint
from vaelab.training.interpolation import between

AT_ONCE = 64
"""Images that are sampled at once."""

Labels = str | int | Sequence[str | int] | Tensor | NDArray[np.generic]

if TYPE_CHECKING:
    from vaelab.training.plots import Plots

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained model with all that is known about it, which a notebook shows. Tensors come on the CPU."""

    config: Config
    metrics: Rows
    """What metrics.csv shows, a dict per epoch, in nats per image; of a checkpoint, up to its epoch.

    `metrics[-1]["val/neg_elbo"]` is the last epoch's, and `metrics.to_pandas()` a DataFrame.
    """
    model: VAE  # in eval mode, on the CPU
    objective: Objective
    """What was minimised: `objective(model, x, noise, kl_weight)` gives its terms in nats per image."""
    epoch: int  # complete epochs behind these weights
    checkpoint: Path
    trained_on: Mapping[str, Any]
    """The data set's `name`, `title` and `classes`, a `description` of the images, the `sha256` of the files,
    and whether it was `complete` or the subset."""
    best_epoch: int  # whose weights the run's best checkpoint has; 0 before one

    def __repr__(self) -> str:
        config = self.config
        what = f"{config.model_label}, {config.dataset.name}, {config.objective_label}, epoch {self.epoch}"
        return f"<Run: {what}, {self.checkpoint}>"

    def _repr_html_(self) -> str:
        from vaelab.training.plots import as_html  # matplotlib: only for a notebook

        return as_html(self)

    @cached_property
    def plot(self) -> Plots:
        """Figures of this model for a report of one's own: `run.plot.latent()`, `run.plot.samples()` …"""
        from vaelab.training.plots import Plots

        return Plots(self)

    @property
    def moment(self) -> str:
        """`best, epoch 12`: which of the run's checkpoints this is."""
        return f"{self.checkpoint.stem}, epoch {self.epoch}"

    def sample(
        self, count: int = 64, seed: int = 0, sigma: float = 1.0, labels: Labels | None = None
    ) -> Tensor:
        """Expected images of `count` draws from the prior, shape (count, 1, H, W), in [0, 1].

        Of more images, the first ones are the same. `sigma` is the standard deviation of the draws. The
        `labels` of a class-conditional run are a class, or one for each image; by default drawn from p(y).
        """
        resolve({"run": "this", "format": "npz", "count": count, "seed": seed, "sigma": sigma}, SampleConfig)
        drawn, needed = self.label_draws(seed), math.ceil(count / AT_ONCE)
        if labels is not None:
            place_N = torch.arange(needed * AT_ONCE).clamp(max=count - 1)
            drawn = iter(self.class_numbers(labels, count)[place_N].split(AT_ONCE))
        batches = islice(zip(self.prior_draws(seed, sigma), drawn, strict=False), needed)
        return torch.cat([self.decoded(z_BL, labels_B) for z_BL, labels_B in batches])[:count]

    def label_draws(self, seed: int) -> Iterator[Tensor]:
        """Endless labels drawn from p(y), (64,) each; all 0 of a run that is not class-conditional."""
        noise = stream(seed, "labels of a sample")
        while True:
            yield self.model.draw_labels(AT_ONCE, noise)

    def prior_draws(self, seed: int, sigma: float = 1.0) -> Iterator[Tensor]:
        """Endless latents, (64, L) each: always drawn, and to be decoded, as many at once.

        The last bits of an image depend on how many are decoded at once, and draws on how many are drawn.
        """
        noise = stream(seed, "sample")
        while True:
            yield sigma * torch.randn(AT_ONCE, self.model.latent_dim, generator=noise)

    def class_numbers(self, labels: Labels | None, count: int, setting: str = "labels") -> Tensor:
        """The numbers of the classes that a class-conditional run is given, (count,); else all 0.

        `labels` is a class for all, or a list of one each: names, or numbers as the data set's own labels.
        Raises VaelabError for what isn't among the classes that it was trained on.
        """
        known = self.model.classes
        if not known:
            if labels is not None:
                raise VaelabError(f"{setting}: the run is not class-conditional, so leave the class out.")
            return torch.zeros(count, dtype=torch.int64)
        if labels is None:
            raise VaelabError(
                f"The run is class-conditional (model.conditional=true): give it the class, {setting}=NAME."
            )
        if isinstance(labels, Tensor | np.ndarray):
            labels = labels.tolist()
        entries = [labels] if isinstance(labels, str | int | float) else labels
        names, title = self.trained_on["classes"], self.trained_on["title"]
        numbers = [class_number(names, each, setting, title) for each in entries]
        if unknown := {*numbers} - {*known}:
            trained, without = (" and ".join(names[each] for each in some) for some in (known, unknown))
            raise VaelabError(f"{setting}: the run was trained on {trained}, without {without}.")
        if len(numbers) not in (1, count):
            raise VaelabError(
                f"{setting}: {len(numbers)} classes for {counted(count, 'image')}: type one each."
            )
        return torch.tensor(numbers).expand(count)

    def encode(self, images: Tensor | NDArray[np.generic], labels: Labels | None = None) -> Gaussian:
        """q(z|x): `.mean` and `.log_variance`, shape (N, L) each. For `images` see `as_images`.

        A class-conditional run needs `labels`, as `class_numbers` takes them; so do the methods below.
        """
        x_NCHW = self.as_images(images)
        return self.encoded(x_NCHW, self.class_numbers(labels, len(x_NCHW)))

    def encoded(self, x_NCHW: Tensor, numbers_N: Tensor | None) -> Gaussian:
        """The same of what need not be checked, given the classes' numbers."""
        model = self.model.given(numbers_N)
        with evaluating(model):
            return model.encode(x_NCHW)

    def decode(self, z: Tensor | NDArray[np.floating], labels: Labels | None = None) -> Tensor:
        """Expected images of latents of shape (N, L) or (L,): (N, 1, H, W), in [0, 1]."""
        z_NL, latents = torch.atleast_2d(as_tensor(z).float()), self.model.latent_dim
        if z_NL.ndim != 2 or z_NL.shape[1] != latents:
            raise VaelabError(f"Latents have the shape (N, {latents}) in this run, not {tuple(z_NL.shape)}.")
        return self.decoded(z_NL, self.class_numbers(labels, len(z_NL)))

    def decoded(self, z_NL: Tensor, numbers_N: Tensor | None) -> Tensor:
        """The same of what need not be checked, given the classes' numbers."""
        model = self.model.given(numbers_N)
        with evaluating(model):
            return self.objective.likelihood.mean(model.decode(z_NL))

    def reconstruct(self, images: Tensor | NDArray[np.generic], labels: Labels | None = None) -> Tensor:
        """The images decoded from their posterior means, shape (N, 1, H, W), in [0, 1]."""
        return self.decode(self.encode(images, labels).mean, labels)

    def interpolate(
        self, start: Tensor | NDArray[np.generic], end: Tensor | NDArray[np.generic], steps: int = 10,
        path: str = "linear", labels: Labels | None = None,
    ) -> Tensor:  # fmt: skip
        """Images decoded at equal steps between the posterior means of two images, (steps, 1, H, W).

        `path` is linear, or spherical for a great circle. Of two `labels` the first one's class is decoded.
        """
        numbers_2 = self.class_numbers(labels, 2)
        x_2CHW = torch.cat([self.as_images(image) for image in (start, end)])
        if len(x_2CHW) != 2:
            raise VaelabError("Interpolations are between two images: give one as start and one as end.")
        start_L, end_L = self.encoded(x_2CHW, numbers_2).mean
        z_SL = between(start_L, end_L, steps, path)
        return self.decoded(z_SL, numbers_2[0].expand(len(z_SL)))

    def as_images(self, images: Tensor | NDArray[np.generic]) -> Tensor:
        """Floats of shape (N, C, H, W) from (N, C, H, W), of grey images also from (N, H, W) or (H, W).

        uint8 is taken as 0 … 255, floats as [0, 1]. Raises VaelabError for other shapes and ranges.
        """
        x = as_tensor(images)
        x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
        shape = self.model.image_shape
        channels = x.shape[-3] if x.ndim == 4 or (x.ndim == 3 and shape[0] > 1) else 1
        if x.shape[-2:] != shape[1:] or x.ndim not in (2, 3, 4) or channels != shape[0]:
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
    last = saved if folder is None else newest(folder, path)
    model, objective = checkpoint.model_of(saved)
    config, facts = checkpoint.config_of(saved), checkpoint.known_data(saved.data).model_dump()
    metrics, best = Rows(last.history, conditional=config.conditional), last.best_epoch
    return Run(config, metrics, model, objective, saved.epoch, path, facts, best)


def newest(folder: RunFolder, other: Path) -> checkpoint.Checkpoint:
    """The last checkpoint, which knows all epochs, or another one where the last can't be read."""
    with suppress(checkpoint.CheckpointError, OSError):
        return checkpoint.load(folder.last_checkpoint)
    return checkpoint.load(other)


class OtherImages(ConfigError):
    """The images that were found are not those of the run."""


def load_data(run: Run, config: EvaluationConfig) -> tuple[Data, DatasetConfig]:
    """The images of a run, or what replaces them, with a warning; and where they come from."""
    saved, given = run.config.dataset, config.dataset
    root, source = given.root or saved.root, given.source or saved.source
    # What a checkpoint names is read, but never written to: a download goes where this user's downloads go.
    if given.root is not None:
        if given.source is None and source == "embedded":
            source = "auto"  # a folder was given to be searched
    elif root is not None and source != "embedded" and not sources.holds(saved, root):
        log.warning(f"The run's dataset.root={root} has no {saved.name}: searching the default locations.")
        root = None
    wanted = saved.replace(source=source, root=root)
    device = pick_device(config.device)
    if device.type == "mps":
        log.info("Evaluating on the CPU: MPS has no float64")
        device = torch.device("cpu")
    try:
        data = splits.load(wanted, device)
    except ConfigError:
        if config.split != "test" or saved.val_size == 0:
            raise
        wanted = wanted.replace(val_size=0)  # the subset may be smaller than the run's validation split
        data = splits.load(wanted, device)
    if data.origin.fallback is not None:
        log.warning("EMBEDDED SUBSET instead of the full set: %s.", data.origin.fallback)
    if data.origin.sha256 != run.trained_on["sha256"]:
        if not data.spec.is_published:
            raise ConfigError(
                f"The images in {data.origin.folder} are not those that the run was trained on, so that test "
                "images could be among its training images: type dataset.root=FOLDER with the files as they "
                "were."
            )
        trained = "the embedded subset" if data.origin.complete else "the full set"
        if config.split != "test":
            raise OtherImages(
                f"split={config.split} of {data.description} holds other images than those of the run, which "
                f"was trained on {trained}: type split=test."
            )
        log.warning("The run was trained on %s and is scored on %s.", trained, data.description)
    return data, wanted
