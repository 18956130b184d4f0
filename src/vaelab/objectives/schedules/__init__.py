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


class WarmUp(KLSchedule):
    """Rises over the first `warmup_epochs`, then stays at 1; without any it is 1 from the start."""

    def __init__(self, warmup_epochs: int = 0) -> None:
        self.warmup_epochs = warmup_epochs

    def weight(self, epoch: float) -> float:
        return 1.0 if epoch >= self.warmup_epochs else self.rise(epoch / self.warmup_epochs)

    @abstractmethod
    def rise(self, share: float) -> float:
        """The factor after this share of the warm-up."""


kl_schedules: Registry[Callable[..., KLSchedule]] = Registry("loss.schedule", __name__, "vaelab.kl_schedules")
