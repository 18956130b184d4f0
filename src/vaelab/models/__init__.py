"""The variational autoencoder: an encoder gives q(z|x), a decoder the parameters of p(x|z).

A new model is a `VAE` subclass, registered where it is written, and a yaml of its arguments.

Shapes: B batch, C channels, H height, W width, L latent dimensions, P parameters of the likelihood per pixel,
Y classes.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from typing_extensions import Self

from vaelab.config import ConfigError, VaelabError, show
from vaelab.config.models import ImageShape as ImageShape
from vaelab.config.models import check_model
from vaelab.config.registry import Registry
from vaelab.config.train import is_conditional

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
    `image_shape`, `parameters_per_pixel` (P; 1 for all likelihoods with one logit) and the model's settings;
    one that also takes `classes` can be class-conditional (Kingma et al. 2014, Sohn et al. 2015): encoder and
    decoder are given the label y as a one-hot vector, q(z|x, y) and p(x|z, y), and the prior p(z) is the same
    for every class.

    Args:
        encoder: (B, C, H, W) -> (B, 2L), means beside log-variances; with `classes`, of `with_labels`.
        decoder: (B, L) -> (B, P·C, H, W); with `classes`, of (B, L + Y), the one-hot label after z.
        classes: the numbers of the classes, of a class-conditional model.
    """

    class_numbers: Tensor
    """(Y,) in the order of the one-hot vector."""
    class_prior: Tensor
    """(Y,) p(y): the share of each class among the training images."""
    one_hot_BY: Tensor | None = None
    """The labels of `given`."""

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        classes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        if classes:
            self.register_buffer("class_numbers", torch.tensor(self.classes))
            self.register_buffer("class_prior", torch.full((len(classes),), 1 / len(classes)))
        self.image_shape = image_shape
        self.latent_dim = latent_dim
        self.encoder = encoder or nn.Identity()
        self.decoder = decoder or nn.Identity()

    def given(self, labels_B: Tensor | None) -> Self:
        """The same model given the label of each image; of a model that is not class-conditional, itself.

        Of B labels it decodes any multiple of B latents, the labels in the same order again and again.
        """
        if not self.classes:
            return self
        if labels_B is None:
            raise VaelabError("The model is class-conditional (model.conditional=true): give it labels.")
        view = copy.copy(self)  # of the same weights
        view.one_hot_BY = (labels_B[:, None] == self.class_numbers).float()
        return view

    def one_hot(self, count: int) -> Tensor:
        """The labels of `given`, repeated to `count` rows, (count, Y)."""
        if self.one_hot_BY is None:
            raise VaelabError("The model is class-conditional: use model.given(labels).")
        own = self.one_hot_BY.shape[0]  # as `len` is, but of any size in an exported graph
        return self.one_hot_BY if count == own else self.one_hot_BY.repeat(count // own, 1)

    def with_labels(self, x_BCHW: Tensor, one_hot_BY: Tensor) -> Tensor:
        """What the encoder is given: images with a further channel per class, 1 or 0 at every pixel."""
        planes_BYHW = one_hot_BY[:, :, None, None].expand(-1, -1, *x_BCHW.shape[2:])
        return torch.cat([x_BCHW, planes_BYHW], dim=1)

    def encode(self, x_BCHW: Tensor) -> Gaussian:
        """q(z|x) for images in [0, 1]. Always fp32, so that precision=bf16 never touches the loss."""
        if self.classes:
            x_BCHW = self.with_labels(x_BCHW, self.one_hot(x_BCHW.shape[0]))
        mean_BL, log_variance_BL = self.encoder(x_BCHW).float().chunk(2, dim=1)
        return Gaussian(mean_BL, log_variance_BL.clamp(*LOG_VARIANCE_RANGE))

    def decode(self, z_BL: Tensor) -> Tensor:
        """Parameters of p(x|z), shape (B, P·C, H, W), fp32. A likelihood turns them into pixels."""
        if self.classes:
            z_BL = torch.cat([z_BL, self.one_hot(z_BL.shape[0])], dim=1)
        return self.decoder(z_BL).float()

    def draw_labels(self, count: int, noise: Generator) -> Tensor:
        """Labels y ~ p(y), shape (count,); all 0 where the model is not class-conditional."""
        if not self.classes:
            return torch.zeros(count, dtype=torch.int64, device=noise.device)
        drawn_B = torch.multinomial(self.class_prior, count, replacement=True, generator=noise)
        return self.class_numbers[drawn_B]

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
    settings: Mapping[str, Any], image_shape: ImageShape, seed: int, parameters_per_pixel: int = 1,
    classes: Sequence[int] = (),
) -> VAE:  # fmt: skip
    """A freshly initialised model from the `model` settings: its name and its class's arguments.

    The weights depend on `seed` alone; PyTorch's global random state is left as it was. `classes` are the
    numbers of the data's, which only a class-conditional model needs.
    Raises ConfigError for an unknown model, an argument it doesn't take, or a value it refuses.
    """
    check_model(settings, image_shape)
    arguments, given = dict(settings), {}
    if is_conditional(settings):
        if not classes:
            raise ConfigError(
                "model.conditional=true needs images with labels: type model.conditional=false."
            )
        if "classes" not in models.parameters(settings):
            raise ConfigError(f"model={settings['name']} takes no classes: type model.conditional=false.")
        given["classes"] = classes
    arguments.pop("conditional", None)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone
        return models.build(
            arguments, image_shape=image_shape, parameters_per_pixel=parameters_per_pixel, **given
        )


def outline(
    settings: Mapping[str, Any], image_shape: ImageShape, parameters_per_pixel: int = 1,
    classes: Sequence[int] = (),
) -> VAE:  # fmt: skip
    """The model without memory for its weights, on PyTorch's meta device: names, shapes and types.

    Raises ConfigError as `build` does, and for sizes that no tensor can have.
    """
    try:
        with torch.device("meta"):
            return build(settings, image_shape, 0, parameters_per_pixel, classes)
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
    classes = weights["class_numbers"].tolist() if "class_numbers" in weights else ()
    model = outline(settings, image_shape, parameters_per_pixel, classes)
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
