"""What an objective gives: reconstruction and KL apart, per image, in nats.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor, nn

from vaelab.models import VAE
from vaelab.objectives.likelihoods import Likelihood


@dataclass(frozen=True, slots=True)
class Terms:
    """Per image, unreduced, in nats. Only `loss` knows weights."""

    loss: Tensor  # (B,)  what is minimised, on average over the batch
    reconstruction: Tensor  # (B,)  -log p(x|z), one sample of z per image
    kl: Tensor  # (B,)  KL(q(z|x) || p(z))

    @property
    def neg_elbo(self) -> Tensor:
        """(B,), an upper bound on -log p(x) on average over z; lower is better."""
        return self.reconstruction + self.kl


class Objective(nn.Module):
    """What is minimised. Holds the likelihood, whose parameters are trained with the model's."""

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood

    def forward(self, model: VAE, x_BCHW: Tensor, noise: Generator, kl_weight: Tensor | float) -> Terms:
        """The terms of each image. `kl_weight` may be a tensor of one number: don't branch on it."""
        raise NotImplementedError
