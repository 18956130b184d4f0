"""The negative ELBO and its two terms, over the whole split."""

import math
from dataclasses import replace

from torch import Tensor

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import NATS, Basis, Number, Section, mean_of
from vaelab.evaluation.sections import sections
from vaelab.pages.published import of_test_set

BITS = "bits per dimension"


def nats_per_bit(evaluated: EvaluatedModel) -> float:
    """Nats per image of one bit per dimension: per pixel and channel."""
    return math.prod(evaluated.model.image_shape) * math.log(2)


def with_class(evaluated: EvaluatedModel, name: str, bound_N: Tensor, basis: Basis) -> dict[str, Number]:
    """A bound on −log p(x|y) with −log p(y) added, where the model is class-conditional.

    It bounds −log p(x, y), and so −log p(x), as the numbers of models that are not given the class do.
    """
    log_prior_N = evaluated.log_class_prior[: len(bound_N)]
    if not evaluated.model.classes or not log_prior_N.isfinite().all():
        return {}
    return {f"{name} - log p(y)": mean_of(bound_N - log_prior_N, NATS, basis)}


GIVEN_THE_CLASS = (
    "The model is given the class y: these are bounds on −log p(x|y), which are not comparable with bounds "
    "on −log p(x) of an unconditional model. With −log p(y) added they are bounds on −log p(x, y), and "
    "therefore on −log p(x), and are comparable; p(y) is the share of the class among the training images."
)


def what_it_measures(evaluated: EvaluatedModel) -> str:
    """What −log p(x|z) is under this likelihood, for these pixels, and whether the class is given."""
    given = f"{GIVEN_THE_CLASS}\n" if evaluated.model.classes else ""
    return given + what_log_prob_is(evaluated)


def what_log_prob_is(evaluated: EvaluatedModel) -> str:
    if evaluated.objective.likelihood.is_density:
        return (
            "−log of a density of grey values in [0, 1]: it can be negative, and is dominated by how sharply "
            "the density peaks at exact values such as 0."
        )
    if evaluated.is_probability and evaluated.data.binarize == "larochelle":
        return (
            "−log of a probability of the 0/1 pixels that Larochelle & Murray (2011) published: a true "
            "likelihood of these images, not comparable with that of pixels binarised "
            "in another way, for example dynamically."
        )
    if evaluated.is_probability:
        return "−log of a probability of 0/1 pixels."
    name = evaluated.run.config.loss.likelihood_name
    return (
        f"The {name} likelihood of {evaluated.pixels} pixels is not a probability of the data: compare its "
        "numbers only among models with the same likelihood and pixels."
    )


@sections.register("bound")
def bound(evaluated: EvaluatedModel, progress: Progress) -> Section:
    terms = evaluated.bound.terms
    basis = evaluated.basis(len(evaluated.split), *evaluated.per_image)
    sum_of_averages = evaluated.bound.averages()["neg_elbo"]  # as training adds up: the same digits
    rows = {
        "reconstruction": mean_of(terms.reconstruction, NATS, basis),
        "kl": mean_of(terms.kl, NATS, basis),
        "neg_elbo": replace(mean_of(terms.neg_elbo, NATS, basis), value=sum_of_averages),
    }
    rows |= with_class(evaluated, "neg_elbo", terms.neg_elbo, basis)
    if evaluated.is_probability:
        rows["bits_per_dim"] = mean_of(terms.neg_elbo / nats_per_bit(evaluated), BITS, basis)
    remark = "\n".join([what_it_measures(evaluated), *published_likelihoods(evaluated)])
    return Section.of_columns("Negative ELBO", {"model": rows}, remark)


def published_likelihoods(evaluated: EvaluatedModel) -> list[str]:
    """Published results for exactly these test images and this likelihood, as a remark; else empty."""
    data, bernoulli = evaluated.data, evaluated.run.config.loss.likelihood_name == "bernoulli"
    whole = data.origin.complete and len(data.classes) == len(data.spec.classes)
    if not (whole and bernoulli and evaluated.split.name == "test") or evaluated.model.classes:
        return []
    found = of_test_set(data.spec.name, data.binarize)
    return [f"Published for these test images: {', '.join(found)}."] if found else []
