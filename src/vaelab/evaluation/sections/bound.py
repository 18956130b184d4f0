"""The negative ELBO and its two terms, over the whole split."""

import math
from dataclasses import replace

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import NATS, Section, mean_of
from vaelab.evaluation.sections import sections

BITS = "bits per pixel"


def nats_per_bit(evaluated: EvaluatedModel) -> float:
    """Nats per image of one bit per pixel."""
    return math.prod(evaluated.model.image_shape) * math.log(2)


def what_it_measures(evaluated: EvaluatedModel) -> str:
    """What −log p(x|z) is under this likelihood, for these pixels."""
    if evaluated.objective.likelihood.is_density:
        return (
            "−log of a density of grey values in [0, 1]: it can be negative, and is dominated by how sharply "
            "the density peaks at exact values such as 0."
        )
    if evaluated.is_probability:
        return "−log of a probability of 0/1 pixels."
    name = evaluated.run.config.loss.likelihood_name
    return (
        f"The {name} likelihood of grey pixels is not a probability of the data: compare its numbers only "
        "among models with the same likelihood and pixels."
    )


@sections.register("bound")
def bound(evaluated: EvaluatedModel, progress: Progress) -> Section:
    terms = evaluated.bound.terms
    basis = evaluated.basis(len(evaluated.split), 1, "posterior sample per image")
    sum_of_averages = evaluated.bound.averages()["neg_elbo"]  # as training adds up: the same digits
    rows = {
        "reconstruction": mean_of(terms.reconstruction, NATS, basis),
        "kl": mean_of(terms.kl, NATS, basis),
        "neg_elbo": replace(mean_of(terms.neg_elbo, NATS, basis), value=sum_of_averages),
    }
    if evaluated.is_probability:
        rows["bits_per_dim"] = mean_of(terms.neg_elbo / nats_per_bit(evaluated), BITS, basis)
    remark = f"± is the standard error over images. {what_it_measures(evaluated)}"
    return Section.of_columns("Negative ELBO", {"model": rows}, remark)
