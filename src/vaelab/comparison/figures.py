"""What a comparison draws of a family: one function a file. A new one is entered in PICTURES.

Each raises CannotMeasure with the reason where it makes no sense; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from vaelab.comparison.runs import Family, Model
from vaelab.evaluation.measures import FROZEN_SIGMAS
from vaelab.evaluation.numbers import CannotMeasure
from vaelab.figures import Figure, style
from vaelab.figures.comparison import (
    Style,
    latent_spaces,
    overlaid_curves,
    rate_distortion,
    side_by_side_film,
    styles,
)
from vaelab.figures.images import gif, image_grid, image_panels
from vaelab.figures.latent import LatentView
from vaelab.runs.folder import RunFolder
from vaelab.training.examples import Gallery, as_arrays, broken, squared
from vaelab.training.snapshots import read_frame

FROZEN_DRAWS = 5
"""Images for each sigma in a row of the frozen-latent figure."""

MOST_FRAMES = 60


class Wall:
    """The pictures of a family's models, side by side. `galleries` are of each model's first run."""

    def __init__(self, family: Family, galleries: Mapping[str, Gallery], watermark: str | None) -> None:
        self.family = family
        self.galleries = galleries
        self.watermark = watermark

    @property
    def first(self) -> Gallery:
        return next(iter(self.galleries.values()))

    @property
    def looks(self) -> dict[str, Style]:
        models = self.family.models
        return dict(
            zip([model.label for model in models], styles([model.kl_off for model in models]), strict=True)
        )

    @property
    def seeds(self) -> str:
        """Which seed the pictures show."""
        seeds = {model.seeds[0] for model in self.family.models}
        return f"seed {', '.join(map(str, sorted(seeds)))}"

    @cached_property
    def means(self) -> dict[str, np.ndarray]:
        return {label: gallery.means() for label, gallery in self.galleries.items()}

    @cached_property
    def views(self) -> dict[str, LatentView]:
        """Each model's own plane, axes of one reach for all."""
        return self.common(
            {label: gallery.view_of([self.means[label]]) for label, gallery in self.galleries.items()}
        )

    @staticmethod
    def common(views: Mapping[str, LatentView]) -> dict[str, LatentView]:
        limit = max(view.limit for view in views.values())
        return {label: replace(view, limit=limit) for label, view in views.items()}


def draw_curves(wall: Wall) -> Figure:
    held = wall.family.held_out
    terms = {
        "reconstruction": "Reconstruction, −log p(x|z)",
        "kl": "KL(q(z|x) ‖ p(z))",
        "neg_elbo": "neg_elbo at weight 1",
    }
    curves = {}
    for model in wall.family.models:
        epochs = min(len(member.history) for member in model.members)
        curves[model.label] = {
            term: np.array(
                [[row[f"{held}/{term}"] for row in member.history[:epochs]] for member in model.members]
            )
            for term in terms
        }
    scored = {"val": "held-out", "test": "test"}[held]
    seeds = {len(model.members) for model in wall.family.models}
    bands = " · bands: least to most of the seeds" if seeds != {1} else ""
    return overlaid_curves(
        curves,
        wall.looks,
        list(terms.items()),
        "Curves of all models",
        f"{wall.family.title} · {scored} images{bands}",
    )


def draw_rate_distortion(wall: Wall) -> Figure:
    held = wall.family.held_out
    points = {
        model.label: tuple(
            np.array([member.last[f"{held}/{term}"] for member in model.members])
            for term in ("kl", "reconstruction")
        )
        for model in wall.family.models
    }
    scored = {"val": "held-out", "test": "test"}[held]
    return rate_distortion(
        {label: (kl, reconstruction) for label, (kl, reconstruction) in points.items()},
        wall.looks,
        [model.label for model in wall.family.models if not model.kl_off],
        "Rate and distortion",
        f"{wall.family.title} · {scored} images, last epoch",
    )


def draw_latent_spaces(wall: Wall) -> Figure:
    return latent_spaces(
        wall.means,
        wall.views,
        wall.first.labels_N,
        wall.first.data.class_names,
        "Latent spaces on the same axes",
        f"{wall.family.title} · {wall.seeds} · posterior means of {len(wall.first.labels_N):,} test images",
    )


def draw_reconstructions(wall: Wall) -> Figure:
    first = wall.first
    band = first.images_K1HW[: first.columns]
    rows = [as_arrays(band)]
    rows += [gallery.decoded(gallery.posterior(band).mean) for gallery in wall.galleries.values()]
    names = [first.data.class_names[int(label)] for label in first.split.labels[first.index_RC[0]]]
    return image_grid(
        np.stack(rows),
        "The same test images, reconstructed by each model",
        f"{wall.family.title} · {wall.seeds} · decoded from posterior means",
        row_labels=["original", *wall.galleries],
        column_labels=[broken(name) for name in names],
    )


def draw_samples(wall: Wall) -> Figure:
    """64 latents, the same for all models of one size."""
    panels = [
        (label, squared(gallery.decoded(gallery.prior_ZL))) for label, gallery in wall.galleries.items()
    ]
    return image_panels(
        panels,
        "The same 64 draws from the prior, decoded by each model",
        f"{wall.family.title} · {wall.seeds}",
    )


def draw_frozen_latents(wall: Wall) -> Figure:
    rows = []
    for gallery in wall.galleries.values():
        latents = [sigma * gallery.prior_ZL[:FROZEN_DRAWS] for sigma in FROZEN_SIGMAS]
        rows.append(gallery.decoded(torch.cat(latents)))
    headings = [
        f"σ = {sigma:g}" if draw == FROZEN_DRAWS // 2 else ""
        for sigma in FROZEN_SIGMAS
        for draw in range(FROZEN_DRAWS)
    ]
    return image_grid(
        np.stack(rows),
        "Samples from frozen latents, z = σ · ε",
        f"{wall.family.title} · {wall.seeds} · the same {FROZEN_DRAWS} draws of ε; σ = 1 is the prior",
        row_labels=list(wall.galleries),
        column_labels=headings,
    )


PICTURES: dict[str, Callable[[Wall], Figure]] = {
    "curves.png": draw_curves,
    "rate_distortion.png": draw_rate_distortion,
    "latent_spaces.png": draw_latent_spaces,
    "reconstructions.png": draw_reconstructions,
    "samples.png": draw_samples,
    "frozen_latents.png": draw_frozen_latents,
}


def film(wall: Wall) -> bytes:
    """All latent spaces side by side while they are learned, as a GIF."""
    models = wall.family.models
    folders = {model.label: model.members[0].folder for model in models}
    steps = common_steps(folders)
    frames = {
        label: [read_frame(folder, step).means_NL for step in steps] for label, folder in folders.items()
    }
    views = wall.common({label: gallery.view_of(frames[label]) for label, gallery in wall.galleries.items()})
    per_epoch = steps_per_epoch(models[0])
    pictures = side_by_side_film(
        [{label: frames[label][number] for label in folders} for number in range(len(steps))],
        views,
        wall.first.labels_N,
        wall.first.data.class_names,
        "The latent spaces while they are learned",
        [f"{wall.family.title} · {wall.seeds} · epoch {step / per_epoch:.2f}" for step in steps],
        wall.watermark,
    )
    colours = [style.class_colour(number) for number in wall.first.data.classes]
    return gif(pictures, colours, milliseconds=150, hold=3000)


def common_steps(folders: Mapping[str, RunFolder]) -> list[int]:
    """The moments that every run has kept, thinned; raises CannotMeasure where there are none."""
    kept = [{int(path.stem.removeprefix("step_")) for path in folder.frames()} for folder in folders.values()]
    steps = sorted(set.intersection(*kept))
    if len(steps) < 2:
        raise CannotMeasure(
            "a film takes runs with frames of the same moments (artifacts.gif=true, one batch_size)"
        )
    places = np.linspace(0, len(steps) - 1, min(MOST_FRAMES, len(steps))).round().astype(int)
    return [steps[place] for place in places]


def steps_per_epoch(model: Model) -> int:
    member = model.members[0]
    return -(-int(member.facts["data"]["images"]["train"]) // member.config.batch_size)
