"""IWAE: minimises the importance-weighted bound with K samples (Burda et al. 2016).

Shapes: K samples, B batch, C channels, H height, W width, L latent dimensions.
"""

import math

import torch
from torch import Generator, Tensor

from vaelab.models import VAE, Gaussian
from vaelab.objectives import Likelihood, Objective, Terms, objectives


@objectives.register("iwae")
class IWAE(Objective):
    """−log of the mean of K weights p(x|z) · (p(z) / q(z|x))^weight of each image, in nats.

    With weight 1 it is equation 8 of the paper. With K = 1 it is the negative ELBO, with the KL in closed
    form. `dreg` selects the doubly reparameterised gradients of the encoder (Tucker et al. 2019), whose
    signal-to-noise ratio doesn't vanish as K grows.
    """

    def __init__(self, likelihood: Likelihood, importance_samples: int = 1, dreg: bool = False) -> None:
        super().__init__(likelihood)
        self.samples, self.dreg = importance_samples, dreg

    def formula(self, weight: str) -> str:
        return f"importance-weighted bound, K = {self.samples}" if weight == "1" else ""

    def forward(self, model: VAE, x_BCHW: Tensor, noise: Generator, kl_weight: Tensor | float) -> Terms:
        samples, batch = self.samples, len(x_BCHW)
        posterior = model.encode(x_BCHW)
        shape = (samples, batch, model.latent_dim)
        eps_KBL = torch.randn(shape, generator=noise, device=x_BCHW.device)
        z_KBL = posterior.mean + posterior.sigma * eps_KBL
        parameters = model.decode(z_KBL.flatten(0, 1))
        x_KB = x_BCHW.expand(samples, *x_BCHW.shape).flatten(0, 1)
        log_prob_KB = self.likelihood.log_prob(parameters, x_KB).unflatten(0, (samples, batch))
        reconstruction, kl = -log_prob_KB.mean(dim=0), posterior.kl()
        if samples == 1:
            return Terms(reconstruction + kl_weight * kl, reconstruction, kl)
        q = posterior
        if self.dreg and z_KBL.requires_grad:  # the encoder learns through z alone
            q = Gaussian(posterior.mean.detach(), posterior.log_variance.detach())
        standard = Gaussian(torch.zeros_like(z_KBL), torch.zeros_like(z_KBL))
        log_ratio_KBL = standard.log_prob_per_dimension(z_KBL) - q.log_prob_per_dimension(z_KBL)
        log_weight_KB = log_prob_KB + kl_weight * log_ratio_KBL.sum(dim=2)
        loss = math.log(samples) - log_weight_KB.logsumexp(dim=0)
        if self.dreg and z_KBL.requires_grad:
            # Tucker et al.'s factor, the normalised weight, generalised to any power of p(z) / q(z|x).
            factor_KB = 1 - kl_weight + kl_weight * log_weight_KB.detach().softmax(dim=0)
            z_KBL.register_hook(lambda gradient: gradient * factor_KB[..., None])
        return Terms(loss, reconstruction, kl)
