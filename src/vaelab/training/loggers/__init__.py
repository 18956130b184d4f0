"""What else records each epoch: a callback per module, by its name in the setting `logger`.

A logger's constructor may take `config`, `data`, `folder`, `examples` and `epoch` (complete ones, where a run
is resumed), and raises ConfigError where it can't work.
"""

from __future__ import annotations

from typing import Any

from vaelab.config import Component
from vaelab.training.callbacks import Callback


def build(component: Component, **given: Any) -> list[Callback]:
    """The logger of that setting; none for `none`."""
    if component == "none":
        return []
    from vaelab.training.loggers.tensorboard import TensorBoard

    return [TensorBoard(given["folder"], given["examples"], given["epoch"])]
