"""What else records each epoch: one callback per module, registered there, chosen by the setting `logger`.

A constructor may take `config`, `data`, `folder`, `examples` and `epoch` (complete ones, when resumed), and
raises ConfigError where it can't work.
"""

from collections.abc import Callable

from vaelab.config.registry import Registry
from vaelab.training.callbacks import Callback

loggers: Registry[Callable[..., Callback]] = Registry("logger", __name__, "vaelab.loggers")


@loggers.register("none")
class NoLogger(Callback):
    """No other logger."""
