"""A trained model in Python: `Run`, and `load`, which opens one.

Shapes: N images, C channels (1, or 3 for colour), H height, W width, L latent dimensions.
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
from vaelab.data.datasets import UnpublishedSpec, class_number
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
"""Images per batch of samples. A constant, because the random numbers depend on it."""

Labels = str | int | Sequence[str | int] | Tensor | NDArray[np.generic]
"""A class for all images, or one for each: names, or numbers as in the labels of the data set."""

if TYPE_CHECKING:
    from vaelab.training.plots import Plots

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained model with all that is known about it. Its methods return tensors on the CPU.

    `vaelab.train` and `vaelab.load` return it; a notebook displays its settings, numbers and figures.

    >>> run = vaelab.load("outputs/example")
    >>> images = run.sample(8, seed=1)  # (8, 1, 28, 28)
    >>> run.encode(images).mean.shape  # the posterior means
    torch.Size([8, 2])
    >>> run.reconstruct(images).shape
    torch.Size([8, 1, 28, 28])
    >>> run.interpolate(images[0], images[1], steps=5).shape
    torch.Size([5, 1, 28, 28])
    >>> run.plot.samples().savefig("samples.pdf")

    If the run is class-conditional, `run.sample(8, labels="trouser")` draws images of one class, and
    `encode`, `decode`, `reconstruct` and `interpolate` need `labels`.
    """

    config: Config  # the resolved settings
    metrics: Rows
    """The rows of metrics.csv, a dict per epoch: the loss and its terms are in nats per image.

    They end with the last epoch, or with that of the checkpoint if one was loaded by its path or by `which`.
    `metrics[-1]["val/neg_elbo"]` is the last one's negative ELBO, and `metrics.to_pandas()` a DataFrame.
    """
    model: VAE  # in eval mode, on the CPU
    objective: Objective
    """What was minimised: `objective(model, x, noise, kl_weight)` gives its terms in nats per image."""
    epoch: int  # number of complete epochs that these weights were trained for
    checkpoint: Path  # the file that holds them
    sha256: str  # of that file as it was read: a training may have replaced it since then
    trained_on: Mapping[str, Any]
    """The data set's `name`, `title` and `classes`, a `description` of the images, the `sha256` of the files,
    and `complete`, which is False for the embedded subset."""
    best_epoch: int  # the epoch of the run's best checkpoint; 0 before the first epoch is complete

    def __repr__(self) -> str:
        config = self.config
        what = f"{config.model_label}, {config.dataset.name}, {config.objective_label}, epoch {self.epoch}"
        return f"<Run: {what}, {self.checkpoint}>"

    def _repr_html_(self) -> str:
        from vaelab.training.plots import as_html  # matplotlib: only for a notebook

        return as_html(self)

    @cached_property
    def plot(self) -> Plots:
        """Figures of this model, such as `run.plot.latent()` and `run.plot.samples()`: see `Plots`.

        >>> run = vaelab.load("outputs/example")
        >>> run.plot.samples().savefig("samples.png")
        """
        from vaelab.training.plots import Plots

        return Plots(self)

    @property
    def moment(self) -> str:
        """Checkpoint and epoch in words, such as `best, epoch 12`."""
        return f"{self.checkpoint.stem}, epoch {self.epoch}"

    def sample(
        self, count: int = 64, seed: int = 0, sigma: float = 1.0, labels: Labels | None = None
    ) -> Tensor:
        """Decode draws from the prior: expected images E[x|z], shape (count, C, H, W), float32, in [0, 1].

        Args:
            count: number of images, 1 to 100,000; a larger count returns the same first images.
            seed: seed of the random stream; the same seed draws the same images.
            sigma: standard deviation of the draws, 1 for the prior itself; dimensionless.
            labels: for a class-conditional run, a class or one for each image; None draws them from p(y).

        Raises ConfigError for a value outside its range, and VaelabError for labels that the run doesn't
        have.
        """
        resolve({"run": "this", "format": "npz", "count": count, "seed": seed, "sigma": sigma}, SampleConfig)
        drawn, needed = self.label_draws(seed), math.ceil(count / AT_ONCE)
        if labels is not None:
            place_N = torch.arange(needed * AT_ONCE).clamp(max=count - 1)
            drawn = iter(self.class_numbers(labels, count)[place_N].split(AT_ONCE))
        batches = islice(zip(self.prior_draws(seed, sigma), drawn, strict=False), needed)
        return torch.cat([self.decoded(z_BL, labels_B) for z_BL, labels_B in batches])[:count]

    def label_draws(self, seed: int) -> Iterator[Tensor]:
        """An endless stream of labels drawn from p(y), (64,) each; all 0 if not class-conditional."""
        noise = stream(seed, "labels of a sample")
        while True:
            yield self.model.draw_labels(AT_ONCE, noise)

    def prior_draws(self, seed: int, sigma: float = 1.0) -> Iterator[Tensor]:
        """An endless stream of draws from the prior, (64, L) each.

        The batch size is fixed, because the random numbers depend on how many are drawn at once, and the last
        bits of an image on how many are decoded at once.
        """
        noise = stream(seed, "sample")
        while True:
            yield sigma * torch.randn(AT_ONCE, self.model.latent_dim, generator=noise)

    def class_numbers(self, labels: Labels | None, count: int, setting: str = "labels") -> Tensor:
        """The class number of each of `count` images, shape (count,), int64; all 0 if not class-conditional.

        `labels` is one class for all images, or a list with one for each: names, or numbers as in the labels
        of the data set. Raises VaelabError, which begins with `setting`, for classes that the run was not
        trained on, for another number of them than `count` or 1, and for labels that are missing or not
        needed.
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
            trained, without = (", ".join(names[each] for each in some) for some in (known, unknown))
            advice = f"Give a class that it was trained on: {trained}."
            raise VaelabError(f"{setting}: the run was not trained on {without}. {advice}")
        if len(numbers) not in (1, count):
            raise VaelabError(
                f"{setting}: {len(numbers)} classes for {counted(count, 'image')}: give one for all images, "
                "or one per image."
            )
        return torch.tensor(numbers).expand(count)

    def encode(self, images: Tensor | NDArray[np.generic], labels: Labels | None = None) -> Gaussian:
        """The posterior q(z|x) of images: `.mean` and `.log_variance`, shape (N, L) each.

        `images` are as `as_images` takes them. A class-conditional run needs `labels`, a class for all images
        or one for each, here and in the methods below. Raises VaelabError for other images or labels.
        """
        x_NCHW = self.as_images(images)
        return self.encoded(x_NCHW, self.class_numbers(labels, len(x_NCHW)))

    def encoded(self, x_NCHW: Tensor, numbers_N: Tensor | None) -> Gaussian:
        """`encode` without checks, for images (N, C, H, W) in [0, 1] and class numbers (N,)."""
        model = self.model.given(numbers_N)
        with evaluating(model):
            return model.encode(x_NCHW)

    def decode(self, z: Tensor | NDArray[np.floating], labels: Labels | None = None) -> Tensor:
        """Expected images E[x|z] of latents of shape (N, L) or (L,): shape (N, C, H, W), in [0, 1].

        `labels` as for `encode`. Raises VaelabError for latents of another shape, and for wrong labels.

        >>> import numpy as np
        >>> vaelab.load("outputs/example").decode(np.zeros((4, 2))).shape
        torch.Size([4, 1, 28, 28])
        """
        z_NL, latents = torch.atleast_2d(as_tensor(z).float()), self.model.latent_dim
        if z_NL.ndim != 2 or z_NL.shape[1] != latents:
            raise VaelabError(
                f"Latents must have the shape (N, {latents}) in this run, got {tuple(z_NL.shape)}."
            )
        return self.decoded(z_NL, self.class_numbers(labels, len(z_NL)))

    def decoded(self, z_NL: Tensor, numbers_N: Tensor | None) -> Tensor:
        """`decode` without checks, for latents (N, L) and class numbers (N,)."""
        model = self.model.given(numbers_N)
        with evaluating(model):
            return self.objective.likelihood.mean(model.decode(z_NL))

    def reconstruct(self, images: Tensor | NDArray[np.generic], labels: Labels | None = None) -> Tensor:
        """Images decoded from the posterior means of `images`: shape (N, C, H, W), in [0, 1].

        `images` and `labels` as for `encode`, with the same errors.
        """
        return self.decode(self.encode(images, labels).mean, labels)

    def interpolate(
        self, start: Tensor | NDArray[np.generic], end: Tensor | NDArray[np.generic], steps: int = 10,
        path: str = "linear", labels: Labels | None = None,
    ) -> Tensor:  # fmt: skip
        """Decode equally spaced points between the posterior means of two images: shape (steps, C, H, W).

        Args:
            start, end: one image each, as `as_images` takes them.
            steps: number of images, both ends included; at least 2.
            path: "linear", or "spherical" for a great circle (White 2016).
            labels: for a class-conditional run, one class or two; all images are decoded with the first.

        Raises VaelabError for several images at an end, and for wrong images, labels, steps or path.
        """
        numbers_2 = self.class_numbers(labels, 2)
        x_2CHW = torch.cat([self.as_images(image) for image in (start, end)])
        if len(x_2CHW) != 2:
            raise VaelabError("An interpolation needs two images: give one as start and one as end.")
        start_L, end_L = self.encoded(x_2CHW, numbers_2).mean
        z_SL = between(start_L, end_L, steps, path)
        return self.decoded(z_SL, numbers_2[0].expand(len(z_SL)))

    def as_images(self, images: Tensor | NDArray[np.generic]) -> Tensor:
        """Floats in [0, 1] of shape (N, C, H, W) from an array or tensor of images.

        Grey images may also have the shape (N, H, W) or (H, W), and a colour image (C, H, W). uint8 values
        are divided by 255. Raises VaelabError for other shapes, and for values out of range.

        >>> import numpy as np
        >>> vaelab.load("outputs/example").as_images(np.full((5, 28, 28), 255, np.uint8)).mean()
        tensor(1.)
        """
        x = as_tensor(images)
        x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
        shape = self.model.image_shape
        channels = x.shape[-3] if x.ndim == 4 or (x.ndim == 3 and shape[0] > 1) else 1
        if x.shape[-2:] != shape[1:] or x.ndim not in (2, 3, 4) or channels != shape[0]:
            wanted = ", ".join(map(str, shape))
            raise VaelabError(f"Images must have the shape (N, {wanted}), got {tuple(x.shape)}.")
        if x.numel() and not (x.min() >= 0 and x.max() <= 1):
            raise VaelabError(
                "Images must be floats from 0 to 1 or uint8 from 0 to 255, but these are out of range."
            )
        return x.reshape(-1, *shape)


def as_tensor(values: Tensor | NDArray[np.generic]) -> Tensor:
    """A tensor as it is, and a copy of anything else: PyTorch warns about arrays that are not writeable."""
    return values if isinstance(values, Tensor) else torch.as_tensor(np.array(values))


def load(path: Path | str, which: str | None = None) -> Run:
    """Open a run at one of its checkpoints. It needs neither the data nor a GPU.

    Args:
        path: a run folder, for its best checkpoint; a checkpoint; or FOLDER/last, FOLDER/epoch_0005.
        which: the name of another checkpoint in the run folder: "last", "epoch_0005".

    Returns:
        The run, with its model on the CPU in eval mode.

    Raises:
        RunFolderError: there is no run or no such checkpoint at the path.
        CheckpointError: the file is damaged, is not a checkpoint, or needs a newer version of vaelab. Both
            are VaelabErrors, with a message that says what to give instead.

    >>> vaelab.load("outputs/example", which="last").epoch
    1
    """
    path = existing(path)
    if which is not None:
        if path.is_file():
            raise RunFolderError(f"{path} is itself a checkpoint: give which={which} with a run folder.")
        path = existing(path / which)
    folder = None if path.is_file() else RunFolder.holding(path)
    path = path if folder is None else folder.best_checkpoint
    saved = checkpoint.load(path)
    last = saved if folder is None else newest(folder, path)
    model, objective = checkpoint.model_of(saved)
    config, facts = checkpoint.config_of(saved), checkpoint.known_data(saved.data).model_dump()
    metrics, best = Rows(last.history, conditional=config.conditional), last.best_epoch
    return Run(config, metrics, model, objective, saved.epoch, path, saved.sha256, facts, best)


def newest(folder: RunFolder, other: Path) -> checkpoint.Checkpoint:
    """The last checkpoint of a folder, whose history has all epochs, or `other` if that can't be read."""
    with suppress(checkpoint.CheckpointError, OSError):
        return checkpoint.load(folder.last_checkpoint)
    return checkpoint.load(other)


class OtherImages(ConfigError):
    """The images that were found are not those of the run."""


def load_data(run: Run, config: EvaluationConfig) -> tuple[Data, DatasetConfig]:
    """The images of a run, or those that `config` names instead, and the settings that they were loaded with.

    Warns if they are not the images that the run was trained on. Raises OtherImages, ConfigError or DataError
    if they can't be used.
    """
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
        if isinstance(data.spec, UnpublishedSpec):
            raise ConfigError(
                f"The images in {data.origin.folder} are not those that the run was trained on, so some of "
                "its training images could be among the test images: type dataset.root=FOLDER with the "
                "original files."
            )
        trained = "the embedded subset" if data.origin.complete else "the full set"
        if config.split != "test":
            raise OtherImages(
                f"split={config.split} of {data.description} has different images from those of the run, "
                f"which was trained on {trained}: type split=test."
            )
        log.warning("The run was trained on %s and is evaluated on %s.", trained, data.description)
    return data, wanted
