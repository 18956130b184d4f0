"""How the latent space is used: KL per dimension, mutual information, and coverage of the prior."""

import math

import torch

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import NATS, Number, Section, percent
from vaelab.evaluation.sections import sections
from vaelab.metrics.latent import ACTIVE_VARIANCE, active_units, kl_parts, uncovered
from vaelab.runs.random_streams import stream

COLLAPSED = 0.01  # nats, averaged over images, below which a latent dimension is collapsed
COVERED = 0.95  # share of q(z|x) inside the ellipsoid that an image covers
PRIOR_POINTS = 10_000
NEAR_CEILING = 1.5
"""Nats below ln N within which a measured I(x; z) is biased: at ln N − 1.2 by 0.3 nats, above by more."""


@sections.register("latent")
def latent(evaluated: EvaluatedModel, progress: Progress) -> Section:
    posterior, samples_NL, kl_L = evaluated.posterior, evaluated.posterior_samples, evaluated.kl_of_dimensions
    images, latents = samples_NL.shape
    parts = kl_parts(posterior, samples_NL)
    noise = stream(evaluated.seed, "prior draws for coverage", device=evaluated.device)
    z_ZL = torch.randn(PRIOR_POINTS, latents, generator=noise, device=evaluated.device, dtype=torch.float64)
    prior_missed = uncovered(posterior, z_ZL, COVERED).double().mean().item()
    samples_missed = uncovered(posterior, samples_NL, COVERED, own=False).double().mean().item()
    collapsed = int((kl_L < COLLAPSED).sum())
    basis = evaluated.basis(images)
    sampled = evaluated.basis(images, 1, "posterior sample per image")
    of_prior = evaluated.basis(images, PRIOR_POINTS, "prior draws")
    rows = {
        "kl": Number(kl_L.sum().item(), NATS, basis),
        "mutual_information": Number(parts.mutual_information, f"{NATS}, at least", sampled),
        "marginal_kl": Number(parts.marginal_kl, f"{NATS}, at most", sampled),
        "active_units": Number(active_units(posterior.mean), f"of {latents} dimensions", basis),
        "collapsed_dimensions": Number(collapsed, f"of {latents} dimensions", basis),
        "prior_not_covered": Number(prior_missed, "share of prior draws", of_prior),
        "posterior_not_covered": Number(samples_missed, "share of posterior samples", sampled),
    }
    ceiling = math.log(images)
    remark = (
        "kl = mutual_information I(x; z) + marginal_kl KL(q(z) ‖ p(z)) (Hoffman & Johnson 2016). With "
        f"{images:,} images I(x; z) can't be measured above ln {images:,} = {ceiling:.2f}. active_units: "
        f"variance of the posterior mean above {ACTIVE_VARIANCE}. prior_not_covered: prior draws outside the "
        f"{percent(COVERED)} ellipsoid of q(z|x) of every image; it rises with fewer images, smaller σ and "
        "more dimensions. posterior_not_covered, the same for posterior samples with their own image left "
        "out, is the value to compare it with."
    )
    verdicts = [collapse_verdict(collapsed, latents)]
    if parts.mutual_information > ceiling - NEAR_CEILING:
        verdicts.append(
            f"I(x; z) is within {NEAR_CEILING} nats of its ceiling: the posteriors separate {images:,} "
            "images too well to measure it; the true value is higher, and marginal_kl lower."
        )
    measured_on = {"split": basis.split, "images": images, "seed": basis.seed}
    details = {"kl_per_dimension": {"values": kl_L.tolist(), "unit": NATS, **measured_on}}
    return Section.of_columns("Latent space", {"model": rows}, remark, verdicts, details)


def collapse_verdict(collapsed: int, latents: int) -> str:
    """`2 of 16 dimensions carry less than 0.01 nats: collapsed.`"""
    if not collapsed:
        which = "The dimension carries" if latents == 1 else f"All {latents} dimensions carry"
        return f"{which} at least {COLLAPSED} nats: none is collapsed."
    dimensions = f"dimension{'s' if latents > 1 else ''} {'carry' if collapsed > 1 else 'carries'}"
    return f"{collapsed} of {latents} {dimensions} less than {COLLAPSED} nats: collapsed."
