"""How the latent space is used: KL per dimension, mutual information, and coverage of the prior."""

import math
from dataclasses import replace

from torch import Tensor

from vaelab.config import counted
from vaelab.evaluation.model import COVERAGE_POINTS, COVERED, EvaluatedModel, Progress
from vaelab.evaluation.numbers import NATS, Number, Section, mean_of, number_of
from vaelab.evaluation.sections import sections
from vaelab.metrics.latent import FACTORISED, is_active, kl_parts, uncovered
from vaelab.metrics.resampling import share_score
from vaelab.pages.glossary import NEAR_CEILING, near_ceiling

COLLAPSED = 0.01  # nats, averaged over images, below which a latent dimension carries nothing


@sections.register("latent")
def latent(evaluated: EvaluatedModel, progress: Progress) -> Section:
    posterior, samples_NL, kl_L = evaluated.posterior, evaluated.posterior_samples, evaluated.kl_of_dimensions
    images, latents = samples_NL.shape
    parts = kl_parts(posterior, samples_NL)
    progress("coverage of the prior")
    points_ZL = samples_NL[:COVERAGE_POINTS]
    own = evaluated.split.name != "train"  # no training image is to cover its own samples
    samples_missed = share_score(uncovered(evaluated.train_posterior, points_ZL, COVERED, own=own))
    active, collapsed, constant = (int(each_L.sum()) for each_L in kinds_of_dimensions(evaluated))
    basis = evaluated.basis(images)
    sampled = evaluated.basis(images, 1, "posterior sample per image")
    factorised = evaluated.basis(images, min(images, FACTORISED), "posterior samples")
    covering = len(evaluated.data.train)
    of_prior = replace(evaluated.basis(covering, COVERAGE_POINTS, "prior draws"), split="train")
    of_points = evaluated.basis(covering, len(points_ZL), "posterior samples")
    of_points = replace(of_points, split=f"{evaluated.split.name} against train")
    of_all = f"of {counted(latents, 'dimension')}"
    rows = {
        "kl": mean_of(posterior.kl(), NATS, basis),
        "mutual_information": number_of(parts.mutual_information, NATS, sampled),
        "marginal_kl": number_of(parts.marginal_kl, NATS, sampled),
        "total_correlation": number_of(parts.total_correlation, NATS, factorised),
        "dimension_wise_kl": number_of(parts.dimension_wise_kl, NATS, factorised),
        "active_units": Number(active, of_all, basis),
        "collapsed_dimensions": Number(collapsed, of_all, basis),
        "constant_dimensions": Number(constant, of_all, basis),
        "prior_not_covered": number_of(evaluated.prior_not_covered, "share of prior draws", of_prior),
        "posterior_not_covered": number_of(samples_missed, "share of posterior samples", of_points),
    }
    ceiling = math.log(images)
    remark = (
        "kl = mutual_information I(x; z) + marginal_kl KL(q(z) ‖ p(z)) (Hoffman & Johnson 2016); "
        "marginal_kl = total_correlation + dimension_wise_kl (Chen et al. 2018); these two are measured on "
        "fewer samples, and their ± is over samples only. With "
        f"{counted(images, 'image')}, I(x; z) cannot be measured above ln {images:,} = {ceiling:.2f}.\n"
        "prior_not_covered rises with fewer training images, smaller σ and more dimensions: compare it with "
        f"posterior_not_covered, the same share of posterior samples of {evaluated.examples.images_name}."
    )
    verdicts = [collapse_verdict(active, collapsed, constant)]
    if near_ceiling(parts.mutual_information.value, images):
        verdicts.append(
            f"I(x; z) is within {NEAR_CEILING} nats of its ceiling: the posteriors of {images:,} images "
            "overlap too little to measure it; the true value is higher, and that of marginal_kl lower."
        )
    measured_on = {"split": basis.split, "images": images, "seed": basis.seed}
    details = {"kl_per_dimension": {"values": kl_L.tolist(), "unit": NATS, **measured_on}}
    return Section.of_columns("Latent space", {"model": rows}, remark, verdicts, details)


def kinds_of_dimensions(evaluated: EvaluatedModel) -> tuple[Tensor, Tensor, Tensor]:
    """Which dimensions are active, collapsed to the prior, and constant away from it, shape (L,) each."""
    active_L = is_active(evaluated.posterior.mean).cpu()
    low_L = evaluated.kl_of_dimensions < COLLAPSED
    return active_L, low_L & ~active_L, ~low_L & ~active_L


def collapse_verdict(active: int, collapsed: int, constant: int) -> str:
    """How many dimensions tell images apart, and why the others don't."""
    latents = active + collapsed + constant
    verdict = f"{active} of {counted(latents, 'latent dimension')} {'is' if active == 1 else 'are'} active."
    if collapsed:
        verdict += f" Collapsed to the prior (KL below {COLLAPSED} nats): {collapsed}."
    if constant:
        verdict += (
            f" Constant away from the prior (nearly the same posterior mean for all images): {constant}."
        )
    return verdict
