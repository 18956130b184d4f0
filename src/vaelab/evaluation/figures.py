"""What an evaluation draws: one function a file. A new one is entered in PICTURES.

Each raises CannotMeasure with the reason where it makes no sense for a run; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from vaelab.evaluation.measures import COLLAPSED, COVERED, FROZEN_SIGMAS
from vaelab.evaluation.numbers import CannotMeasure, percent
from vaelab.evaluation.subject import Subject
from vaelab.figures import Figure
from vaelab.figures.density import density_plot, hole_map, kl_bars
from vaelab.figures.images import image_grid
from vaelab.figures.latent import limit_for
from vaelab.metrics.latent import uncovered
from vaelab.training.examples import LATENT_POINTS, as_arrays, latent_name, squared

FEWEST_POINTS = 10
"""Images that a density is estimated from at least."""

HOLES_GRID = 201
"""Points of the hole map along each axis."""

HOLES_REACH = 4.0
"""Its axes, in standard deviations of the prior."""


def draw_pairs(subject: Subject) -> Figure:
    return subject.gallery.pairs(subject.images, f"Reconstructions of {subject.gallery.images_name}")


def draw_ranking(subject: Subject) -> Figure:
    return subject.gallery.ranking(subject.images, subject.bound.terms.reconstruction)


def draw_samples(subject: Subject) -> Figure:
    return subject.gallery.samples("Samples from the prior")


def draw_mixture_samples(subject: Subject) -> Figure:
    if subject.count < 64:
        raise CannotMeasure(f"it takes 64 draws, and only {subject.count} are made for so few images")
    return image_grid(
        squared(as_arrays(subject.mixture_samples[:64])),
        "Samples from a mixture fitted to the codes",
        f"{subject.gallery.about} · 64 draws from 10 Gaussians",
    )


def draw_frozen_latents(subject: Subject) -> Figure:
    return subject.gallery.frozen_latents(FROZEN_SIGMAS)


def draw_latent_space(subject: Subject) -> Figure:
    means = subject.gallery.means()
    view = subject.gallery.view_of([means])
    return subject.gallery.latent_plot(means, view, "Latent space", coloured=True).figure


def draw_density(subject: Subject) -> Figure:
    gallery = subject.gallery
    samples_NL = subject.posterior_samples[:LATENT_POINTS].cpu().numpy()
    if len(samples_NL) < FEWEST_POINTS:
        raise CannotMeasure(f"a density takes {FEWEST_POINTS} images")
    view = gallery.view_of([gallery.means()])
    return density_plot(
        samples_NL,
        replace(view, limit=limit_for(view.project(samples_NL))),
        "The aggregate posterior against the prior",
        f"{gallery.about} · {len(samples_NL):,} {gallery.images_name}, one sample of q(z|x) each",
    )


def draw_holes(subject: Subject) -> Figure:
    if subject.model.latent_dim != 2:
        raise CannotMeasure("a map takes model.latent_dim=2")
    axis = torch.linspace(-HOLES_REACH, HOLES_REACH, HOLES_GRID, dtype=torch.float64, device=subject.device)
    z_ZL = torch.cartesian_prod(axis, axis).flip(1)  # rows upwards, columns to the right
    missed = uncovered(subject.posterior, z_ZL, COVERED).view(HOLES_GRID, HOLES_GRID)
    gallery = subject.gallery
    return hole_map(
        missed.cpu().numpy(),
        HOLES_REACH,
        percent(COVERED),
        "Holes: where the prior draws and no image lies",
        f"{gallery.about} · q(z|x) of {len(subject.posterior.mean):,} {gallery.images_name}",
    )


def draw_kl_bars(subject: Subject) -> Figure:
    kl_L = subject.kl_of_dimensions
    order = kl_L.argsort(descending=True, stable=True).tolist()
    gallery = subject.gallery
    return kl_bars(
        np.asarray(kl_L[order]),
        [latent_name(dimension) for dimension in order],
        COLLAPSED,
        "KL of each latent dimension",
        f"{gallery.about} · {len(subject.posterior.mean):,} {gallery.images_name}",
    )


PICTURES: dict[str, Callable[[Subject], Figure]] = {
    "reconstructions.png": draw_pairs,
    "reconstructions_ranked.png": draw_ranking,
    "samples.png": draw_samples,
    "samples_mixture.png": draw_mixture_samples,
    "frozen_latents.png": draw_frozen_latents,
    "latent_space.png": draw_latent_space,
    "latent_density.png": draw_density,
    "latent_holes.png": draw_holes,
    "kl_per_dimension.png": draw_kl_bars,
    "traversals.png": lambda subject: subject.gallery.traversals(subject.kl_of_dimensions),
    "interpolations.png": lambda subject: subject.gallery.interpolations(spherical=True),
    "latent_manifold.png": lambda subject: subject.gallery.manifold(),
}
