"""The models. A new one is a file here with one `VAE` subclass, and a yaml of its arguments in conf/model."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import torch

from vaelab.config import ConfigError, did_you_mean, unknown
from vaelab.models.vae import VAE, Gaussian, ImageShape, evaluating

__all__ = ["VAE", "Gaussian", "ImageShape", "build", "evaluating", "names"]


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
