"""The importance-weighted bound on −log p(x)."""

from vaelab.config import counted
from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import NATS, Number, Section, mean_of
from vaelab.evaluation.sections import sections
from vaelab.evaluation.sections.bound import BITS, nats_per_bit, what_it_measures, with_class
from vaelab.objectives.importance import DEFENSIVE, POSTERIOR, importance_weighted_bound

FEW = 10  # effective samples below which an estimate rests on a few latents


@sections.register("nll")
def nll(evaluated: EvaluatedModel, progress: Progress) -> Section:
    config, images = evaluated.config, len(evaluated.split)
    samples, proposal = config.importance_samples, DEFENSIVE if config.proposal == "mixture" else POSTERIOR
    if config.nll_images is not None:
        images = min(images, config.nll_images)
    finished = 0

    def done(count: int) -> None:
        nonlocal finished
        finished += count
        progress(f"{finished:,} of {counted(images, 'image')}")

    x_NCHW = evaluated.images[:images]
    found = importance_weighted_bound(
        evaluated.model,
        evaluated.objective,
        x_NCHW,
        samples,
        evaluated.seed,
        proposal,
        done,
        evaluated.split.labels[:images],
    )
    neg_elbo_N = evaluated.bound.terms.neg_elbo[:images]
    kind = f"importance sample{'' if samples == 1 else 's'} per image"
    basis = evaluated.basis(images, samples, kind)
    effective_N = found.effective_samples
    median, worst = effective_N.median().item(), effective_N.quantile(0.05).item()
    rows = {
        "nll": mean_of(found.nll, NATS, basis),
        "neg_elbo": mean_of(neg_elbo_N, NATS, evaluated.basis(images, *evaluated.per_image)),
        "neg_elbo - nll": mean_of(neg_elbo_N - found.nll, NATS, basis),
    }
    if found.nll_8bit is not None:
        rows["nll_8bit"] = mean_of(found.nll_8bit, NATS, basis)
        rows["bits_per_dim_8bit"] = mean_of(found.nll_8bit / nats_per_bit(evaluated), BITS, basis)
    elif evaluated.is_probability:
        rows["bits_per_dim"] = mean_of(found.nll / nats_per_bit(evaluated), BITS, basis)
    rows |= with_class(evaluated, "nll", found.nll, basis)
    rows["effective_samples"] = Number(median, f"of {samples:,}, median over images", basis)
    rows["effective_samples_5_percent"] = Number(worst, f"of {samples:,}, lowest 5 % of images", basis)
    of = "x|y" if evaluated.model.classes else "x"
    drawn = "q(z|x)" if proposal is POSTERIOR else "a mixture of q(z|x) with wider Gaussians around its mean"
    remark = (
        f"nll: importance-weighted bound on −log p({of}), K = {samples:,} (Burda et al. 2016), for the first "
        f"{counted(images, 'image')}, with samples from {drawn}. ± does not include that the bound is too "
        "high where the effective sample size (Σw)² / Σw² is small.\n"
        f"{what_it_measures(evaluated)}"
    )
    if found.nll_8bit is not None:
        remark += (
            "\nnll_8bit: −log of the probability that p(x|z) assigns to the bins of 8-bit grey values; those "
            "of 0 and 255 extend to the ends of the distribution. It is comparable between likelihoods."
        )
    few = (effective_N < FEW).double().mean().item()
    verdict = (
        f"Half of the images have an effective sample size of {median:.0f} or less: nll is only a loose "
        f"upper bound on −log p({of}), which more importance_samples would lower."
        if median < FEW
        else f"{100 * few:.0f} % of the images have an effective sample size below {FEW}."
    )
    title = f"Importance-weighted bound, K = {samples:,}"
    return Section.of_columns(title, {"model": rows}, remark, [verdict])
