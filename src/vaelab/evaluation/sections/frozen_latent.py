"""Samples with frozen latent parameters: mean 0 and a standard deviation of at most the prior's."""

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import Number, Section, number_of
from vaelab.evaluation.sections import sections
from vaelab.evaluation.sections.images import PAIR_DISTANCE, REAL
from vaelab.metrics.images import diversity


def diversities(evaluated: EvaluatedModel) -> dict[str, Number]:
    """The diversity of images with and without frozen parameters, and of the real ones."""
    scores = {name: score for name, (_, score) in evaluated.frozen_latents.items()}
    count = min(len(images) for images, _ in evaluated.frozen_latents.values())
    sampled, real = evaluated.basis(count, count, "latents"), evaluated.basis(count)
    numbers = {name: number_of(score, PAIR_DISTANCE, sampled) for name, score in scores.items()}
    return numbers | {REAL: number_of(diversity(evaluated.real_images), PAIR_DISTANCE, real)}


@sections.register("frozen_latent")
def frozen_latent(evaluated: EvaluatedModel, progress: Progress) -> Section:
    remark = (
        "The column posterior samples is the baseline: images decoded from z ~ q(z|x), with the encoder's μ "
        "and σ. Those of the columns with a σ are decoded from z = σ·ε, with the same ε ~ N(0, I) for each "
        "σ; σ = 1 is the prior."
    )
    return Section("Frozen latent parameters, μ = 0", {"diversity": diversities(evaluated)}, remark)
