"""The KL weight over the course of training: one module per schedule, which registers it."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from vaelab.config.registry import Registry


class KLSchedule(ABC):
    """A factor on beta as a function of time. It is evaluated at every step, also with a captured CUDA graph.

    A constructor may take `epochs` and the settings `warmup_epochs`, `cycles` and `ratio` by name; its other
    arguments are settings of its own.

    >>> class Half(KLSchedule):
    ...     def weight(self, epoch: float) -> float:
    ...         return 0.5
    >>> Half().weight(2.5)
    0.5
    """

    full_from_start: bool = False
    """Whether the weight is 1 at all times."""

    @abstractmethod
    def weight(self, epoch: float) -> float:
        """The factor, from 0 to 1, at a time in epochs, where 2.5 is the middle of the third epoch."""


class WarmUp(KLSchedule):
    """Base class: rises to 1 over the first `warmup_epochs`; with 0 epochs it is 1 from the start."""

    def __init__(self, warmup_epochs: int = 0) -> None:
        self.warmup_epochs = warmup_epochs
        self.full_from_start = warmup_epochs == 0

    def weight(self, epoch: float) -> float:
        return 1.0 if epoch >= self.warmup_epochs else self.rise(epoch / self.warmup_epochs)

    @abstractmethod
    def rise(self, share: float) -> float:
        """The factor after a fraction `share` of the warm-up, from 0 to 1."""


kl_schedules: Registry[Callable[..., KLSchedule]] = Registry("loss.schedule", __name__, "vaelab.kl_schedules")
