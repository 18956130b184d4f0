"""The negative ELBO and its two terms, over the whole split."""

import math

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import NATS, Number, Section, mean_of
from vaelab.evaluation.sections import sections

GREY_BERNOULLI = (
    "The Bernoulli likelihood of grey pixels is not a probability: compare within this family only."
)
DENSITY = "A density of grey values in [0, 1]: it can be negative, and is not bits/dim of 8-bit values."


@sections.register("bound")
def bound(evaluated: EvaluatedModel, progress: Progress) -> Section:
    terms, averages = evaluated.bound.terms, evaluated.bound.averages()
    basis = evaluated.basis(len(evaluated.split), 1, "posterior sample per image")
    error = mean_of(terms.neg_elbo, NATS, basis).standard_error
    nats_per_bit = math.prod(evaluated.model.image_shape) * math.log(2)
    bits_error = None if error is None else error / nats_per_bit
    rows = {
        "reconstruction": mean_of(terms.reconstruction, NATS, basis),
        "kl": mean_of(terms.kl, NATS, basis),
        # Added up from the averages as training does, so that both write the same digits.
        "neg_elbo": Number(averages["neg_elbo"], NATS, basis, error),
        "bits_per_dim": Number(averages["neg_elbo"] / nats_per_bit, "bits per pixel", basis, bits_error),
    }
    remark = "± is the standard error over images."
    if evaluated.run.config.loss.likelihood_name != "bernoulli":
        remark += f" {DENSITY}"
    elif evaluated.data.binarize == "none":
        remark += f" {GREY_BERNOULLI}"
    return Section.of_model("Negative ELBO", rows, remark)
