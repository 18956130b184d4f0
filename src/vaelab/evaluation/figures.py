"""What an evaluation draws: one function per file, entered in FIGURES; a plugin enters its own there too.

Each raises CannotMeasure with the reason where it makes no sense for a run; the others go on.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from vaelab.evaluation.model import EvaluatedModel
from vaelab.evaluation.numbers import CannotMeasure, percent
from vaelab.evaluation.sections.frozen_latent import FROZEN_SIGMAS
from vaelab.evaluation.sections.latent import COLLAPSED, COVERED
from vaelab.figures import Figure
from vaelab.figures.density import density_plot, hole_map, kl_bars
from vaelab.figures.images import image_grid
from vaelab.figures.latent import limit_for
from vaelab.metrics.latent import uncovered
from vaelab.training.examples import LATENT_POINTS, as_arrays, as_grid, latent_name

FEWEST_POINTS = 10
"""The fewest images that a density is estimated from."""

HOLES_GRID = 201
"""Points of the hole map along each axis."""

HOLES_REACH = 4.0
"""Its axes, in standard deviations of the prior."""


def draw_mixture_samples(evaluated: EvaluatedModel) -> Figure:
    if evaluated.count < 64:
        raise CannotMeasure(f"it takes 64 draws, and only {evaluated.count} are made for so few images")
    return image_grid(
        as_grid(as_arrays(evaluated.mixture_samples[:64])),
        "Samples from a mixture fitted to posterior samples",
        f"{evaluated.examples.about} · 64 draws from 10 Gaussians",
    )


def draw_latent_space(evaluated: EvaluatedModel) -> Figure:
    means = evaluated.examples.means()
    view = evaluated.examples.view_of([means])
    return evaluated.examples.latent_plot(means, view, "Latent space", coloured=True).figure


def draw_density(evaluated: EvaluatedModel) -> Figure:
    examples = evaluated.examples
    samples_NL = evaluated.posterior_samples[:LATENT_POINTS].cpu().numpy()
    if len(samples_NL) < FEWEST_POINTS:
        raise CannotMeasure(f"a density takes {FEWEST_POINTS} images")
    view = examples.view_of([examples.means()])
    return density_plot(
        samples_NL,
        replace(view, limit=limit_for(view.project(samples_NL))),
        "The aggregate posterior against the prior",
        f"{examples.about} · {len(samples_NL):,} {examples.images_name}, one sample of q(z|x) each",
    )


def draw_holes(evaluated: EvaluatedModel) -> Figure:
    if evaluated.model.latent_dim != 2:
        raise CannotMeasure("a map takes model.latent_dim=2")
    axis = torch.linspace(-HOLES_REACH, HOLES_REACH, HOLES_GRID, dtype=torch.float64, device=evaluated.device)
    z_ZL = torch.cartesian_prod(axis, axis).flip(1)  # rows upwards, columns to the right
    missed = uncovered(evaluated.posterior, z_ZL, COVERED).view(HOLES_GRID, HOLES_GRID)
    examples = evaluated.examples
    return hole_map(
        missed.cpu().numpy(),
        HOLES_REACH,
        percent(COVERED),
        "Holes: prior mass that no posterior covers",
        f"{examples.about} · q(z|x) of {len(evaluated.posterior.mean):,} {examples.images_name}",
    )


def draw_kl_bars(evaluated: EvaluatedModel) -> Figure:
    kl_L = evaluated.kl_of_dimensions
    order = kl_L.argsort(descending=True, stable=True).tolist()
    examples = evaluated.examples
    return kl_bars(
        np.asarray(kl_L[order]),
        [latent_name(dimension) for dimension in order],
        COLLAPSED,
        "KL of each latent dimension",
        f"{examples.about} · {len(evaluated.posterior.mean):,} {examples.images_name}",
    )


FIGURES: dict[str, Callable[[EvaluatedModel], Figure]] = {
    "reconstructions.png": lambda evaluated: evaluated.examples.pairs(evaluated.images),
    "reconstructions_ranked.png": lambda evaluated: evaluated.examples.ranking(
        evaluated.images, evaluated.bound.terms.reconstruction
    ),
    "samples.png": lambda evaluated: evaluated.examples.samples("Samples from the prior"),
    "samples_mixture.png": draw_mixture_samples,
    "frozen_latents.png": lambda evaluated: evaluated.examples.frozen_latents(FROZEN_SIGMAS),
    "latent_space.png": draw_latent_space,
    "latent_density.png": draw_density,
    "latent_holes.png": draw_holes,
    "kl_per_dimension.png": draw_kl_bars,
    "traversals.png": lambda evaluated: evaluated.examples.traversals(evaluated.kl_of_dimensions),
    "interpolations.png": lambda evaluated: evaluated.examples.interpolations(spherical=True),
    "latent_manifold.png": lambda evaluated: evaluated.examples.manifold(),
}
