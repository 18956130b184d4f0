"""Cosine warm-up: half a period of a cosine from 0 to 1 over loss.warmup_epochs, then 1."""

import math

from vaelab.objectives.schedules import WarmUp, kl_schedules


@kl_schedules.register("cosine")
class Cosine(WarmUp):
    """Half a period of a cosine, from 0 to 1."""

    def rise(self, share: float) -> float:
        return 0.5 * (1.0 - math.cos(math.pi * share))
