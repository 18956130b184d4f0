"""A KL weight that starts again from 0 several times."""

from vaelab.objectives import KLSchedule, kl_schedules


@kl_schedules.register("cyclical")
class Cyclical(KLSchedule):
    """Rises linearly in the first half of each cycle, then stays at 1 (Fu et al. 2019)."""

    def __init__(self, epochs: int, cycles: int = 4) -> None:
        self.length = epochs / cycles

    def weight(self, epoch: float) -> float:
        return min(1.0, 2 * (epoch % self.length) / self.length)
