"""Which settings determine the numbers of a training: runs in which they are equal are the same training."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from vaelab.config import Config, ConfigError, look_up
from vaelab.config.train import KL_SETTINGS, SCHEDULE_ARGUMENTS
from vaelab.objectives import kl_weight


def effective(config: Config) -> dict[str, Any]:
    """The settings that determine the numbers and figures of a training, as plain values.

    Settings without effect are at their defaults: two sets of settings with equal effective values describe
    the same training.
    """
    plain = config.to_dict()
    for key in ("device", "deterministic", "logger", "resume"):
        del plain[key]
    del plain["dataset"]["root"]  # wherever the files are, they are checked to be the same
    del plain["artifacts"]["zip"]  # a sweep is packed as a whole
    if not plain["model"].get("conditional", True):
        del plain["model"]["conditional"]  # the same model as before there was this setting
    untouched = Config().to_dict()
    idle: Sequence[str] = ()
    if config.kl_off:
        plain["kl"] = False
        idle = KL_SETTINGS
    elif has_constant_kl_weight(config):
        idle = [f"loss.{name}" for name in ("schedule", *SCHEDULE_ARGUMENTS)]
    for key in idle:
        group, _, name = key.rpartition(".")
        (plain[group] if group else plain)[name] = look_up(untouched, key)
    return plain


def has_constant_kl_weight(config: Config) -> bool:
    """Whether the KL weight is the full one at every step; not known, and False, if its plugin is missing."""
    try:
        return kl_weight(config).is_constant
    except ConfigError:
        return False


def training_digest(config: Config, files: str = "") -> str:
    """SHA-256 of the effective settings: equal for the same training, in every process.

    `files` distinguishes what the settings don't: digests of a user's own images, and of initial weights.
    """
    text = json.dumps(effective(config), sort_keys=True, separators=(",", ":")) + files
    return hashlib.sha256(text.encode()).hexdigest()
