"""Cosine warm-up: half a period of a cosine from 0 to 1 over loss.warmup_epochs, then 1."""

import math

from vaelab.objectives.schedules import KLSchedule, kl_schedules


@kl_schedules.register("cosine")
class Cosine(KLSchedule):
    def __init__(self, warmup_epochs: int = 0) -> None:
        self.warmup_epochs = warmup_epochs

    def weight(self, epoch: float) -> float:
        if epoch >= self.warmup_epochs:
            return 1.0
        return 0.5 * (1.0 - math.cos(math.pi * epoch / self.warmup_epochs))
