"""The models. A new one is a file here with one `VAE` subclass, and a yaml of its arguments in conf/model."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vaelab.config import ConfigError, did_you_mean, show, unknown
from vaelab.models.vae import VAE, Gaussian, ImageShape, evaluating

__all__ = ["VAE", "Gaussian", "ImageShape", "build", "evaluating", "names", "outline", "with_weights"]


def names() -> list[str]:
    """The models that can be built: every module of this package beside `vae`."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "vae")


def model_class(name: str) -> type[VAE]:
    """The VAE subclass that the module `vaelab.models.<name>` defines."""
    if name not in names():
        raise unknown("model", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, VAE) and value.__module__ == module.__name__
    )
    return found


def build(settings: Mapping[str, Any], image_shape: ImageShape, seed: int) -> VAE:
    """A freshly initialised model from the `model` settings: its name and its class's arguments.

    The weights depend on `seed` alone; PyTorch's global random state is left as it was.
    Raises ConfigError for an unknown model, an argument it doesn't take, or a value it refuses.
    """
    arguments = dict(settings)
    cls = model_class(arguments.pop("name"))
    accepted = [name for name in inspect.signature(cls).parameters if name != "image_shape"]
    for name in arguments:
        if name not in accepted:
            hint = did_you_mean(name, accepted)
            raise ConfigError(
                f"Unknown setting 'model.{name}'. {hint}"
                f"model={settings['name']} takes: {', '.join(accepted)}."
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(image_shape, **arguments)


def outline(settings: Mapping[str, Any], image_shape: ImageShape) -> VAE:
    """The model without memory for its weights, on PyTorch's meta device: names, shapes and types.

    Raises ConfigError as `build` does, and for sizes that no tensor can have.
    """
    try:
        with torch.device("meta"):
            return build(settings, image_shape, seed=0)
    except (RuntimeError, TypeError, OverflowError) as error:
        sizes = ", ".join(f"model.{key}={show(value)}" for key, value in settings.items() if key != "name")
        raise ConfigError(f"No model can have {sizes}: type smaller numbers.") from error


def with_weights(settings: Mapping[str, Any], image_shape: ImageShape, weights: Mapping[str, Tensor]) -> VAE:
    """The model of these settings that has these weights, a state dict; it takes no memory beside theirs.

    Raises ConfigError as `build` does, and ValueError for weights of another model: settings may ask for any
    size, and nothing is allocated before both are found to agree.
    """
    longest = max((len(value) for value in settings.values() if isinstance(value, list)), default=0)
    if longest > len(weights):
        raise ValueError(f"{longest} layers, but {len(weights)} tensors")
    try:
        model = outline(settings, image_shape)
        expected = model.state_dict()
        if any(name in expected and each.dtype != expected[name].dtype for name, each in weights.items()):
            raise ValueError("weights of another type")
        model.load_state_dict(weights, assign=True)
    except (RuntimeError, TypeError, OverflowError, AttributeError) as error:
        raise ValueError(str(error)) from error
    return model
