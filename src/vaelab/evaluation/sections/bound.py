"""The negative ELBO and its two terms, over the whole split."""

import math
from dataclasses import replace

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import NATS, Section, mean_of
from vaelab.evaluation.sections import sections


@sections.register("bound")
def bound(evaluated: EvaluatedModel, progress: Progress) -> Section:
    terms = evaluated.bound.terms
    basis = evaluated.basis(len(evaluated.split), 1, "posterior sample per image")
    sum_of_averages = evaluated.bound.averages()["neg_elbo"]  # as training adds up: the same digits
    nats_per_bit = math.prod(evaluated.model.image_shape) * math.log(2)
    rows = {
        "reconstruction": mean_of(terms.reconstruction, NATS, basis),
        "kl": mean_of(terms.kl, NATS, basis),
        "neg_elbo": replace(mean_of(terms.neg_elbo, NATS, basis), value=sum_of_averages),
        "bits_per_dim": mean_of(terms.neg_elbo / nats_per_bit, "bits per pixel", basis),
    }
    remark = "± is the standard error over images."
    if evaluated.run.config.loss.likelihood_name != "bernoulli":
        remark += " Densities of grey values in [0, 1] can be negative, and are not bits/dim of 8-bit values."
    elif evaluated.data.binarize == "none":
        remark += " Bernoulli likelihoods of grey pixels are no probabilities: compare in this family only."
    return Section.of_columns("Negative ELBO", {"model": rows}, remark)
