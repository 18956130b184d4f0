"""Sigmoid warm-up (Bowman et al. 2016): slow at first, fast in the middle of loss.warmup_epochs, then 1."""

import math

from vaelab.objectives.schedules import WarmUp, kl_schedules

STEEPNESS = 6.0  # the logistic function from -6, where it is 0.002, to 6, shifted and scaled to [0, 1]


@kl_schedules.register("sigmoid")
class Sigmoid(WarmUp):
    """A logistic function, shifted and scaled to run from 0 to 1."""

    def rise(self, share: float) -> float:
        # tanh(x / 2) is the logistic function of x on the scale from -1 to 1.
        return 0.5 * (1.0 + math.tanh(STEEPNESS * (share - 0.5)) / math.tanh(STEEPNESS / 2))
