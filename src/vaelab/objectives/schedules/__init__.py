"""The KL weight during training: one module per schedule, registered there."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from vaelab.config.registry import Registry


class KLSchedule(ABC):
    """A factor on beta over time. It is evaluated at every step, also under a captured CUDA graph.

    A constructor may ask for `epochs` and for the settings `warmup_epochs`, `cycles` and `ratio`.
    """

    @abstractmethod
    def weight(self, epoch: float) -> float:
        """From 0 to 1, where 2.5 is the middle of the third epoch."""


kl_schedules: Registry[Callable[..., KLSchedule]] = Registry("loss.schedule", __name__, "vaelab.kl_schedules")
