"""A Gaussian likelihood whose variance the decoder predicts for each pixel."""

import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from vaelab.objectives import Likelihood, likelihoods


@likelihoods.register("pixel_gaussian")
class PixelGaussian(Likelihood):
    parameters_per_pixel = 2
    is_density = True

    def distribution(self, parameters: Tensor) -> Normal:
        mean, log_scale = parameters.chunk(2, dim=1)
        return Normal(mean.sigmoid(), log_scale.clamp(-4, 1).exp(), validate_args=False)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        return self.distribution(parameters).log_prob(x).flatten(1).sum(dim=1)

    def mean(self, parameters: Tensor) -> Tensor:
        return self.distribution(parameters).mean

    def sample(self, parameters: Tensor, noise: Generator) -> Tensor:
        pixels = self.distribution(parameters)
        return pixels.mean + pixels.stddev * torch.randn(
            pixels.mean.shape, generator=noise, device=noise.device
        )
