"""What a comparison draws of a family of models: one function per file, entered in FIGURES.

Each raises CannotMeasure with the reason where it makes no sense; the others go on.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from vaelab.evaluation.numbers import CannotMeasure
from vaelab.evaluation.runs import Family
from vaelab.evaluation.sections.frozen_latent import FROZEN_SIGMAS
from vaelab.figures import Figure, comparison, style
from vaelab.figures.images import gif, image_grid, image_panels
from vaelab.figures.latent import LatentView
from vaelab.pages.page import thinned
from vaelab.runs.folder import SPLIT_NAMES
from vaelab.training.examples import FROZEN_TITLE, ExampleImages, as_arrays, as_grid
from vaelab.training.snapshots import read_frame

FROZEN_DRAWS = 5
"""Images for each sigma in a row of the figure of frozen latent parameters."""

MOST_FRAMES = 60


class FamilyFigures:
    """A family's models side by side, in figures. `examples` are of each model's first run."""

    def __init__(self, family: Family, examples: Mapping[str, ExampleImages]) -> None:
        self.family = family
        self.examples = examples
        self.watermark = family.models[0].config.artifacts.watermark
        self.first = next(iter(examples.values()))
        self.looks = dict(zip(examples, comparison.styles(family.kl_off), strict=True))
        seeds = ", ".join(map(str, sorted({model.seeds[0] for model in family.models})))
        self.about = f"{family.title} · seed {seeds}"
        """Which seed is drawn, where one run stands for each model."""
        self.scored = f"{family.title} · {SPLIT_NAMES[family.scored]} images"

    def views(self, moments: Mapping[str, list[NDArray[np.floating]]]) -> dict[str, LatentView]:
        """Each model's own plane, with the same axis limits for all."""
        views = {label: each.view_of(moments[label]) for label, each in self.examples.items()}
        limit = max(view.limit for view in views.values())
        return {label: replace(view, limit=limit) for label, view in views.items()}


def draw_curves(figures: FamilyFigures) -> Figure:
    family = figures.family
    terms = {
        "reconstruction": "Reconstruction, −log p(x|z)",
        "kl": "KL(q(z|x) ‖ p(z))",
        "neg_elbo": "neg_elbo at weight 1",
    }
    curves = {
        model.label: {term: model.history(f"{family.scored}/{term}") for term in terms}
        for model in family.models
    }
    several = any(len(model.members) > 1 for model in family.models)
    subtitle = figures.scored + (" · bands: minimum to maximum over seeds" if several else "")
    return comparison.overlaid_curves(
        curves, figures.looks, list(terms.items()), "Curves of all models", subtitle
    )


def draw_rate_distortion(figures: FamilyFigures) -> Figure:
    models, scored = figures.family.models, figures.family.scored
    points = {
        model.label: (model.history(f"{scored}/kl")[:, -1], model.history(f"{scored}/reconstruction")[:, -1])
        for model in models
    }
    betas = [model.label for model in models if not model.kl_off]
    subtitle = f"{figures.scored}, last epoch"
    return comparison.rate_distortion(points, figures.looks, betas, "Rate and distortion", subtitle)


def draw_latent_spaces(figures: FamilyFigures) -> Figure:
    first, means = figures.first, {label: each.means() for label, each in figures.examples.items()}
    return comparison.latent_spaces(
        means,
        figures.views({label: [means_NL] for label, means_NL in means.items()}),
        first.labels_N,
        first.data.class_names,
        "Latent spaces on the same axes",
        f"{figures.about} · posterior means of {len(first.labels_N):,} test images",
    )


def draw_reconstructions(figures: FamilyFigures) -> Figure:
    band = figures.first.first_band
    rows = [as_arrays(band), *(each.reconstructed(band) for each in figures.examples.values())]
    return image_grid(
        np.stack(rows),
        "The same test images, reconstructed by each model",
        f"{figures.about} · decoded from posterior means",
        row_labels=["original", *figures.examples],
        column_labels=figures.first.column_labels,
    )


def draw_samples(figures: FamilyFigures) -> Figure:
    """64 latents, the same for all models of one size."""
    panels = [(label, as_grid(each.decoded(each.prior_ZL))) for label, each in figures.examples.items()]
    return image_panels(panels, "The same 64 draws from the prior, decoded by each model", figures.about)


def draw_frozen_latents(figures: FamilyFigures) -> Figure:
    rows = [
        each.decoded(torch.cat([sigma * each.prior_ZL[:FROZEN_DRAWS] for sigma in FROZEN_SIGMAS]))
        for each in figures.examples.values()
    ]
    headings = [
        f"σ = {sigma:g}" if draw == FROZEN_DRAWS // 2 else ""
        for sigma in FROZEN_SIGMAS
        for draw in range(FROZEN_DRAWS)
    ]
    return image_grid(
        np.stack(rows),
        FROZEN_TITLE,
        f"{figures.about} · the same {FROZEN_DRAWS} draws of ε; σ = 1 is the prior",
        row_labels=list(figures.examples),
        column_labels=headings,
    )


def animation(figures: FamilyFigures) -> bytes:
    """All latent spaces side by side during training, as a GIF: the steps whose frames every run has kept."""
    models, first = figures.family.models, figures.first
    folders = {model.label: model.members[0].folder for model in models}
    kept = [{int(path.stem.removeprefix("step_")) for path in folder.frames()} for folder in folders.values()]
    steps = thinned(sorted(set.intersection(*kept)), MOST_FRAMES)
    if len(steps) < 2:
        raise CannotMeasure(
            "an animation takes runs with frames of the same steps (artifacts.gif=true, one batch_size)"
        )
    frames = {
        label: [read_frame(folder, step).means_NL for step in steps] for label, folder in folders.items()
    }
    member = models[0].members[0]
    steps_per_epoch = -(-int(member.facts["data"]["images"]["train"]) // member.config.batch_size)
    pictures = comparison.side_by_side_animation(
        [{label: frames[label][number] for label in folders} for number in range(len(steps))],
        figures.views(frames),
        first.labels_N,
        first.data.class_names,
        "The latent spaces during training",
        [f"{figures.about} · epoch {step / steps_per_epoch:.2f}" for step in steps],
        figures.watermark,
    )
    colours = [style.class_colour(number) for number in first.data.classes]
    return gif(pictures, colours, milliseconds=150, hold=3000)


def as_png(draw: Callable[[FamilyFigures], Figure]) -> Callable[[FamilyFigures], bytes]:
    return lambda figures: style.signed_png(draw(figures), figures.watermark)


FIGURES: dict[str, Callable[[FamilyFigures], bytes]] = {
    "curves.png": as_png(draw_curves),
    "rate_distortion.png": as_png(draw_rate_distortion),
    "latent_spaces.png": as_png(draw_latent_spaces),
    "reconstructions.png": as_png(draw_reconstructions),
    "samples.png": as_png(draw_samples),
    "frozen_latents.png": as_png(draw_frozen_latents),
    "latent_evolution.gif": animation,
}
