"""Sigmoid warm-up (Bowman et al. 2016): slow at first, fast in the middle of loss.warmup_epochs, then 1."""

import math

from vaelab.objectives.schedules import KLSchedule, kl_schedules

STEEPNESS = 6.0  # the logistic function from -6, where it is 0.002, to 6, shifted and scaled to [0, 1]


@kl_schedules.register("sigmoid")
class Sigmoid(KLSchedule):
    def __init__(self, warmup_epochs: int = 0) -> None:
        self.warmup_epochs = warmup_epochs

    def weight(self, epoch: float) -> float:
        if epoch >= self.warmup_epochs:
            return 1.0
        # tanh(x / 2) is the logistic function of x on the scale from -1 to 1.
        relative = math.tanh(STEEPNESS * (epoch / self.warmup_epochs - 0.5)) / math.tanh(STEEPNESS / 2)
        return 0.5 * (1.0 + relative)
