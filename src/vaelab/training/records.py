"""The numbers of an epoch, whether they are finite, and whether they are the best so far."""

import math

from vaelab.config import Config, VaelabError
from vaelab.data.splits import Data
from vaelab.metrics.latent import active_units
from vaelab.objectives import kl_weight
from vaelab.objectives.scoring import bound
from vaelab.training.state import Record, TrainingState


class TrainingDiverged(VaelabError):
    """The loss is not finite any more."""

    def __init__(self, epoch: int, step: int, reconstruction: float, kl: float, weight: float) -> None:
        super().__init__(
            f"The loss is not finite in epoch {epoch}, step {step} "
            f"(reconstruction {reconstruction:.4g}, kl {kl:.4g}, kl weight {weight:.4g})"
        )


def check_finite(state: TrainingState, config: Config) -> None:
    """Raise TrainingDiverged where the weights or a step's terms are not finite; the first step is named."""
    terms_S3 = state.step_terms_S3[: state.step]
    diverged = (~terms_S3.isfinite()).any(dim=1).nonzero().flatten().tolist()
    weights = [*state.model.parameters(), *state.objective.parameters()]
    if not diverged and all(weight.isfinite().all() for weight in weights):
        return
    step = diverged[0] if diverged else state.step - 1
    reconstruction, kl = (terms_S3[step, :2] / config.batch_size).tolist()
    weight = kl_weight(config)(state.epoch + step / state.steps_per_epoch)
    raise TrainingDiverged(state.epoch + 1, step + 1, reconstruction, kl, weight)


def epoch_record(state: TrainingState, data: Data, config: Config) -> Record:
    """The row of metrics.csv for the epoch whose steps are all done; scores the validation images.

    Their loss is that of the epoch's last KL weight. Raises TrainingDiverged.
    """
    weight = kl_weight(config)(state.epoch + 1 - 1 / state.steps_per_epoch)
    reconstruction, kl, loss = (state.step_terms_S3.double().sum(dim=0) / len(data.train)).tolist()
    train = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "neg_elbo": reconstruction + kl}
    scored = bound(state.model, state.objective, data.held_out, config.seed, weight)
    averages = {"loss": scored.terms.loss.mean().item(), **scored.averages()}
    record: Record = {"epoch": state.epoch + 1}
    for name, numbers in (("train", train), (data.held_out.name, averages)):
        if not all(map(math.isfinite, numbers.values())):
            terms = numbers["reconstruction"], numbers["kl"]
            raise TrainingDiverged(state.epoch + 1, state.step, *terms, weight)
        record |= {f"{name}/{key}": value for key, value in numbers.items()}
    return record | {
        "kl_weight": weight,
        "active_units": active_units(scored.posterior.mean),
        "images_per_second": len(data.train) / state.seconds,
        "seconds": state.seconds,
    }


def chosen_by(record: Record, state: TrainingState, config: Config) -> float | None:
    """neg_elbo on the validation images, by which the best epoch is chosen; None where it can't be.

    Nothing may be chosen on test images, which are scored where there are no validation images. And an epoch
    of a lower KL weight would win for no better reason than that.
    """
    weight_of, steps = kl_weight(config), state.steps_per_epoch
    full = all(weight_of(state.epoch + step / steps) == weight_of.full for step in range(steps))
    return record.get("val/neg_elbo") if full else None
