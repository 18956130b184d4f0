"""What else records each epoch: one callback per module, registered there, chosen by the setting `logger`.

A constructor may take `config`, `data`, `folder`, `examples` and `epoch` (complete ones, when resumed), and
raises ConfigError where it can't work.
"""

from collections.abc import Callable
from typing import Any

from vaelab.config.base import Component
from vaelab.config.registry import Registry
from vaelab.training.callbacks import Callback

loggers: Registry[Callable[..., Callback]] = Registry("logger", __name__, "vaelab.loggers")


@loggers.register("none")
class Nothing(Callback):
    """No other logger."""


def build(component: Component, **given: Any) -> Callback:
    """The logger of the setting. Raises ConfigError for what isn't registered."""
    logger: Callback = loggers.build(component, **given)
    return logger
