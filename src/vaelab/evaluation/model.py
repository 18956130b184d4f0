"""What is evaluated: a trained model with a split of images, and what several sections need of them.

Shapes: N images, L latent dimensions, C channels, H height, W width, Z points of the latent space.
"""

import copy
import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vaelab.config import DatasetConfig, EvaluationConfig
from vaelab.data import splits
from vaelab.data.splits import Data, Split
from vaelab.evaluation.numbers import Basis, CannotMeasure
from vaelab.evaluation.sections import MEASURES_VERSION
from vaelab.metrics.generation import Mixture, fitted_mixture, mixture_draws
from vaelab.metrics.images import PAIRED, diversity
from vaelab.metrics.latent import uncovered
from vaelab.metrics.resampling import Score, share_score
from vaelab.models import Gaussian
from vaelab.objectives.scoring import Bound, bound, scored_images, scoring_batch
from vaelab.runs.files import StorageError, write_bytes, writing
from vaelab.runs.random_streams import stream
from vaelab.training.examples import ExampleImages
from vaelab.training.run import Run

Progress = Callable[[str], None]
"""Called with the progress of a section."""

MOST_IMAGES = 10_000
"""Largest number of images, the first of the split, for samples, features and distances between all pairs."""


COVERED = 0.95  # share of q(z|x) inside the ellipsoid that an image covers
COVERAGE_POINTS = 1000
HOLES_REACH = 4.0  # standard deviations of the prior that a map of holes shows in each direction
FROZEN_SIGMAS = (0.1, 0.5, 1.0)
BASELINE = "posterior samples"


@dataclass(eq=False, repr=False)
class EvaluatedModel:
    """A model with the split that it is evaluated on. Results are computed once, on first use.

    They are computed on the device of the data; images are floats in [0, 1].
    """

    run: Run
    config: EvaluationConfig
    data: Data
    source: DatasetConfig  # what `data` was loaded by: the run's settings, or what replaces them
    of_images: dict[Any, Any]  # depends on the images alone, for several models of the same data and split

    def __post_init__(self) -> None:
        run, config, data = self.run, self.config, self.data
        self.split = data.split(config.split)
        self.other_split = data.test if config.split == "train" else data.train
        self.count = min(len(self.split), len(self.other_split), MOST_IMAGES)
        self.device = self.split.images.device
        self.seed = run.config.seed if config.seed is None else config.seed
        self.numpy_seed = self.seed % 2**32  # NumPy and scikit-learn take 32 bits
        model, objective = copy.deepcopy((run.model, run.objective))  # the run keeps its own on the CPU
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # as in training
        self.objective = objective.to(self.device)
        self.examples = ExampleImages(
            run.config, data, self.split, self.model, self.objective, self.seed, run.moment
        )

    def basis(self, images: int, draws: int | None = None, kind_of_draws: str | None = None) -> Basis:
        """What a number was measured on: so many images of the split, and so many draws with the seed."""
        return Basis(self.split.name, images, self.seed, draws, kind_of_draws)

    @property
    def per_image(self) -> tuple[int, str]:
        """How many samples of z the reconstruction term of an image is averaged over."""
        samples = self.objective.samples
        return samples, f"posterior sample{'s' if samples > 1 else ''} per image"

    def once(self, name: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Results that depend on the images alone, computed once and cached in the user's cache folder."""
        data, split = self.data, self.split.name
        facts = (
            MEASURES_VERSION, name, sorted(data.origin.sha256.items()), sorted(data.classes), data.binarize,
            self.source.val_size, split, self.count, self.seed if self.split.dynamic else None,
        )  # fmt: skip
        digest = hashlib.sha256(repr(facts).encode()).hexdigest()
        if digest not in self.of_images:
            path = user_cache_path("vaelab") / "measures" / f"{digest}.safetensors"
            self.of_images[digest] = read_cached(path) or write_cached(path, compute())
        return {name: tensor.to(self.device) for name, tensor in self.of_images[digest].items()}

    def notation(self, text: str) -> str:
        """p(x|z) and q(z|x) in a text as they are of this model."""
        return self.run.config.notation(text)

    @property
    def pixels(self) -> str:
        """What the encoder saw: grey, colour or binary pixels."""
        return kind_of_pixels({"binarize": self.data.binarize, "image_shape": self.data.spec.image_shape})

    @property
    def values(self) -> str:
        """What the pixels of real and decoded images hold."""
        return "Grey values" if self.data.spec.image_shape[0] == 1 else "Red, green and blue"

    @property
    def is_probability(self) -> bool:
        """Whether p(x|z) is a probability of the pixels: not of grey ones under a Bernoulli likelihood."""
        return self.data.binarize != "none" and not self.objective.likelihood.is_density

    @cached_property
    def images(self) -> Tensor:
        """The split's images as the bound scores them, binarised where the run's are, shape (N, C, H, W)."""
        return torch.cat(list(scored_images(self.split, self.seed)))

    @cached_property
    def bound(self) -> Bound:
        """Reconstruction, KL and posterior of every image of the split."""
        batch = scoring_batch(self.objective, self.run.config)
        return bound(self.model, self.objective, self.split, self.seed, batch=batch)

    @cached_property
    def posterior(self) -> Gaussian:
        """q(z|x) of the first images of the split, at most 10,000, (N, L) each."""
        return first_images(self.bound.posterior)

    @cached_property
    def kl_of_dimensions(self) -> Tensor:
        """The KL of each latent dimension, averaged over those images, shape (L,), in nats, on the CPU."""
        return self.posterior.kl_per_dimension().mean(dim=0).cpu()

    @cached_property
    def posterior_samples(self) -> Tensor:
        """One sample of each of those, shape (N, L)."""
        noise = stream(self.seed, "posterior samples of an evaluation", device=self.device)
        return self.posterior.sample(noise).double()

    def train_images(self) -> Tensor:
        """All training images as the model sees them, shape (N, C, H, W): 170 MB, and not kept."""
        return torch.cat(list(scored_images(self.data.train, self.seed)))

    @cached_property
    def train_posterior(self) -> Gaussian:
        """q(z|x) of all training images, (N, L) each."""
        return self.examples.train_posterior()

    @cached_property
    def prior_not_covered(self) -> Score:
        """Share of prior draws outside the 95 % ellipsoid of every training image's posterior."""
        noise = stream(self.seed, "prior draws for coverage", device=self.device)
        shape = (COVERAGE_POINTS, self.model.latent_dim)
        z_ZL = torch.randn(shape, generator=noise, device=self.device, dtype=torch.float64)
        return share_score(uncovered(self.train_posterior, z_ZL, COVERED))

    @cached_property
    def grey_data(self) -> Data:
        """The data without binarisation: decoders give expected images, not 0/1 pixels."""
        if self.data.binarize == "none":
            return self.data
        if "grey" not in self.of_images:
            self.of_images["grey"] = splits.load(self.source, self.device, grey=True)
        found: Data = self.of_images["grey"]
        return found

    def real(self, split: Split) -> Tensor:
        """The first `count` images of a split, not binarised: shape (count, C, H, W), as all images below."""
        grey = self.grey_data.split(split.name)
        return grey.batch(slice(0, self.count), stream(0, "none is drawn", device=self.device))

    @cached_property
    def real_images(self) -> Tensor:
        """The first `count` images of the split that is evaluated, not binarised."""
        return self.real(self.split)

    @cached_property
    def reconstructions(self) -> Tensor:
        """Decoded from posterior means."""
        return self.decoded(self.posterior.mean[: self.count], self.split.labels[: self.count])

    @cached_property
    def prior_draws(self) -> Tensor:
        """`count` draws from N(0, I), shape (count, L)."""
        noise = stream(self.seed, "prior draws of an evaluation", device=self.device)
        return torch.randn(self.count, self.model.latent_dim, generator=noise, device=self.device)

    @cached_property
    def labels_drawn(self) -> Tensor:
        """The labels with which all samples are decoded, drawn from p(y) if class-conditional."""
        noise = stream(self.seed, "labels of an evaluation", device=self.device)
        return self.model.draw_labels(self.count, noise)

    @property
    def log_class_prior(self) -> Tensor:
        """log p(y) of each image of the split, shape (N,), in nats; 0 where no class is given."""
        if not self.model.classes:
            return torch.zeros(len(self.split), dtype=torch.float64, device=self.device)
        of_class_NY = self.split.labels[:, None] == self.model.class_numbers
        return (of_class_NY * self.model.class_prior.double()).sum(dim=1).log()

    @cached_property
    def prior_samples(self) -> Tensor:
        """Expected images of `prior_draws`."""
        return self.decoded(self.prior_draws, self.labels_drawn)

    @cached_property
    def frozen_latents(self) -> dict[str, tuple[Tensor, Score]]:
        """At most 2,000 images each, with their diversity: the baseline, then with frozen latent parameters.

        The baseline is decoded from one sample of q(z|x) per image; the others from z = σ·ε (μ = 0), with the
        same ε, so that those with σ = 1 are the first prior samples.
        """
        count = min(self.count, PAIRED)
        if count < 2:
            raise CannotMeasure("requires at least two images")
        latents = {BASELINE: self.posterior_samples[:count]}
        latents |= {f"σ = {sigma:g}": sigma * self.prior_draws[:count] for sigma in FROZEN_SIGMAS}
        images = {
            name: self.decoded(z_NL, (self.split.labels if name == BASELINE else self.labels_drawn)[:count])
            for name, z_NL in latents.items()
        }
        return {name: (x_N1HW, diversity(x_N1HW)) for name, x_N1HW in images.items()}

    @cached_property
    def mixture(self) -> Mixture:
        """A mixture fitted to one posterior sample of each of the first `fitted` training images."""
        noise = stream(self.seed, "latents of the mixture", device=self.device)
        z_NL = first_images(self.train_posterior).sample(noise)
        return fitted_mixture(z_NL.double().cpu().numpy(), self.numpy_seed)

    @property
    def fitted(self) -> int:
        """Number of training images whose posterior samples the mixture is fitted to."""
        return min(len(self.data.train), MOST_IMAGES)

    @cached_property
    def mixture_samples(self) -> Tensor:
        """Expected images of `count` draws from the fitted mixture."""
        draws = mixture_draws(self.mixture, self.count, self.numpy_seed)
        return self.decoded(torch.from_numpy(draws).to(self.device), self.labels_drawn)

    def decoded(self, z_NL: Tensor, labels_N: Tensor) -> Tensor:
        """Expected images of latents, of the given classes if class-conditional."""
        return self.examples.decoded_images(z_NL, labels_N)


def kind_of_pixels(data: Mapping[str, Any]) -> str:
    """`grey`, `colour` or `binary`, from what run.json says of the data."""
    if data["binarize"] != "none":
        return "binary"
    return "colour" if data.get("image_shape", [1])[0] == 3 else "grey"  # older runs' images were grey


def read_cached(path: Path) -> dict[str, Tensor]:
    """Tensors cached by an earlier evaluation; empty if there is no such file, or it is damaged."""
    with suppress(OSError, SafetensorError):
        return load(path.read_bytes())
    return {}


def write_cached(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Cache tensors and return them on the CPU. If writing fails, only the cache is lost."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with suppress(StorageError), writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save(tensors))
    return tensors


def first_images(posterior: Gaussian) -> Gaussian:
    return Gaussian(posterior.mean[:MOST_IMAGES], posterior.log_variance[:MOST_IMAGES])
