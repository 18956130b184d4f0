"""Scoring a whole split: the terms of the objective, as training computes them for the validation images.

Shapes: N images, B batch, C channels, H height, W width, L latent dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vaelab.config import Config
from vaelab.data.splits import Split
from vaelab.models import VAE, Gaussian, evaluating
from vaelab.objectives import Objective, Terms
from vaelab.runs.environment import doubled
from vaelab.runs.random_streams import stream

BATCH = 1000  # images per batch when scoring; a constant, because the order of random numbers depends on it


@dataclass(frozen=True, slots=True)
class Bound:
    """The terms of each image of a split, and its posterior."""

    terms: Terms  # (N,) each, nats, float64
    posterior: Gaussian  # (N, L), float64

    def averages(self) -> dict[str, float]:
        """reconstruction, kl and neg_elbo in nats, and the objective's parts, averaged over images."""
        reconstruction, kl = self.terms.reconstruction.mean().item(), self.terms.kl.mean().item()
        parts = {name: part.mean().item() for name, part in self.terms.parts.items()}
        return {"reconstruction": reconstruction, "kl": kl, "neg_elbo": reconstruction + kl, **parts}


def scored_images(split: Split, seed: int) -> Iterator[Tensor]:
    """All images of a split in batches (B, C, H, W), binarised with the same noise at each call."""
    noise = stream(seed, "pixels of a scored split", device=split.images.device)
    for start in range(0, len(split), BATCH):
        yield split.batch(slice(start, start + BATCH), noise)


def scoring_batch(objective: Objective, config: Config) -> int:
    """Images to score at once: if a loss depends on its whole batch, the training batch size."""
    return min(config.batch_size, BATCH) if objective.needs_whole_batches else BATCH


def bound(
    model: VAE, objective: Objective, split: Split, seed: int, kl_weight: float = 1.0, batch: int = BATCH
) -> Bound:
    """Score every image of a split once, with `objective.samples` posterior samples each, always in float32.

    The noise comes from a stream of its own, which starts anew at each call, so the same weights give the
    same numbers during training and afterwards. Only the loss depends on `kl_weight`. The model's mode, train
    or eval, is unchanged. An objective with several samples per image has smaller batches, so that memory
    doesn't grow with their number.
    """
    if not objective.needs_whole_batches:
        batch = min(batch, max(1, BATCH // objective.samples))
    latent_noise = stream(seed, "latent of a scored split", device=split.images.device)
    parts = []
    images = (part for whole in scored_images(split, seed) for part in whole.split(batch))
    labels = (part for whole in split.labels.split(BATCH) for part in whole.split(batch))
    with evaluating(model):
        for x_BCHW, labels_B in zip(images, labels, strict=True):
            given = model.given(labels_B)
            terms = objective(given, x_BCHW, latent_noise, kl_weight)
            posterior = given.encode(x_BCHW)
            found = (posterior.mean, posterior.log_variance, terms.loss, terms.reconstruction, terms.kl)
            parts.append((*found, *(terms.parts[name] for name in objective.parts)))
    whole = [doubled(torch.cat(part)) for part in zip(*parts, strict=True)]
    mean, log_variance, loss, reconstruction, kl, *more = whole
    of_objective = dict(zip(objective.parts, more, strict=True))
    return Bound(Terms(loss, reconstruction, kl, of_objective), Gaussian(mean, log_variance))
