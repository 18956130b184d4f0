"""Linear warm-up (Sønderby et al. 2016): from 0 to 1 over loss.warmup_epochs, then 1."""

from vaelab.objectives.schedules import WarmUp, kl_schedules


@kl_schedules.register("linear")
class Linear(WarmUp):
    """A straight line from 0 to 1."""

    def rise(self, share: float) -> float:
        return share
