"""A KL weight that rises in steps."""

from vaelab.objectives import KLSchedule, kl_schedules


@kl_schedules.register("staircase")
class Staircase(KLSchedule):
    """Constant in each of `steps` equal parts of the training: 1 / steps in the first one, 1 in the last."""

    def __init__(self, epochs: int, steps: int = 4) -> None:
        self.length, self.steps = epochs / steps, steps

    def weight(self, epoch: float) -> float:
        return min(1.0, (epoch // self.length + 1) / self.steps)
