"""β-TCVAE: only the total correlation of the latent dimensions is weighted (Chen et al. 2018).

Shapes: B batch (of images, or of samples of their posteriors), C channels, H height, W width, L latent
dimensions.
"""

import math

import torch
from torch import Generator, Tensor

from vaelab.models import VAE, Gaussian
from vaelab.objectives import Likelihood, Objective, Terms, objectives


@objectives.register("beta_tcvae")
class BetaTCVAE(Objective):
    """reconstruction + I(x; z) + beta · TC(z) + Σ KL(q(z_l) ‖ p(z_l)) of each image (equation 4), in nats.

    The last three terms are estimated from one posterior sample per image of the batch. With beta = 1 they
    add up to a single-sample estimate of the KL, so that the loss is the negative ELBO in expectation. A
    warm-up scales all three.
    """

    parts = ("mutual_information", "total_correlation", "dimension_wise_kl")
    needs_whole_batches = True

    def __init__(self, likelihood: Likelihood, beta: float) -> None:
        super().__init__(likelihood)
        self.beta = beta

    def formula(self, weight: str) -> str:
        if not self.beta:
            return "reconstruction"
        terms = f"I(x; z) + {self.beta:g} · TC(z) + Σ KL(q(zₗ) ‖ p(zₗ))"
        return f"reconstruction + {terms if weight == f'{self.beta:g}' else f'(0 to 1) · ({terms})'}"

    def forward(self, model: VAE, x_BCHW: Tensor, noise: Generator, kl_weight: Tensor | float) -> Terms:
        posterior = model.encode(x_BCHW)
        z_BL = posterior.sample(noise)
        reconstruction = -self.likelihood.log_prob(model.decode(z_BL), x_BCHW)
        terms = decomposed_kl(posterior, z_BL)
        mutual_information, total_correlation, dimension_wise_kl = terms
        loss = reconstruction
        if self.beta:
            started = kl_weight / self.beta
            loss = loss + started * (mutual_information + dimension_wise_kl) + kl_weight * total_correlation
        return Terms(loss, reconstruction, posterior.kl(), dict(zip(self.parts, terms, strict=True)))


def decomposed_kl(posterior: Gaussian, z_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """I(x; z), TC(z) and Σ KL(q(z_l) ‖ p(z_l)), shape (B,) each, in nats: they sum to log q(z|x) − log p(z).

    The batch is treated as the whole data set: q(z) is the mixture of its B posteriors, so that I(x; z) is at
    most log B. The minibatch-weighted sampling of Chen et al. (2018) differs by constants only, and so has
    the same gradients.
    """
    # Entry (i, j): sample i under the posterior of image j.
    log_prob_BBL = posterior.log_prob_per_dimension(z_BL[:, None])
    log_count = math.log(len(z_BL))
    log_aggregate_B = log_prob_BBL.sum(dim=2).logsumexp(dim=1) - log_count
    log_marginals_B = (log_prob_BBL.logsumexp(dim=1) - log_count).sum(dim=1)
    log_posterior_B = posterior.log_prob_per_dimension(z_BL).sum(dim=1)
    prior = Gaussian(torch.zeros_like(z_BL), torch.zeros_like(z_BL))
    log_prior_B = prior.log_prob_per_dimension(z_BL).sum(dim=1)
    return (
        log_posterior_B - log_aggregate_B,
        log_aggregate_B - log_marginals_B,
        log_marginals_B - log_prior_B,
    )
