"""Cyclical annealing (Fu et al. 2019): the weight is reset to 0 several times."""

from vaelab.objectives.schedules import KLSchedule, kl_schedules


@kl_schedules.register("cyclical")
class Cyclical(KLSchedule):
    """Rises linearly in the first fraction `ratio` of each of `cycles` equal cycles, then stays at 1.

    The cycles last `warmup_epochs` in all, after which the weight is 1; with 0, they last the whole training.
    """

    def __init__(self, epochs: int, warmup_epochs: int = 0, cycles: int = 4, ratio: float = 0.5) -> None:
        self.end, self.cycles, self.ratio = warmup_epochs or epochs, cycles, ratio

    def weight(self, epoch: float) -> float:
        if epoch >= self.end:
            return 1.0
        return min(1.0, (self.cycles * epoch / self.end) % 1.0 / self.ratio)
