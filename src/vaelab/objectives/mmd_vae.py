"""MMD-VAE: matches the aggregate posterior, not each posterior, to the prior (InfoVAE, Zhao et al. 2019).

Shapes: B batch, C channels, H height, W width, L latent dimensions.
"""

import torch
from torch import Generator, Tensor

from vaelab.models import VAE
from vaelab.objectives import Objective, Terms, objectives


@objectives.register("mmd_vae")
class MMDVAE(Objective):
    """reconstruction + weight · MMD²(q(z), p(z)): InfoVAE (equation 6) with α = 1 and λ = beta.

    The squared maximum mean discrepancy is dimensionless and at most 2, so useful weights are in the
    hundreds.
    """

    parts = ("mmd",)
    needs_whole_batches = True

    def formula(self, weight: str) -> str:
        return "reconstruction" if weight == "0" else f"reconstruction + {weight} · MMD²"

    def forward(self, model: VAE, x_BCHW: Tensor, noise: Generator, kl_weight: Tensor | float) -> Terms:
        posterior = model.encode(x_BCHW)
        z_BL = posterior.sample(noise)
        reconstruction = -self.likelihood.log_prob(model.decode(z_BL), x_BCHW)
        mmd = squared_mmd(z_BL)
        return Terms(reconstruction + kl_weight * mmd, reconstruction, posterior.kl(), {"mmd": mmd})


def squared_mmd(z_BL: Tensor) -> Tensor:
    """Terms (B,) whose mean estimates MMD² of q(z) and N(0, I), unbiased for B ≥ 2 (Gretton et al. 2012).

    The kernel is exp(−|a − b|² / 2L), where L is half the mean squared distance of two draws from the prior.
    Its expectations under the prior are Gaussian integrals, so only q(z) is sampled. Dimensionless.
    """
    count, dimensions = z_BL.shape
    squared_B = z_BL.square().sum(dim=1)
    with torch.autocast(z_BL.device.type, enabled=False):  # differences of squares need float32
        products_BB = z_BL @ z_BL.T
    squared_BB = (squared_B[:, None] + squared_B - 2 * products_BB).clamp(min=0)
    kernel_BB = (-squared_BB / (2 * dimensions)).exp()
    others = max(1, count - 1)
    within_B = (kernel_BB.sum(dim=1) - kernel_BB.diagonal()) / others
    to_prior_B = (dimensions / (dimensions + 1)) ** (dimensions / 2) * (
        -squared_B / (2 * (dimensions + 1))
    ).exp()
    of_prior = (dimensions / (dimensions + 2)) ** (dimensions / 2)
    return within_B - 2 * to_prior_B + of_prior
