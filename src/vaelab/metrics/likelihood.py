"""The bound on a whole split: training scores its held-out images with it, and so does an evaluation.

Shapes: N images, B batch, L latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vaelab.data.splits import Split
from vaelab.loss import ElboTerms, Objective
from vaelab.models import VAE, Gaussian, evaluating
from vaelab.randomness import stream

BATCH = 1000
"""Images a batch when nothing is learned. A constant: it is part of the noise stream's order."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The terms of each image of a split, and where its posterior lies."""

    terms: ElboTerms  # (N,) each, nats, float64
    posterior: Gaussian  # (N, L), float64

    def averages(self) -> dict[str, float]:
        """reconstruction, kl and neg_elbo in nats per image, averaged over images."""
        reconstruction = self.terms.reconstruction.mean().item()
        kl = self.terms.kl.mean().item()
        return {"reconstruction": reconstruction, "kl": kl, "neg_elbo": reconstruction + kl}


def bound(model: VAE, objective: Objective, split: Split, seed: int) -> Bound:
    """Score every image of a split once, with one posterior sample each, always in fp32.

    The noise is a stream of its own that starts anew at each call: the same weights give the same numbers,
    in training and afterwards. The model comes back in the mode (train or eval) it came in.
    """
    device = split.images.device
    latent_noise = stream(seed, "latent of a scored split", device=device)
    pixel_noise = stream(seed, "pixels of a scored split", device=device)
    parts = []
    with evaluating(model):
        for start in range(0, len(split), BATCH):
            x_BCHW = split.batch(slice(start, start + BATCH), pixel_noise)
            logits_BCHW, posterior = model(x_BCHW, latent_noise)
            terms = objective.terms(x_BCHW, logits_BCHW, posterior)
            parts.append((terms.reconstruction, terms.kl, posterior.mean, posterior.log_variance))
    reconstruction, kl, mean, log_variance = (torch.cat(part).double() for part in zip(*parts, strict=True))
    return Bound(ElboTerms(reconstruction, kl), Gaussian(mean, log_variance))
