"""The variational autoencoder: an encoder gives q(z|x), a decoder the logits of p(x|z).

Shapes: B batch, C channels, H height, W width, L latent dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

ImageShape = tuple[int, int, int]
"""Channels, height, width."""

# Beyond these bounds exp() of a log-variance overflows in fp32, or sigma is lost beside mu: e^20 and e^-30.
LOG_VARIANCE_RANGE = (-30.0, 20.0)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A batch of Gaussians with diagonal covariance: the posterior q(z|x)."""

    mean: Tensor  # (B, L)
    log_variance: Tensor  # (B, L)

    def sample(self, noise: Generator) -> Tensor:
        """One reparameterised sample a row, mu + sigma * eps (Kingma & Welling 2014), shape (B, L)."""
        eps_BL = torch.randn(self.mean.shape, generator=noise, device=self.mean.device)
        return self.mean + (0.5 * self.log_variance).exp() * eps_BL


class VAE(nn.Module):
    """Any encoder to 2·L numbers a row and any decoder to one logit a pixel, as one model.

    Args:
        encoder: (B, C, H, W) -> (B, 2L), means beside log-variances.
        decoder: (B, L) -> (B, C, H, W).
    """

    def __init__(self, image_shape: ImageShape, latent_dim: int, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.image_shape = image_shape
        self.latent_dim = latent_dim
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, x_BCHW: Tensor) -> Gaussian:
        """q(z|x) for images in [0, 1]. Always fp32, so that precision=bf16 never touches the loss."""
        mean_BL, log_variance_BL = self.encoder(x_BCHW).float().chunk(2, dim=1)
        return Gaussian(mean_BL, log_variance_BL.clamp(*LOG_VARIANCE_RANGE))

    def decode(self, z_BL: Tensor) -> Tensor:
        """Logits of p(x|z), shape (B, C, H, W), fp32. A likelihood turns them into pixels."""
        logits_BCHW: Tensor = self.decoder(z_BL).float()
        return logits_BCHW

    def sample(self, count: int, noise: Generator) -> Tensor:
        """Logits of `count` draws from the prior z ~ N(0, I), shape (count, C, H, W)."""
        z_BL = torch.randn(count, self.latent_dim, generator=noise, device=noise.device)
        return self.decode(z_BL)

    def forward(self, x_BCHW: Tensor, noise: Generator) -> tuple[Tensor, Gaussian]:
        posterior = self.encode(x_BCHW)  # q(z|x)
        z_BL = posterior.sample(noise)  # mu + sigma * eps
        return self.decode(z_BL), posterior  # logits of p(x|z)


@contextmanager
def evaluating(model: VAE) -> Iterator[None]:
    """Inside, the model is in eval mode and nothing is recorded for gradients; then its mode comes back."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
