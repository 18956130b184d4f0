"""An objective that holds the KL at a given number of nats."""

from torch import Generator, Tensor

from vaelab.models import VAE
from vaelab.objectives import Likelihood, Objective, Terms, objectives


@objectives.register("capacity")
class Capacity(Objective):
    """reconstruction + weight · |KL − C| of each image (Burgess et al. 2018), C in nats."""

    def __init__(self, likelihood: Likelihood, nats: float = 5.0) -> None:
        super().__init__(likelihood)
        self.nats = nats

    def forward(self, model: VAE, x_BCHW: Tensor, noise: Generator, kl_weight: Tensor | float) -> Terms:
        parameters, posterior = model(x_BCHW, noise)
        reconstruction = -self.likelihood.log_prob(parameters, x_BCHW)
        kl = posterior.kl()
        return Terms(reconstruction + kl_weight * (kl - self.nats).abs(), reconstruction, kl)
