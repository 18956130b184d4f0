"""Whether settings can be trained at all, found out before anything is loaded or written."""

import torch

from vaelab.config import Config, ConfigError, show
from vaelab.data.datasets import spec_of
from vaelab.models import outline
from vaelab.objectives import build_objective, kl_weight
from vaelab.runs.environment import memory, pick_device
from vaelab.runs.files import size


def check_model(config: Config) -> int:
    """The number of parameters. Raises ConfigError for what can't be built: model, objective, schedule."""
    shape = spec_of(config.dataset.name).image_shape
    per_pixel = build_objective(config).likelihood.parameters_per_pixel
    kl_weight(config)
    return sum(each.numel() for each in outline(config.model, shape, per_pixel).parameters())


def check_settings(config: Config) -> torch.device:
    """The device to train on. Raises ConfigError for settings that can't be trained there.

    What depends on the images themselves (classes, val_size) is found when they are loaded.
    """
    device = pick_device(config.device)
    parameters = check_model(config)
    needed = 4 * 4 * parameters  # bytes of weight, gradient and Adam's two moments, in fp32
    there = memory(device)
    if there is not None and needed > there:
        model = config.model.items()
        sizes = ", ".join(f"model.{key}={show(value)}" for key, value in model if key != "name")
        raise ConfigError(
            f"{sizes} makes {parameters:,} parameters, which take {size(needed)} to train, and there are "
            f"{size(there)}: type smaller numbers."
        )
    return device
