"""GECO: minimises the KL under a constraint on the reconstruction (Rezende & Viola 2018).

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Generator, Tensor

from vaelab.models import VAE
from vaelab.objectives import Likelihood, Objective, Terms, objectives

MEMORY = 0.9  # of the moving average of the constraint over steps; with the paper's 0.99, λ oscillates
LARGEST_CONSTRAINT = 0.02  # of either sign: a new model would otherwise raise λ by orders of magnitude
SMALLEST, LARGEST = 0.01, 100.0  # bounds of λ, which an unattainable tolerance would move without end


@objectives.register("geco")
class GECO(Objective):
    """weight · KL + λ · (reconstruction − tolerance) of each image, in nats, with a learned multiplier λ.

    After each step λ is multiplied by exp(rate · C̄), where C̄ is the moving average of the constraint C =
    (reconstruction − tolerance) / |tolerance|, averaged over the batch (algorithm 1) and here limited to
    ±0.02. λ, from 0.01 to 100, therefore grows while the reconstruction term is above the tolerance (in nats
    per image), and shrinks while it is below. Raises ValueError for a tolerance of 0, and for a rate that is
    not positive.
    """

    parts = ("multiplier",)
    is_stationary = False
    multiplier: Tensor
    constraint: Tensor

    def __init__(self, likelihood: Likelihood, tolerance: float, rate: float = 1.0) -> None:
        super().__init__(likelihood)
        if tolerance == 0:
            raise ValueError("tolerance must not be 0")
        if rate <= 0:
            raise ValueError("rate must be above 0")
        self.tolerance, self.rate = tolerance, rate
        self.register_buffer("multiplier", torch.ones(()))
        self.register_buffer("constraint", torch.full((), torch.nan))

    def formula(self, weight: str) -> str:
        factor = "" if weight == "1" else f"{weight} · "
        return f"{factor}KL + λ · (reconstruction − {self.tolerance:g})"

    def forward(self, model: VAE, x_BCHW: Tensor, noise: Generator, kl_weight: Tensor | float) -> Terms:
        parameters, posterior = model(x_BCHW, noise)
        reconstruction = -self.likelihood.log_prob(parameters, x_BCHW)
        kl = posterior.kl()
        multiplier = self.multiplier.clone()  # this step's, because update() changes it in place
        loss = kl_weight * kl + multiplier * (reconstruction - self.tolerance)
        if model.training:
            self.update(reconstruction.detach().mean())
        return Terms(loss, reconstruction, kl, {"multiplier": multiplier.expand_as(kl)})

    @torch.no_grad()
    def update(self, reconstruction: Tensor) -> None:
        """Set the next step's multiplier, in place, because a captured CUDA graph replays the operation."""
        now = (reconstruction - self.tolerance) / abs(self.tolerance)
        now = now.clamp(-LARGEST_CONSTRAINT, LARGEST_CONSTRAINT)
        average = MEMORY * self.constraint + (1 - MEMORY) * now
        average = torch.where(self.constraint.isnan(), now, average)
        self.constraint.copy_(torch.where(now.isfinite(), average, self.constraint))
        self.multiplier.mul_((self.rate * self.constraint).nan_to_num().exp()).clamp_(SMALLEST, LARGEST)
