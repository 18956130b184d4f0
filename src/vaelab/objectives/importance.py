"""The importance-weighted bound on −log p(x), with proposals that are wide enough.

Shapes: N images, B images of a batch, K importance samples, J components of the proposal, P kinds of weights
(2 where the likelihood has a `log_mass`, else 1), C channels, H height, W width, L latent dimensions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaelab.models import VAE, Gaussian, evaluating
from vaelab.objectives import Objective
from vaelab.runs.random_streams import stream

DRAWS_AT_ONCE, IMAGES_AT_ONCE = 50, 20
"""A batch has at most 50 × 20 = 1,000 latents, which bounds the memory for any K. Noise is always drawn for a
full batch, so that the first draws don't depend on K or on the number of images."""

DECODED_AT_ONCE = 250
"""Latents that are decoded together: the activations of more would not fit a CPU's cache."""

Proposal = Sequence[float]
"""r(z|x), a mixture of Gaussians around the mean of q(z|x), with weights as equal as K allows.

Component t has the standard deviation σ^(1 − t): t = 0 is q(z|x) itself, t = 1 has that of the prior."""

POSTERIOR: Proposal = (0.0,)
DEFENSIVE: Proposal = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class ImportanceWeighted:
    """Importance-weighted estimates for each of N images."""

    nll: Tensor  # (N,) nats, float64: an upper bound on −log p(x) on average over the samples
    effective_samples: Tensor  # (N,) (Σw)² / Σw², 1 to K (Kish 1965)
    nll_8bit: Tensor | None  # (N,) nats: the same for P(8-bit values), where p(x|z) is a density


def importance_weighted_bound(
    model: VAE,
    objective: Objective,
    x_NCHW: Tensor,
    importance_samples: int,
    seed: int,
    proposal: Proposal = POSTERIOR,
    done: Callable[[int], object] = lambda images: None,
    labels_N: Tensor | None = None,
) -> ImportanceWeighted:
    """An upper bound on −log p(x) of each image, in nats, that tightens with K = `importance_samples`.

    Burda et al. (2016), equation 8: −log of the mean of K weights p(x, z) / r(z|x) with z ~ r(z|x). For K = 1
    and r = q it is the negative ELBO with a single-sample estimate of the KL. Where q is much narrower than
    p(z|x), as after training without KL, samples of q miss nearly all of p(x); a defensive mixture
    (Hesterberg 1995) also draws from wider Gaussians.

    Args:
        x_NCHW: images in [0, 1], binarised if the model was trained on binarised ones.
        seed: start of the random stream of the samples.
        proposal: the components of r(z|x), `POSTERIOR` or `DEFENSIVE`.
        done: called with the number of images after each batch.
        labels_N: the class of each image, which a class-conditional model needs: the bound is then on
            −log p(x|y).
    """
    parts = []
    with evaluating(model):
        for group, x_BCHW in enumerate(x_NCHW.split(IMAGES_AT_ONCE)):
            noise = stream(seed, "importance samples", group, x_BCHW.device)
            labels_B = None if labels_N is None else labels_N[group * IMAGES_AT_ONCE :][: len(x_BCHW)]
            posterior = model.given(labels_B).encode(x_BCHW)
            log_weights = []
            for first in range(0, importance_samples, DRAWS_AT_ONCE):
                shape = (DRAWS_AT_ONCE, IMAGES_AT_ONCE, model.latent_dim)
                eps_KBL = torch.randn(shape, generator=noise, device=x_BCHW.device)
                eps_KBL = eps_KBL[: importance_samples - first, : len(x_BCHW)]
                log_weights.append(
                    log_importance_weights(model, objective, x_BCHW, posterior, eps_KBL, proposal, labels_B)
                )
            log_weight_PKB = torch.cat(log_weights, dim=1)
            parts.append(estimates(log_weight_PKB))
            done(len(x_BCHW))
    nll, effective, *nll_8bit = (torch.cat(part) for part in zip(*parts, strict=True))
    return ImportanceWeighted(nll, effective, nll_8bit[0] if nll_8bit else None)


def estimates(log_weight_PKB: Tensor) -> list[Tensor]:
    """nll, effective sample size and, if there are two kinds of weights, nll_8bit, shape (B,) each."""
    log_sum_PB = log_weight_PKB.logsumexp(dim=1)
    log_squares_B = (2 * log_weight_PKB[0]).logsumexp(dim=0)
    nll_PB = math.log(log_weight_PKB.shape[1]) - log_sum_PB
    return [nll_PB[0], (2 * log_sum_PB[0] - log_squares_B).exp(), *nll_PB[1:]]


def log_importance_weights(
    model: VAE,
    objective: Objective,
    x_BCHW: Tensor,
    posterior: Gaussian,
    eps_KBL: Tensor,
    proposal: Proposal = POSTERIOR,
    labels_B: Tensor | None = None,
) -> Tensor:
    """log p(x|z) + log p(z) − log r(z|x) of K samples from r for each image, shape (1, K, B), float64.

    If the likelihood has a `log_mass`, also log P(8-bit values | z) + log p(z) − log r(z|x): shape (2, K, B).
    Sample k is drawn from component k modulo J, and each component's weight in r is its share of the samples.
    """
    draws, likelihood = len(eps_KBL), objective.likelihood
    t_J = torch.tensor(proposal, dtype=torch.float64, device=x_BCHW.device)
    log_sigma_JBL = 0.5 * posterior.log_variance.double() * (1 - t_J)[:, None, None]
    component_K = torch.arange(draws) % len(proposal)
    log_sigma_KBL = log_sigma_JBL[component_K]
    offset_KBL = log_sigma_KBL.exp() * eps_KBL
    z_KBL = posterior.mean + offset_KBL
    log_probs = []
    x_KB = x_BCHW.expand(draws, *x_BCHW.shape).flatten(0, 1)
    z_KB = z_KBL.flatten(0, 1).float()
    labels_KB = None if labels_B is None else labels_B.repeat(draws)
    for start in range(0, len(z_KB), DECODED_AT_ONCE):
        index = slice(start, start + DECODED_AT_ONCE)
        x, given = x_KB[index], model.given(None if labels_KB is None else labels_KB[index])
        parameters = given.decode(z_KB[index])
        log_mass_B = likelihood.log_mass(parameters, x)
        terms = [likelihood.log_prob(parameters, x), *([] if log_mass_B is None else [log_mass_B])]
        log_probs.append(torch.stack(terms))
    log_prob_PKB = torch.cat(log_probs, dim=1).unflatten(1, (draws, -1)).double()
    # log p(z) and log r(z|x), both without the L/2 · log 2π that cancels.
    log_prior_KB = -0.5 * z_KBL.square().sum(dim=2)
    log_component_JKB = torch.stack(
        [-(0.5 * (offset_KBL / sigma_BL.exp()).square() + sigma_BL).sum(dim=2) for sigma_BL in log_sigma_JBL]
    )
    # Each component's share of the samples; 0 for some if there are fewer samples than components.
    share_J = component_K.bincount(minlength=len(proposal)).double().to(x_BCHW.device) / draws
    log_proposal_KB = (log_component_JKB + share_J.log()[:, None, None]).logsumexp(dim=0)
    return log_prob_PKB + log_prior_KB - log_proposal_KB
