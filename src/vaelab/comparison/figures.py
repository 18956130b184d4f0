"""What a comparison draws of a family of models: one method per file, entered in FIGURES.

Each raises CannotMeasure with the reason where it makes no sense; the others continue.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from vaelab.comparison.statistics import Estimate
from vaelab.evaluation.model import FROZEN_SIGMAS
from vaelab.evaluation.numbers import CannotMeasure
from vaelab.evaluation.runs import Family
from vaelab.figures import Figure, style
from vaelab.figures.curves import RATE_DISTORTION, OverSeeds, overlaid_curves, rate_distortion, styles
from vaelab.figures.images import gif, image_grid, image_panels
from vaelab.figures.latent import LatentSpaces, LatentView
from vaelab.pages.page import subsample
from vaelab.runs.folder import SPLIT_NAMES
from vaelab.training.examples import FROZEN_TITLE, ExampleImages, as_arrays, as_grid
from vaelab.training.snapshots import read_frame

FROZEN_DRAWS = 5
"""Images for each sigma in a row of the figure of frozen latent parameters."""

MOST_FRAMES = 60


class FamilyFigures:
    """Draws a family's models side by side. `examples` are of each model's first run."""

    def __init__(self, family: Family, examples: Mapping[str, ExampleImages]) -> None:
        self.models, self.scored, self.examples = family.models, family.scored, examples
        self.watermark = family.models[0].config.artifacts.watermark
        self.first = next(iter(examples.values()))
        self.looks = dict(zip(examples, styles(family.kl_off), strict=True))
        seeds = ", ".join(map(str, sorted({model.seeds[0] for model in family.models})))
        self.about = f"{family.title} · seed {seeds}"
        """Which seed is drawn, where one run stands for each model."""
        self.about_scores = f"{family.title} · {SPLIT_NAMES[family.scored]} images"

    def views(self, moments: Mapping[str, list[NDArray[np.floating]]]) -> dict[str, LatentView]:
        """Each model's own plane, with the same axis limits for all."""
        views = {label: each.view_of(moments[label]) for label, each in self.examples.items()}
        limit = max(view.limit for view in views.values())
        return {label: replace(view, limit=limit) for label, view in views.items()}

    def curves(self) -> Figure:
        terms = {
            "reconstruction": "Reconstruction, −log p(x|z)",
            "kl": "KL(q(z|x) ‖ p(z))",
            "neg_elbo": "neg_elbo at weight 1",
        }
        subtitle = f"{self.about_scores}{self.about_seeds('bands')}"
        return overlaid_curves(
            self.histories(terms), self.looks, list(terms.items()), "Curves of all models", subtitle
        )

    def rate_distortion(self) -> Figure:
        subtitle = f"{self.about_scores}, last epoch{self.about_seeds('bars')}"
        return rate_distortion(self.histories(RATE_DISTORTION), self.looks, "Rate and distortion", subtitle)

    def histories(self, terms: Iterable[str]) -> dict[str, dict[str, OverSeeds]]:
        """Of each model those of the images that are scored each epoch."""
        return {
            model.label: {term: over_seeds(model.history(f"{self.scored}/{term}")) for term in terms}
            for model in self.models
        }

    def about_seeds(self, drawn: str) -> str:
        """What stands for the spread over seeds in a figure, where there are several."""
        several = any(len(model.members) > 1 for model in self.models)
        return f" · means over seeds, {drawn}: 95 % confidence intervals (Student's t)" if several else ""

    def latent_spaces(self) -> Figure:
        means = {label: each.means() for label, each in self.examples.items()}
        return LatentSpaces(
            means,
            self.views({label: [means_NL] for label, means_NL in means.items()}),
            self.first.labels_N,
            self.first.data.class_names,
            "Latent spaces on the same axes",
            f"{self.about} · posterior means of {len(self.first.labels_N):,} test images",
        ).figure

    def reconstructions(self) -> Figure:
        band = self.first.first_band
        rows = [as_arrays(band), *(each.reconstructed(band) for each in self.examples.values())]
        return image_grid(
            np.stack(rows),
            "The same test images, reconstructed by each model",
            f"{self.about} · decoded from posterior means",
            row_labels=["original", *self.examples],
            column_labels=self.first.column_labels,
            column_group=self.first.column_group,
        )

    def samples(self) -> Figure:
        """64 latents, the same for all models of one size."""
        panels = [(label, as_grid(each.decoded(each.prior_ZL))) for label, each in self.examples.items()]
        return image_panels(panels, "The same 64 draws from the prior, decoded by each model", self.about)

    def frozen_latents(self) -> Figure:
        rows = [
            each.decoded(torch.cat([sigma * each.prior_ZL[:FROZEN_DRAWS] for sigma in FROZEN_SIGMAS]))
            for each in self.examples.values()
        ]
        return image_grid(
            np.stack(rows),
            FROZEN_TITLE,
            f"{self.about} · the same {FROZEN_DRAWS} draws of ε; σ = 1 is the prior",
            row_labels=list(self.examples),
            column_labels=[f"σ = {sigma:g}" for sigma in FROZEN_SIGMAS],
            column_group=FROZEN_DRAWS,
        )

    def animation(self) -> bytes:
        """All latent spaces during training, as a GIF: the steps whose frames every run has kept."""
        runs = {model.label: model.members[0].folder for model in self.models}
        kept = [{step for step, _ in run.numbered("latent/frames")} for run in runs.values()]
        steps = subsample(sorted(set.intersection(*kept)), MOST_FRAMES)
        if len(steps) < 2:
            raise CannotMeasure(
                "requires runs with frames of the same steps (artifacts.gif=true, one batch_size)"
            )
        frames = {label: [read_frame(run, step).means_NL for step in steps] for label, run in runs.items()}
        data, member = self.first.data, self.models[0].members[0]
        steps_per_epoch = math.ceil(member.facts["data"]["images"]["train"] / member.config.batch_size)
        means = [{label: frames[label][number] for label in runs} for number in range(len(steps))]
        subtitles = [f"{self.about} · epoch {step / steps_per_epoch:.2f}" for step in steps]
        names, title = data.class_names, "The latent spaces during training"
        labels_N = self.first.labels_N[: len(next(iter(means[-1].values())))]
        spaces = LatentSpaces(means[-1], self.views(frames), labels_N, names, title, *subtitles)
        drawn = spaces.animation(means, subtitles, self.watermark)
        colours = [style.class_colour(number) for number in data.classes]
        return gif(drawn, colours, milliseconds=150, hold=3000)


def over_seeds(values_SE: NDArray[np.float64]) -> OverSeeds:
    """With the 95 % confidence interval of the mean at each epoch."""
    intervals = [Estimate.of(values).interval or (math.nan, math.nan) for values in values_SE.T.tolist()]
    return OverSeeds(values_SE, *np.array(intervals).T)


def as_png(draw: Callable[[FamilyFigures], Figure]) -> Callable[[FamilyFigures], bytes]:
    return lambda figures: style.signed_png(draw(figures), figures.watermark)


FIGURES: dict[str, Callable[[FamilyFigures], bytes]] = {
    "curves.png": as_png(FamilyFigures.curves),
    "rate_distortion.png": as_png(FamilyFigures.rate_distortion),
    "latent_spaces.png": as_png(FamilyFigures.latent_spaces),
    "reconstructions.png": as_png(FamilyFigures.reconstructions),
    "samples.png": as_png(FamilyFigures.samples),
    "frozen_latents.png": as_png(FamilyFigures.frozen_latents),
    "latent_evolution.gif": FamilyFigures.animation,
}
