"""What is evaluated: a trained model with a split of images, and what several sections need of them.

Shapes: N images, L latent dimensions, D features, H height, W width.
"""

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from vaelab.config import DatasetConfig, EvaluationConfig
from vaelab.data import splits
from vaelab.data.splits import Data, Split
from vaelab.evaluation.numbers import Basis
from vaelab.metrics.generation import FeatureNetwork, feature_network, mixture_draws
from vaelab.models import Gaussian
from vaelab.objectives.scoring import Bound, bound, scored_images
from vaelab.runs.random_streams import stream
from vaelab.training.examples import ExampleImages
from vaelab.training.run import Run

Result = TypeVar("Result")

Progress = Callable[[str], None]
"""Is told how far a section has come."""

MOST_IMAGES = 10_000
"""Images that samples, features and distances between all pairs are taken of: the first ones of the split."""


class EvaluatedModel:
    """All is computed once, on first use, on the device of the data; images are floats in [0, 1]."""

    def __init__(
        self,
        run: Run,
        data: Data,
        source: DatasetConfig,
        config: EvaluationConfig,
        of_images: dict[tuple[object, ...], Any] | None = None,
    ) -> None:
        """`source` is the configuration that `data` was loaded by: the run's, or what replaces it.

        `of_images` keeps what depends on the images alone, for several models of the same `data`.
        """
        self.of_images = {} if of_images is None else of_images
        self.run = run
        self.config = config
        self.data = data
        self.source = source
        self.split = data.split(config.split)
        self.seed = run.config.seed if config.seed is None else config.seed
        self.device = self.split.images.device
        self.model = run.model.to(self.device)
        self.objective = run.objective.to(self.device)
        self.examples = ExampleImages(run.config, data, self.split, self.model, self.objective, self.seed)
        self.other_split = data.test if self.split.name == "train" else data.train
        self.count = min(len(self.split), len(self.other_split), MOST_IMAGES)

    def basis(self, images: int, draws: int | None = None, kind_of_draws: str | None = None) -> Basis:
        return Basis(self.split.name, images, self.seed, draws, kind_of_draws)

    def once(self, *key: object, compute: Callable[[], Result]) -> Result:
        """What depends on the images alone, computed for the first of several models."""
        whole = (*key, self.split.name, self.count, self.seed if self.split.dynamic else None)
        if whole not in self.of_images:
            self.of_images[whole] = compute()
        result: Result = self.of_images[whole]
        return result

    @cached_property
    def checkpoint_sha256(self) -> str:
        """Of the checkpoint's file."""
        return hashlib.sha256(self.run.checkpoint.read_bytes()).hexdigest()

    @property
    def numpy_seed(self) -> int:
        """The seed for scikit-learn and NumPy, which take 32 bits."""
        return self.seed % 2**32

    # --- the split as the model saw it --------------------------------------------------------------------

    @cached_property
    def images(self) -> Tensor:
        """The split's images as the bound scores them, binarised where the run's are, shape (N, 1, H, W)."""
        return torch.cat(list(scored_images(self.split, self.seed)))

    @cached_property
    def bound(self) -> Bound:
        return bound(self.model, self.objective, self.split, self.seed)

    @cached_property
    def posterior(self) -> Gaussian:
        """q(z|x) of the first images of the split, at most 10,000, (N, L) each."""
        whole = self.bound.posterior
        return Gaussian(whole.mean[:MOST_IMAGES], whole.log_variance[:MOST_IMAGES])

    @cached_property
    def kl_of_dimensions(self) -> Tensor:
        """The KL of each latent dimension, averaged over those images, shape (L,), in nats, on the CPU."""
        return self.posterior.kl_per_dimension().mean(dim=0).cpu()

    @cached_property
    def posterior_samples(self) -> Tensor:
        """One sample of each of those, shape (N, L)."""
        return self.posterior.sample(
            stream(self.seed, "posterior samples of an evaluation", device=self.device)
        ).double()

    @cached_property
    def train_images(self) -> Tensor:
        """All training images as the model sees them, shape (N, 1, H, W)."""
        return torch.cat(list(scored_images(self.data.train, self.seed)))

    @cached_property
    def train_posterior(self) -> Gaussian:
        return self.examples.posterior(self.train_images)

    # --- grey images to compare, `count` of each, shape (count, 1, H, W) ----------------------------------

    @cached_property
    def grey_data(self) -> Data:
        """The data with grey pixels: decoders give grey images, whatever they were trained on."""
        if self.data.binarize == "none":
            return self.data
        return splits.load(self.source.replace(binarize="none"), self.device)

    def real(self, split: Split) -> Tensor:
        grey = self.grey_data.split(split.name)
        return grey.batch(slice(0, self.count), stream(0, "none is drawn", device=self.device))

    @cached_property
    def real_images(self) -> Tensor:
        return self.real(self.split)

    @cached_property
    def reconstructions(self) -> Tensor:
        """Decoded from posterior means."""
        return self.decoded(self.posterior.mean[: self.count])

    @cached_property
    def prior_draws(self) -> Tensor:
        noise = stream(self.seed, "prior draws of an evaluation", device=self.device)
        return torch.randn(self.count, self.model.latent_dim, generator=noise, device=self.device)

    @cached_property
    def prior_samples(self) -> Tensor:
        return self.decoded(self.prior_draws)

    @property
    def mixture_images(self) -> int:
        """Training images that the mixture is fitted to: the first ones."""
        return min(len(self.data.train), MOST_IMAGES)

    @cached_property
    def mixture_samples(self) -> Tensor:
        """From a mixture of Gaussians that is fitted to one posterior sample each of training images."""
        whole = self.train_posterior
        posterior = Gaussian(whole.mean[: self.mixture_images], whole.log_variance[: self.mixture_images])
        z_NL = posterior.sample(stream(self.seed, "latents of the mixture", device=self.device))
        draws = mixture_draws(z_NL.double().cpu().numpy(), self.count, self.numpy_seed)
        return self.decoded(torch.from_numpy(draws).to(self.device))

    def decoded(self, z_NL: Tensor) -> Tensor:
        return torch.from_numpy(self.examples.decoded(z_NL)).unsqueeze(1).to(self.device)

    @cached_property
    def feature_network(self) -> FeatureNetwork:
        return feature_network(self.data.spec.name, self.device)
