"""The variational autoencoder: an encoder gives q(z|x), a decoder the parameters of p(x|z).

A new model is a `VAE` subclass, registered where it is written, and a yaml of its arguments.

Shapes: B batch, C channels, H height, W width, L latent dimensions, P parameters of the likelihood per pixel.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from vaelab.config import ConfigError, show
from vaelab.config.models import ImageShape as ImageShape
from vaelab.config.models import check_model
from vaelab.config.registry import Registry

# Beyond these bounds exp() of a log-variance overflows in fp32, or sigma is lost beside mu: e^20 and e^-30.
LOG_VARIANCE_RANGE = (-30.0, 20.0)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A batch of Gaussians with diagonal covariance: the posterior q(z|x)."""

    mean: Tensor  # (B, L)
    log_variance: Tensor  # (B, L)

    def sample(self, noise: Generator) -> Tensor:
        """One reparameterised sample per row, mu + sigma * eps (Kingma & Welling 2014), shape (B, L)."""
        eps_BL = torch.randn(self.mean.shape, generator=noise, device=self.mean.device)
        return self.mean + (0.5 * self.log_variance).exp() * eps_BL

    def log_prob_per_dimension(self, z: Tensor) -> Tensor:
        """log N(z; mean, exp(log_variance)) of each dimension, in nats; `z` may have leading axes."""
        standardised = (z - self.mean) * (-0.5 * self.log_variance).exp()
        return -0.5 * (standardised.square() + self.log_variance + math.log(2 * math.pi))

    def kl_per_dimension(self) -> Tensor:
        """KL(N(mean, exp(log_variance)) || N(0, 1)) of each dimension, shape (B, L), in nats.

        Kingma & Welling (2014), appendix B.
        """
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance)

    def kl(self) -> Tensor:
        """KL(N(mean, exp(log_variance)) || N(0, I)), shape (B,), in nats.

        Summed over latent dimensions, never averaged: a mean would silently divide beta by the size of the
        latent space.
        """
        return self.kl_per_dimension().sum(dim=1)


class VAE(nn.Module):
    """An encoder to 2·L numbers per image and a decoder to P numbers per pixel, as one model.

    A subclass hands both to this constructor, or overrides `encode` and `decode`. Its own constructor takes
    `image_shape`, `parameters_per_pixel` (P; 1 for all likelihoods with one logit) and the model's settings.

    Args:
        encoder: (B, C, H, W) -> (B, 2L), means beside log-variances.
        decoder: (B, L) -> (B, P·C, H, W).
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.latent_dim = latent_dim
        self.encoder = encoder or nn.Identity()
        self.decoder = decoder or nn.Identity()

    def encode(self, x_BCHW: Tensor) -> Gaussian:
        """q(z|x) for images in [0, 1]. Always fp32, so that precision=bf16 never touches the loss."""
        mean_BL, log_variance_BL = self.encoder(x_BCHW).float().chunk(2, dim=1)
        return Gaussian(mean_BL, log_variance_BL.clamp(*LOG_VARIANCE_RANGE))

    def decode(self, z_BL: Tensor) -> Tensor:
        """Parameters of p(x|z), shape (B, P·C, H, W), fp32. A likelihood turns them into pixels."""
        return self.decoder(z_BL).float()

    def sample(self, count: int, noise: Generator) -> Tensor:
        """`decode` of `count` draws from the prior z ~ N(0, I), shape (count, P·C, H, W)."""
        z_BL = torch.randn(count, self.latent_dim, generator=noise, device=noise.device)
        return self.decode(z_BL)

    def forward(self, x_BCHW: Tensor, noise: Generator) -> tuple[Tensor, Gaussian]:
        posterior = self.encode(x_BCHW)  # q(z|x)
        z_BL = posterior.sample(noise)  # mu + sigma * eps
        return self.decode(z_BL), posterior  # parameters of p(x|z)


models: Registry[type[VAE]] = Registry("model", __name__, "vaelab.models")
names = models.names


def build(
    settings: Mapping[str, Any], image_shape: ImageShape, seed: int, parameters_per_pixel: int = 1
) -> VAE:
    """A freshly initialised model from the `model` settings: its name and its class's arguments.

    The weights depend on `seed` alone; PyTorch's global random state is left as it was.
    Raises ConfigError for an unknown model, an argument it doesn't take, or a value it refuses.
    """
    check_model(settings, image_shape)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone
        return models.build(settings, image_shape=image_shape, parameters_per_pixel=parameters_per_pixel)


def outline(settings: Mapping[str, Any], image_shape: ImageShape, parameters_per_pixel: int = 1) -> VAE:
    """The model without memory for its weights, on PyTorch's meta device: names, shapes and types.

    Raises ConfigError as `build` does, and for sizes that no tensor can have.
    """
    try:
        with torch.device("meta"):
            return build(settings, image_shape, 0, parameters_per_pixel)
    except RuntimeError as error:
        sizes = ", ".join(f"model.{key}={show(value)}" for key, value in settings.items() if key != "name")
        raise ConfigError(f"No model can have {sizes}: type smaller numbers.") from error


def with_weights(
    settings: Mapping[str, Any],
    image_shape: ImageShape,
    weights: Mapping[str, Tensor],
    parameters_per_pixel: int = 1,
) -> VAE:
    """The model of these settings that has these weights, a state dict; it takes no memory beside theirs.

    Raises ConfigError as `build` does, and ValueError or RuntimeError for weights of another model: settings
    may ask for any size, and nothing is allocated before both are found to agree.
    """
    longest = max((len(value) for value in settings.values() if isinstance(value, list)), default=0)
    if longest > len(weights):
        raise ValueError(f"{longest} layers, but {len(weights)} tensors")
    model = outline(settings, image_shape, parameters_per_pixel)
    model.load_state_dict(weights, assign=True)
    return model


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
