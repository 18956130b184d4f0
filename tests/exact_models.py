"""Models whose likelihood is known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributions as D

from harness import noise
from vaelab.models import VAE
from vaelab.objectives import Likelihood, Objective
from vaelab.objectives.neg_elbo import NegElbo

PIXELS, LATENTS, NOISE = 6, 2, 0.3


class LinearPixels(Likelihood):
    """N(x; the decoder's number, 0.3²): with a linear decoder, p(x) is a Gaussian that can be written down."""

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        return D.Normal(parameters, NOISE).log_prob(x).flatten(1).sum(dim=1)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters

    def sample(self, parameters: Tensor, noise: torch.Generator) -> Tensor:
        return parameters + NOISE * torch.randn(parameters.shape, generator=noise)


class LinearGaussian(VAE):
    """Factor analysis: x = W z + b + noise. Its encoder is the exact posterior with sigma `spread` times too wide."""

    def __init__(self, spread: float) -> None:
        generator = noise(1)
        self_w = torch.linalg.qr(torch.randn(PIXELS, LATENTS, generator=generator))[0] * torch.tensor(
            [1.5, 0.7]
        )
        offset = torch.randn(PIXELS, generator=generator)
        precision_L = 1 + self_w.square().sum(dim=0) / NOISE**2  # the columns of W are orthogonal
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 2 * LATENTS))
        decoder = nn.Sequential(nn.Linear(LATENTS, PIXELS), nn.Unflatten(1, (1, 1, PIXELS)))
        super().__init__((1, 1, PIXELS), LATENTS, encoder, decoder)
        to_mean = self_w.T / NOISE**2 / precision_L[:, None]
        with torch.no_grad():
            encoder[1].weight.copy_(torch.cat([to_mean, torch.zeros(LATENTS, PIXELS)]))  # type: ignore[operator]
            encoder[1].bias.copy_(torch.cat([-to_mean @ offset, (spread**2 / precision_L).log()]))  # type: ignore[operator]
            decoder[0].weight.copy_(self_w)  # type: ignore[operator]
            decoder[0].bias.copy_(offset)  # type: ignore[operator]
        covariance = self_w @ self_w.T + NOISE**2 * torch.eye(PIXELS)
        self.marginal = D.MultivariateNormal(offset.double(), covariance.double())


def linear_gaussian(spread: float) -> tuple[LinearGaussian, Objective, Tensor]:
    model, objective = LinearGaussian(spread), NegElbo(LinearPixels())
    x = model.marginal.sample((40,)).float().view(40, 1, 1, PIXELS)
    return model, objective, x
