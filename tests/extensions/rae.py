"""A regularised autoencoder: no noise, and a penalty on the latents in place of the KL."""

from torch import Generator, Tensor

from vaelab.models import VAE
from vaelab.objectives import Likelihood, Objective, Terms, objectives


@objectives.register("rae")
class RegularisedAutoencoder(Objective):
    """reconstruction + weight · strength · |z|² of each image at z = its mean (Ghosh et al. 2020)."""

    def __init__(self, likelihood: Likelihood, strength: float = 0.5) -> None:
        super().__init__(likelihood)
        self.strength = strength

    def forward(self, model: VAE, x_BCHW: Tensor, noise: Generator, kl_weight: Tensor | float) -> Terms:
        posterior = model.encode(x_BCHW)
        reconstruction = -self.likelihood.log_prob(model.decode(posterior.mean), x_BCHW)
        penalty = self.strength * posterior.mean.square().sum(dim=1)
        return Terms(reconstruction + kl_weight * penalty, reconstruction, posterior.kl())
