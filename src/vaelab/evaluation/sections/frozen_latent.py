"""Samples with frozen latent parameters: mean 0 and a standard deviation smaller than the prior's."""

import torch

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import CannotMeasure, Section, number_of
from vaelab.evaluation.sections import sections
from vaelab.evaluation.sections.images import PAIR_DISTANCE, REAL
from vaelab.metrics.images import PAIRED, diversity
from vaelab.runs.random_streams import stream

FROZEN_SIGMAS = (0.1, 0.5, 1.0)


@sections.register("frozen_latent")
def frozen_latent(evaluated: EvaluatedModel, progress: Progress) -> Section:
    count = min(evaluated.count, PAIRED)
    if count < 2:
        raise CannotMeasure("requires at least two images")
    noise = stream(evaluated.seed, "frozen latents", device=evaluated.device)
    draws = torch.randn(count, evaluated.model.latent_dim, generator=noise, device=evaluated.device)
    images = {f"σ = {sigma:g}": evaluated.decoded(sigma * draws) for sigma in FROZEN_SIGMAS}
    images |= {"prior samples": evaluated.prior_samples, REAL: evaluated.real_images}
    sampled, real = evaluated.basis(count, count, "latents"), evaluated.basis(count)
    numbers = {
        of: number_of(diversity(each), PAIR_DISTANCE, real if of == REAL else sampled)
        for of, each in images.items()
    }
    remark = "Sampling with reduced σ: z = σ·ε with ε ~ N(0, I), decoded; σ = 1 is the prior."
    return Section("Frozen latent parameters, μ = 0", {"diversity": numbers}, remark)
