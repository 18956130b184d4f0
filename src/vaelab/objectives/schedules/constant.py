"""The full weight from the first step on."""

from vaelab.objectives.schedules import KLSchedule, kl_schedules


@kl_schedules.register("constant")
class Constant(KLSchedule):
    """1 at all times."""

    full_from_start = True

    def weight(self, epoch: float) -> float:
        return 1.0
