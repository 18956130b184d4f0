"""The bound on a whole split, with which training scores its validation images; the importance-weighted one.

Shapes: N images, B batch, C channels, H height, W width, K importance samples, L latent dimensions.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vaelab.config import Config
from vaelab.data.splits import Split
from vaelab.models import VAE, Gaussian, evaluating
from vaelab.objectives import Objective, Terms
from vaelab.runs.random_streams import stream

BATCH = 1000  # images when nothing is learned; a constant: it is part of the noise stream's order


@dataclass(frozen=True, slots=True)
class Bound:
    """The terms of each image of a split, and where its posterior lies."""

    terms: Terms  # (N,) each, nats, float64
    posterior: Gaussian  # (N, L), float64

    def averages(self) -> dict[str, float]:
        """reconstruction, kl and neg_elbo in nats per image, averaged over images."""
        reconstruction, kl = self.terms.reconstruction.mean().item(), self.terms.kl.mean().item()
        return {"reconstruction": reconstruction, "kl": kl, "neg_elbo": reconstruction + kl}


def scored_images(split: Split, seed: int) -> Iterator[Tensor]:
    """All images of a split in batches (B, 1, H, W); where pixels are drawn, the same at each call."""
    noise = stream(seed, "pixels of a scored split", device=split.images.device)
    for start in range(0, len(split), BATCH):
        yield split.batch(slice(start, start + BATCH), noise)


def scoring_batch(config: Config) -> int:
    """Images to score at once: with free bits, which depend on a batch's mean, as many as were trained on."""
    return min(config.batch_size, BATCH) if config.loss.free_bits else BATCH


def bound(
    model: VAE, objective: Objective, split: Split, seed: int, kl_weight: float = 1.0, batch: int = BATCH
) -> Bound:
    """Score every image of a split once, with one posterior sample each, always in fp32.

    The noise is a stream of its own that starts anew at each call: the same weights give the same numbers,
    in training and afterwards; only the loss depends on `kl_weight`. The model keeps its mode, train or eval.
    """
    latent_noise = stream(seed, "latent of a scored split", device=split.images.device)
    parts = []
    with evaluating(model):
        for x_BCHW in (part for images in scored_images(split, seed) for part in images.split(batch)):
            terms = objective(model, x_BCHW, latent_noise, kl_weight)
            posterior = model.encode(x_BCHW)
            parts.append((terms.loss, terms.reconstruction, terms.kl, posterior.mean, posterior.log_variance))
    whole = [torch.cat(part).double() for part in zip(*parts, strict=True)]
    return Bound(Terms(*whole[:3]), Gaussian(*whole[3:]))


DRAWS_AT_ONCE, IMAGES_AT_ONCE = 50, 20
"""Latents per batch of the importance-weighted bound, 1,000: what bounds its memory, whatever K is. Noise is
always drawn for a whole batch, so that the first draws of a larger K or of more images are those of fewer."""


def importance_weighted_bound(
    model: VAE,
    objective: Objective,
    x_NCHW: Tensor,
    importance_samples: int,
    seed: int,
    done: Callable[[int], object] = lambda images: None,
) -> Tensor:
    """An upper bound on -log p(x) of each image that tightens with K = `importance_samples`, (N,), nats.

    Burda et al. (2016), equation 8: -log of the mean of K weights p(x, z) / q(z|x), z ~ q(z|x), summed in the
    log domain chunk by chunk. K = 1 is the negative ELBO with a sampled KL. `done` hears of finished images.
    """
    parts = []
    with evaluating(model):
        for group, x_BCHW in enumerate(x_NCHW.split(IMAGES_AT_ONCE)):
            noise = stream(seed, "importance samples", group, x_BCHW.device)
            posterior = model.encode(x_BCHW)
            log_sum_B = torch.full((len(x_BCHW),), -math.inf, dtype=torch.float64, device=x_BCHW.device)
            for first in range(0, importance_samples, DRAWS_AT_ONCE):
                shape = (DRAWS_AT_ONCE, IMAGES_AT_ONCE, model.latent_dim)
                eps = torch.randn(shape, generator=noise, device=x_BCHW.device)
                eps_KBL = eps[: importance_samples - first, : len(x_BCHW)]
                log_weight_KB = log_importance_weights(model, objective, x_BCHW, posterior, eps_KBL)
                log_sum_B = torch.logaddexp(log_sum_B, log_weight_KB.logsumexp(dim=0))
            parts.append(math.log(importance_samples) - log_sum_B)
            done(len(x_BCHW))
    return torch.cat(parts)


def log_importance_weights(
    model: VAE, objective: Objective, x_BCHW: Tensor, posterior: Gaussian, eps_KBL: Tensor
) -> Tensor:
    """log p(x|z) + log p(z) - log q(z|x) of K samples of q(z|x) for each image, shape (K, B), float64."""
    draws = len(eps_KBL)
    z_KBL = posterior.mean + (0.5 * posterior.log_variance).exp() * eps_KBL
    parameters = model.decode(z_KBL.flatten(0, 1))
    x_KB = x_BCHW.expand(draws, *x_BCHW.shape).flatten(0, 1)
    log_prob_KB = objective.likelihood.log_prob(parameters, x_KB).view(draws, -1).double()
    # log p(z) - log q(z|x): the two normalisers' log 2π cancel.
    log_ratio = eps_KBL.double().square() - z_KBL.double().square() + posterior.log_variance.double()
    return log_prob_KB + 0.5 * log_ratio.sum(dim=2)
