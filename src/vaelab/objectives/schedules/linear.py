"""Linear warm-up (Sønderby et al. 2016): from 0 to 1 over loss.warmup_epochs, then 1."""

from vaelab.objectives.schedules import KLSchedule, kl_schedules


@kl_schedules.register("linear")
class Linear(KLSchedule):
    """Rises linearly over the first `warmup_epochs`; without any it is 1 from the start."""

    def __init__(self, warmup_epochs: int = 0) -> None:
        self.warmup_epochs = warmup_epochs

    def weight(self, epoch: float) -> float:
        return min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs else 1.0
