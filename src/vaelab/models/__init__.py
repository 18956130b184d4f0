"""The variational autoencoder: an encoder gives q(z|x), a decoder the parameters of p(x|z).

A new model is a subclass of `VAE`, registered in the module that defines it, and a yaml with its arguments.

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

# Within these bounds exp() of a log-variance is finite in fp32, and sigma (3e-7 to 2e4) is not lost beside
# mu = 1.
LOG_VARIANCE_RANGE = (-30.0, 20.0)

NO_SIZES = ("name", "conditional")
"""Settings of a model that don't change its size: messages about the size leave them out."""


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A batch of Gaussians with diagonal covariance, such as the posterior q(z|x).

    >>> posterior = Gaussian(mean=torch.tensor([[1.0, 0.0]]), log_variance=torch.zeros(1, 2))
    >>> posterior.kl()  # from the prior, in nats
    tensor([0.5000])
    """

    mean: Tensor  # (B, L)
    log_variance: Tensor  # (B, L)

    @classmethod
    def cat(cls, parts: Sequence["Gaussian"]) -> "Gaussian":
        return cls(torch.cat([each.mean for each in parts]), torch.cat([each.log_variance for each in parts]))

    @property
    def sigma(self) -> Tensor:
        return (0.5 * self.log_variance).exp()

    def sample(self, noise: Generator) -> Tensor:
        """One reparameterised sample per row, mu + sigma * eps (Kingma & Welling 2014), shape (B, L)."""
        eps_BL = torch.randn(self.mean.shape, generator=noise, device=self.mean.device)
        return self.mean + self.sigma * eps_BL

    def log_prob_per_dimension(self, z: Tensor) -> Tensor:
        """log N(z; mean, exp(log_variance)) of each latent dimension, in nats.

        Shape (B, L); leading axes of `z`, such as importance samples, are kept: (..., B, L).
        """
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
    """An encoder with 2·L outputs per image and a decoder with P outputs per pixel and channel, as one model.

    A subclass passes both to this constructor, or overrides `encode` and `decode`. Its own constructor takes
    `image_shape`, `parameters_per_pixel` (P, which is 1 for all shipped likelihoods) and the model's
    settings. If it also takes `classes`, the model can be class-conditional (Kingma et al. 2014, Sohn et al.
    2015): encoder and decoder are given the label y as a one-hot vector, q(z|x, y) and p(x|z, y), and the
    prior p(z) is the same for all classes.

    `@models.register("name")` makes a subclass known as model=name. conf/model/name.yaml, or a yaml in
    --config-dir, lists its settings.

    Args:
        image_shape: (C, H, W).
        latent_dim: L.
        encoder: (B, C, H, W) -> (B, 2L), means before log-variances; with `classes`, its input is the output
            of `with_labels`.
        decoder: (B, L) -> (B, P·C, H, W); with `classes`, its input is (B, L + Y), the one-hot label after z.
        classes: the class numbers of a class-conditional model; empty for any other.

    >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 4))
    >>> decoder = nn.Sequential(nn.Linear(2, 784), nn.Unflatten(1, (1, 28, 28)))
    >>> model = VAE((1, 28, 28), 2, encoder, decoder)
    >>> model.encode(torch.zeros(5, 1, 28, 28)).mean.shape, model.decode(torch.zeros(5, 2)).shape
    (torch.Size([5, 2]), torch.Size([5, 1, 28, 28]))
    """

    class_numbers: Tensor
    """(Y,) in the order of the one-hot vector."""
    class_prior: Tensor
    """(Y,) p(y): the share of each class among the training images."""
    one_hot_BY: Tensor | None = None
    """The one-hot labels that `given` has set; None before."""

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
        """The same model, with the same weights, conditioned on the label of each image.

        A model that is not class-conditional returns itself. After `given` with B labels, `decode` accepts
        any multiple of B latents, whose labels are these B, repeated in order. Raises VaelabError if a
        class-conditional model is given None.
        """
        if not self.classes:
            return self
        if labels_B is None:
            raise VaelabError("The model is class-conditional (model.conditional=true): give it labels.")
        view = copy.copy(self)  # of the same weights
        view.one_hot_BY = (labels_B[:, None] == self.class_numbers).float()
        return view

    def one_hot(self, count: int) -> Tensor:
        """The labels of `given`, repeated to shape (count, Y). Raises VaelabError if there are none."""
        if self.one_hot_BY is None:
            raise VaelabError("The model is class-conditional: use model.given(labels).")
        own = self.one_hot_BY.shape[0]  # as `len` is, but of any size in an exported graph
        return self.one_hot_BY if count == own else self.one_hot_BY.repeat(count // own, 1)

    def with_labels(self, x_BCHW: Tensor, one_hot_BY: Tensor) -> Tensor:
        """The encoder's input, (B, C + Y, H, W): the image and a channel per class, constant 1 or 0."""
        planes_BYHW = one_hot_BY[:, :, None, None].expand(-1, -1, *x_BCHW.shape[2:])
        return torch.cat([x_BCHW, planes_BYHW], dim=1)

    def encode(self, x_BCHW: Tensor) -> Gaussian:
        """The posterior q(z|x) of images (B, C, H, W) in [0, 1], shapes (B, L).

        Its parameters are float32 even with precision=bf16, so that the loss is computed in full precision.
        """
        if self.classes:
            x_BCHW = self.with_labels(x_BCHW, self.one_hot(x_BCHW.shape[0]))
        mean_BL, log_variance_BL = self.encoder(x_BCHW).float().chunk(2, dim=1)
        return Gaussian(mean_BL, log_variance_BL.clamp(*LOG_VARIANCE_RANGE))

    def decode(self, z_BL: Tensor) -> Tensor:
        """The parameters of p(x|z), shape (B, P·C, H, W), float32.

        The likelihood interprets them: for the Bernoulli, for example, they are logits.
        """
        if self.classes:
            z_BL = torch.cat([z_BL, self.one_hot(z_BL.shape[0])], dim=1)
        return self.decoder(z_BL).float()

    def draw_labels(self, count: int, noise: Generator) -> Tensor:
        """Labels y ~ p(y), shape (count,); all 0 where the model is not class-conditional."""
        if not self.classes:
            return torch.zeros(count, dtype=torch.int64, device=noise.device)
        drawn_B = torch.multinomial(self.class_prior, count, replacement=True, generator=noise)
        return self.class_numbers[drawn_B]

    def forward(self, x_BCHW: Tensor, noise: Generator) -> tuple[Tensor, Gaussian]:
        """Encode, sample z and decode: parameters of p(x|z), (B, P·C, H, W), and the posterior."""
        posterior = self.encode(x_BCHW)  # q(z|x)
        z_BL = posterior.sample(noise)  # mu + sigma * eps
        return self.decode(z_BL), posterior  # parameters of p(x|z)


models: Registry[type[VAE]] = Registry("model", __name__, "vaelab.models")


def build(
    settings: Mapping[str, Any], image_shape: ImageShape, seed: int, parameters_per_pixel: int = 1,
    classes: Sequence[int] = (),
) -> VAE:  # fmt: skip
    """A newly initialised model from the `model` settings: its name and the arguments of its class.

    The weights depend on `seed` alone, and PyTorch's global random state is unchanged. `classes` are the
    class numbers of the data, which only a class-conditional model needs. Raises ConfigError for an unknown
    model, for an argument that it doesn't take, and for a value that it refuses.
    """
    check_model(settings, image_shape)
    arguments, given = dict(settings), {}
    if is_conditional(settings):
        if not classes:
            raise ConfigError(
                "model.conditional=true needs images with labels: type model.conditional=false."
            )
        if "classes" not in models.parameters(settings):
            raise ConfigError(
                f"model={settings['name']} can't be class-conditional: type model.conditional=false."
            )
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
    """The model on PyTorch's meta device: names, shapes and types of its weights, without memory for them.

    Raises ConfigError as `build` does, and for sizes that no tensor can have.
    """
    try:
        with torch.device("meta"):
            return build(settings, image_shape, 0, parameters_per_pixel, classes)
    except RuntimeError as error:
        sizes = ", ".join(
            f"model.{key}={show(value)}" for key, value in settings.items() if key not in NO_SIZES
        )
        raise ConfigError(f"A model with {sizes} is too large: type smaller numbers.") from error


def with_weights(
    settings: Mapping[str, Any],
    image_shape: ImageShape,
    weights: Mapping[str, Tensor],
    parameters_per_pixel: int = 1,
) -> VAE:
    """The model of these settings with the given weights, a state dict, which are used without copying.

    Raises ConfigError as `build` does, and ValueError or RuntimeError for weights of another model. Settings
    may ask for any size: no memory is allocated before they are found to agree with the weights.
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
    """Within the context, the model is in eval mode and gradients are disabled; its mode is then restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
