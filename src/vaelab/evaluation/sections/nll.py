"""The importance-weighted bound on −log p(x)."""

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import NATS, Section, mean_of
from vaelab.evaluation.sections import sections
from vaelab.objectives.scoring import importance_weighted_bound


@sections.register("nll")
def nll(evaluated: EvaluatedModel, progress: Progress) -> Section:
    samples, images = evaluated.config.importance_samples, len(evaluated.split)
    if evaluated.config.nll_images is not None:
        images = min(images, evaluated.config.nll_images)
    finished = 0

    def done(count: int) -> None:
        nonlocal finished
        finished += count
        progress(f"{finished:,} of {images:,} images")

    nll_N = importance_weighted_bound(
        evaluated.model, evaluated.objective, evaluated.images[:images], samples, evaluated.seed, done
    )
    neg_elbo_N = evaluated.bound.terms.neg_elbo[:images]
    basis = evaluated.basis(images, samples, "importance samples per image")
    rows = {
        "nll": mean_of(nll_N, NATS, basis),
        "neg_elbo": mean_of(neg_elbo_N, NATS, evaluated.basis(images, 1, "posterior sample per image")),
        "neg_elbo - nll": mean_of(neg_elbo_N - nll_N, NATS, basis),
    }
    remark = (
        f"nll: importance-weighted bound on −log p(x) with K = {samples:,} (Burda et al. 2016) for the first "
        f"{images:,} images, beside the neg_elbo of the same images. ± is the standard error over images."
    )
    return Section.of_columns(f"Importance-weighted bound, K = {samples:,}", {"model": rows}, remark)
