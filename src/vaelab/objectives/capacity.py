"""A KL held at a given number of nats, the capacity (Burgess et al. 2018).

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Generator, Tensor

from vaelab.models import VAE
from vaelab.objectives import Likelihood, Objective, Terms, objectives


@objectives.register("capacity")
class Capacity(Objective):
    """reconstruction + γ · |KL − C| of each image, in nats, with γ = beta (equation 8).

    The capacity C rises from 0 to `nats` while the schedule of the KL weight rises from 0 to beta. With
    `nats` = 0 the loss is the negative ELBO with KL weight γ. Raises ValueError for a negative capacity.
    """

    parts = ("capacity",)

    def __init__(self, likelihood: Likelihood, beta: float, nats: float = 25.0) -> None:
        super().__init__(likelihood)
        if nats < 0:
            raise ValueError("nats must be at least 0")
        self.beta, self.nats = beta, nats

    def formula(self, weight: str) -> str:
        capacity = f"{self.nats:g}" if weight == f"{self.beta:g}" else f"(0 to {self.nats:g})"
        return f"reconstruction + {self.beta:g} · |KL − {capacity}|" if self.beta else "reconstruction"

    def forward(self, model: VAE, x_BCHW: Tensor, noise: Generator, kl_weight: Tensor | float) -> Terms:
        parameters, posterior = model(x_BCHW, noise)
        reconstruction = -self.likelihood.log_prob(parameters, x_BCHW)
        kl = posterior.kl()
        if not self.beta:
            return Terms(reconstruction, reconstruction, kl, {"capacity": torch.zeros_like(kl)})
        # The same precision for a Python number and for the tensor that a CUDA graph reads.
        capacity = self.nats / self.beta * torch.as_tensor(kl_weight, dtype=kl.dtype, device=kl.device)
        loss = reconstruction + self.beta * (kl - capacity).abs()
        return Terms(loss, reconstruction, kl, {"capacity": capacity.expand_as(kl)})
