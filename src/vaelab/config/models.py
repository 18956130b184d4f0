"""The ranges of the settings of the shipped models, checked before PyTorch is imported, which takes seconds.

The names are the arguments of the classes in models/. Classes of other models check their own arguments.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vaelab.config.base import unknown_setting
from vaelab.config.errors import ConfigError, must_be, show, unknown
from vaelab.config.train import Config

ACTIVATIONS = ("relu", "tanh", "gated")
ImageShape = tuple[int, int, int]  # channels, height, width


def check_model(model: Mapping[str, Any], image_shape: ImageShape) -> None:
    """Raise ConfigError for a value that a shipped model can't have."""
    rules: dict[str, dict[str, Callable[[str, Any, ImageShape], None]]] = {
        "mlp": {"latent_dim": count, "hidden": counts, "activation": activation},
        "conv": {"latent_dim": count, "channels": channels, "kernel": count},
        "resnet": {"latent_dim": count, "channels": channels, "blocks": count},
    }
    known = rules.get(str(model["name"]))
    if known is None:
        return
    names = [*known, "conditional"]
    for name in model:
        if name not in (*names, "name"):
            raise unknown_setting(f"model.{name}", Config, names, str(model["name"]))
    for name, check in known.items():
        if name in model:
            check(f"model.{name}", model[name], image_shape)


def count(key: str, value: object, _: ImageShape) -> None:
    if not is_count(value):
        raise must_be(key, "a whole number of at least 1", value)


def counts(key: str, values: object, _: ImageShape, example: str = "[400]") -> None:
    if not isinstance(values, list | tuple) or not values or not all(map(is_count, values)):
        raise must_be(key, f"a list of whole numbers of at least 1, such as {example}", values)


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def activation(key: str, value: object, _: ImageShape) -> None:
    if value not in ACTIVATIONS:
        raise unknown(key, value, ACTIVATIONS)


def channels(key: str, values: Any, image_shape: ImageShape) -> None:
    counts(key, values, image_shape, "[32,64]")
    halvings = 2 ** len(values)
    _, height, width = image_shape
    if height % halvings or width % halvings:
        fewer = [
            value for times, value in enumerate(values, 1) if not (height % 2**times or width % 2**times)
        ]
        advice = f"fewer channels, such as {show(fewer)}" if fewer else "model=mlp"
        raise ConfigError(
            f"{key}={show(values)} halves images {len(values)} times, but {height} × {width} pixels are not "
            f"divisible by {halvings}: type {advice}, or for your own images dataset.image_size="
            f"{max(1, round(height / halvings)) * halvings}."
        )
