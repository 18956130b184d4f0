"""The models. A new one is a `VAE` subclass, registered where it is written, and a yaml of its arguments."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vaelab.config import ConfigError, show
from vaelab.config.registry import Registry
from vaelab.models.vae import VAE, Gaussian, ImageShape, evaluating

__all__ = [
    "VAE",
    "Gaussian",
    "ImageShape",
    "build",
    "evaluating",
    "models",
    "names",
    "outline",
    "with_weights",
]

models: Registry[type[VAE]] = Registry("model", __name__, "vaelab.models", besides=("vae",))
names = models.names


def build(
    settings: Mapping[str, Any], image_shape: ImageShape, seed: int, parameters_per_pixel: int = 1
) -> VAE:
    """A freshly initialised model from the `model` settings: its name and its class's arguments.

    The weights depend on `seed` alone; PyTorch's global random state is left as it was.
    Raises ConfigError for an unknown model, an argument it doesn't take, or a value it refuses.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: VAE = models.build(
            settings, image_shape=image_shape, parameters_per_pixel=parameters_per_pixel
        )
    return model


def outline(settings: Mapping[str, Any], image_shape: ImageShape, parameters_per_pixel: int = 1) -> VAE:
    """The model without memory for its weights, on PyTorch's meta device: names, shapes and types.

    Raises ConfigError as `build` does, and for sizes that no tensor can have.
    """
    try:
        with torch.device("meta"):
            return build(settings, image_shape, 0, parameters_per_pixel)
    except (RuntimeError, TypeError, OverflowError) as error:
        sizes = ", ".join(f"model.{key}={show(value)}" for key, value in settings.items() if key != "name")
        raise ConfigError(f"No model can have {sizes}: type smaller numbers.") from error


def with_weights(
    settings: Mapping[str, Any],
    image_shape: ImageShape,
    weights: Mapping[str, Tensor],
    parameters_per_pixel: int = 1,
) -> VAE:
    """The model of these settings that has these weights, a state dict; it takes no memory beside theirs.

    Raises ConfigError as `build` does, and ValueError for weights of another model: settings may ask for any
    size, and nothing is allocated before both are found to agree.
    """
    longest = max((len(value) for value in settings.values() if isinstance(value, list)), default=0)
    if longest > len(weights):
        raise ValueError(f"{longest} layers, but {len(weights)} tensors")
    try:
        model = outline(settings, image_shape, parameters_per_pixel)
        expected = model.state_dict()
        if any(name in expected and each.dtype != expected[name].dtype for name, each in weights.items()):
            raise ValueError("weights of another type")
        model.load_state_dict(weights, assign=True)
    except (RuntimeError, TypeError, OverflowError, AttributeError) as error:
        raise ValueError(str(error)) from error
    return model
