"""The figures of an evaluation: one function per file, listed in FIGURES, to which plugins may add.

Each raises CannotMeasure with the reason if it does not apply to a run; the others continue.
"""

from collections.abc import Callable
from dataclasses import replace

from vaelab.config import counted
from vaelab.evaluation.model import (
    BASELINE,
    COVERAGE_POINTS,
    COVERED,
    FROZEN_SIGMAS,
    HOLES_REACH,
    EvaluatedModel,
)
from vaelab.evaluation.numbers import (
    NATS,
    CannotMeasure,
    as_percent,
    mean_of,
    number_of,
    percent,
    value_and_error,
)
from vaelab.evaluation.sections.frozen_latent import diversities
from vaelab.evaluation.sections.images import PAIR_DISTANCE, REAL
from vaelab.evaluation.sections.latent import kinds_of_dimensions
from vaelab.figures import Figure
from vaelab.figures.density import density_plot, hole_map, kl_bars
from vaelab.figures.images import diversity_panels, image_grid
from vaelab.figures.latent import limit_for
from vaelab.metrics.latent import uncovered_grid
from vaelab.training.examples import FROZEN_TITLE, LATENT_POINTS, as_arrays, as_grid, latent_name


def draw_mixture_samples(evaluated: EvaluatedModel) -> Figure:
    if evaluated.count < 64:
        raise CannotMeasure(f"requires 64 samples, but only {evaluated.count} are drawn for so few images")
    images = as_grid(as_arrays(evaluated.mixture_samples[:64]))
    title = "Samples from a mixture fitted to posterior samples"
    return image_grid(
        images,
        title,
        f"{evaluated.examples.about} · 64 draws from 10 Gaussians{evaluated.examples.drawn_classes}",
    )


def draw_frozen_latents(evaluated: EvaluatedModel) -> Figure:
    """The first of the images whose diversity is measured, and that diversity against sigma."""
    measured, images = diversities(evaluated), evaluated.frozen_latents
    count = measured[BASELINE].basis.images
    columns = min(8, count)
    shown = min(64, count - count % columns)
    names = {BASELINE: f"baseline: {BASELINE}", "σ = 1": "σ = 1, the prior"}
    panels = [
        (f"{names.get(of, of)}\ndiversity {measured[of]}", as_grid(as_arrays(x_N1HW[:shown]), columns))
        for of, (x_N1HW, _) in images.items()
    ]
    references = {f"{of}: {measured[of]}": measured[of] for of in (REAL, BASELINE)}
    about = (
        f"{evaluated.examples.about} · diversity: {PAIR_DISTANCE} between pairs of {count:,} images, "
        f"± standard error; the first {shown} are shown, with the same ε for each σ"
        f"{evaluated.examples.drawn_classes}"
    )
    return diversity_panels(
        panels,
        [(sigma, *value_and_error(measured[f"σ = {sigma:g}"])) for sigma in FROZEN_SIGMAS],
        {name: value_and_error(number) for name, number in references.items()},
        f"diversity, {PAIR_DISTANCE}",
        FROZEN_TITLE,
        about,
    )


def draw_latent_space(evaluated: EvaluatedModel) -> Figure:
    picture = evaluated.examples.latent_picture()
    return evaluated.examples.latent_plot(*picture, "Latent space", coloured=True).figure


def draw_density(evaluated: EvaluatedModel) -> Figure:
    examples = evaluated.examples
    samples_NL = evaluated.posterior_samples[:LATENT_POINTS].cpu().numpy()
    if len(samples_NL) < 10:
        raise CannotMeasure("requires 10 images")
    view = examples.view_of([examples.means()])
    view = replace(view, limit=limit_for(view.project(samples_NL)))
    drawn = f"{len(samples_NL):,} {examples.images_name}, one sample of {evaluated.notation('q(z|x)')} each"
    title = "Aggregate posterior and prior"
    return density_plot(samples_NL, view, title, f"{examples.about} · {drawn}")


def draw_holes(evaluated: EvaluatedModel) -> Figure:
    if evaluated.model.latent_dim != 2:
        raise CannotMeasure("requires model.latent_dim=2")
    missed = uncovered_grid(evaluated.train_posterior, HOLES_REACH, 201, COVERED).cpu().numpy()
    share = number_of(evaluated.prior_not_covered, "share of prior draws", evaluated.basis(COVERAGE_POINTS))
    title = "Prior holes: prior mass that no posterior covers"
    of = counted(len(evaluated.data.train), "training image")
    about = f"{evaluated.examples.about} · {evaluated.notation('q(z|x)')} of {of}"
    holes = f"holes: {as_percent(share)}\nof prior draws"
    given = evaluated.run.config.conditional
    return hole_map(missed, HOLES_REACH, percent(COVERED), holes, title, about, conditional=given)


def draw_kl_bars(evaluated: EvaluatedModel) -> Figure:
    kl_L, order = evaluated.kl_of_dimensions.sort(descending=True, stable=True)
    names = [latent_name(dimension) for dimension in order.tolist()]
    title = "KL of each latent dimension"
    about = f"{evaluated.examples.about} · {len(evaluated.posterior.mean):,} {evaluated.examples.images_name}"
    total = mean_of(evaluated.posterior.kl(), NATS, evaluated.basis(len(evaluated.posterior.mean)))
    collapsed_L = kinds_of_dimensions(evaluated)[1][order]
    return kl_bars(kl_L.numpy(), names, collapsed_L.numpy(), f"{total} {NATS}", title, about)


FIGURES: dict[str, Callable[[EvaluatedModel], Figure]] = {
    "reconstructions.png": lambda evaluated: evaluated.examples.pairs(
        evaluated.images, evaluated.split.labels
    ),
    "reconstructions_ranked.png": lambda evaluated: evaluated.examples.ranking(
        evaluated.images, evaluated.split.labels, evaluated.bound.terms.reconstruction
    ),
    "samples.png": lambda evaluated: evaluated.examples.samples("Samples from the prior").figure,
    "samples_mixture.png": draw_mixture_samples,
    "frozen_latents.png": draw_frozen_latents,
    "latent_space.png": draw_latent_space,
    "latent_density.png": draw_density,
    "latent_holes.png": draw_holes,
    "kl_per_dimension.png": draw_kl_bars,
    "traversals.png": lambda evaluated: evaluated.examples.traversals(),
    "interpolations.png": lambda evaluated: evaluated.examples.interpolations(spherical=True),
    "latent_manifold.png": lambda evaluated: evaluated.examples.manifold(),
}
