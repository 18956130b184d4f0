"""The negative ELBO of Kingma & Welling (2014), its KL weighted by beta (Higgins et al. 2017).

Shapes: B batch, C channels, H height, W width, L latent dimensions.
"""

from torch import Generator, Tensor

from vaelab.models import VAE
from vaelab.objectives import Likelihood, Objective, Terms, objectives


@objectives.register("neg_elbo")
class NegElbo(Objective):
    """reconstruction + weight · KL of each image, in nats.

    With free bits (Kingma et al. 2016), a latent dimension whose KL, averaged over the batch, is below
    `free_bits` nats counts as `free_bits`, and so contributes no gradient.
    """

    def __init__(self, likelihood: Likelihood, free_bits: float = 0.0) -> None:
        super().__init__(likelihood)
        self.free_bits = free_bits
        self.needs_whole_batches = free_bits > 0

    def formula(self, weight: str) -> str:
        kl = f"max(KL, {self.free_bits:g} per dim.)" if self.free_bits else "KL"
        factor = "" if weight == "1" else f"{weight} · "
        return "reconstruction" if weight == "0" else f"reconstruction + {factor}{kl}"

    def forward(self, model: VAE, x_BCHW: Tensor, noise: Generator, kl_weight: Tensor | float) -> Terms:
        parameters, posterior = model(x_BCHW, noise)
        reconstruction = -self.likelihood.log_prob(parameters, x_BCHW)
        kl_BL = posterior.kl_per_dimension()
        kl = kl_BL.sum(dim=1)
        minimised = kl_BL.mean(dim=0).clamp(min=self.free_bits).sum() if self.free_bits else kl
        return Terms(reconstruction + kl_weight * minimised, reconstruction, kl)
