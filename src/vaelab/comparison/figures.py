"""The figures of a comparison for a family of models: one method per file, listed in FIGURES.

Each raises CannotMeasure with the reason if it does not apply; the others continue.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from vaelab.comparison.statistics import Estimate
from vaelab.config import look_up
from vaelab.config.train import notation
from vaelab.evaluation.model import COVERED, FROZEN_SIGMAS, HOLES_REACH
from vaelab.evaluation.numbers import CannotMeasure, percent
from vaelab.evaluation.runs import Family
from vaelab.figures import Figure, style
from vaelab.figures.curves import PANELS, RATE_DISTORTION, OverSeeds, overlaid_curves, rate_distortion, styles
from vaelab.figures.density import Holes, hole_panels
from vaelab.figures.images import gif, image_grid, image_panels
from vaelab.figures.latent import LatentSpaces, LatentView, limit_for
from vaelab.metrics.latent import uncovered_grid
from vaelab.pages.captions import LEAST_COVERED
from vaelab.pages.page import subsample
from vaelab.runs.folder import SPLIT_NAMES
from vaelab.training.examples import FROZEN_TITLE, ExampleImages, as_arrays, as_grid
from vaelab.training.snapshots import HOLD, MILLISECONDS, read_frame

FROZEN_DRAWS = 5
"""Images for each sigma in a row of the figure of frozen latent parameters."""

MOST_FRAMES = 60

NOT_COVERED = (
    "numbers.latent.prior_not_covered.model.value",
    "numbers.latent.posterior_not_covered.model.value",
)
"""The keys, in an evaluation, of the share of prior draws outside every training image's ellipsoid, and of
the share of the test images' posterior samples, to compare it with."""

HOLE_GRID = 101  # points each way of the map of holes


class FamilyFigures:
    """Draws a family's models side by side. `examples` are of each model's first run."""

    def __init__(self, family: Family, examples: Mapping[str, ExampleImages]) -> None:
        self.models, self.scored, self.examples = family.models, family.scored, examples
        self.watermark = family.models[0].config.artifacts.watermark
        self.first = next(iter(examples.values()))
        self.looks = dict(zip(examples, styles(family.weights_to_draw), strict=True))
        seeds = ", ".join(map(str, sorted({model.seeds[0] for model in family.models})))
        self.title, self.conditional = family.title, family.conditional
        self.about = f"{family.title} · seed {seeds} · after the last epoch"
        """The subtitle of figures that show one run per model: its seed and checkpoint."""
        # Losses of different objectives are not comparable.
        self.terms = [term for term in PANELS if term != "loss" or len(family.objectives) == 1]

    def views(self, moments: Mapping[str, list[NDArray[np.floating]]]) -> dict[str, LatentView]:
        """Each model's own plane, with the same axis limits for all."""
        views = {label: each.view_of(moments[label]) for label, each in self.examples.items()}
        limit = max(view.limit for view in views.values())
        return {label: replace(view, limit=limit) for label, view in views.items()}

    def curves(self) -> Figure:
        splits = {"train": "training", self.scored: SPLIT_NAMES[self.scored]}
        keys = [f"{split}/{term}" for split in splits for term in self.terms]
        histories = {
            model.label: {key: over_seeds(model.history(key)) for key in keys} for model in self.models
        }
        subtitle = f"{self.title}{self.about_seeds('bands')}"
        if "loss" not in self.terms:
            subtitle += " · losses are left out: those of different objectives are not comparable"
        return overlaid_curves(
            histories, self.looks, splits, self.terms, "Loss curves of all models", subtitle,
            conditional=self.conditional,
        )  # fmt: skip

    def rate_distortion(self) -> Figure:
        points = {
            model.label: {term: over_seeds(model.last(f"{self.scored}/{term}")) for term in RATE_DISTORTION}
            for model in self.models
        }
        of = f"{self.title} · {SPLIT_NAMES[self.scored]} images, last epoch{self.about_seeds('bars')}"
        return rate_distortion(
            points, self.looks, "Rate and distortion", of, conditional=self.conditional,
            inactive={model.label: model.inactive for model in self.models if model.inactive},
        )  # fmt: skip

    def about_seeds(self, drawn: str) -> str:
        """What stands for the spread over seeds in a figure, or that there is none to show."""
        if all(len(model.members) == 1 for model in self.models):
            return f" · one seed each: the spread over seeds is unknown, and there are no {drawn}"
        return f" · means over seeds, {drawn}: 95 % confidence intervals (Student's t)"

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

    def holes(self) -> Figure:
        """Aggregate posteriors, and the prior's region with what no training image's posterior covers."""
        if any(each.model.latent_dim != 2 for each in self.examples.values()):
            raise CannotMeasure("requires models with two latent dimensions")
        drawn = []
        for model, examples in zip(self.models, self.examples.values(), strict=True):
            evaluations = [member.evaluation or {} for member in model.members]
            found, own = (
                [share for each in evaluations if (share := look_up(each, where)) is not None]
                for where in NOT_COVERED
            )
            if not found:
                raise CannotMeasure("requires evaluations with metrics.latent")
            seeds = f" (mean of {len(found)} seeds)" if len(found) > 1 else ""
            heading = f"{model.label}\n{percent(float(np.mean(found)), 1)} of prior draws in holes{seeds}"
            if own:
                small = ": σ too small" if 100 * (1 - np.mean(own)) < LEAST_COVERED else ""
                heading += f"\n{percent(float(np.mean(own)), 1)} of posterior samples (test){small}"
            samples_N2 = examples.posterior_samples()
            missed_YX = uncovered_grid(examples.train_posterior(), HOLES_REACH, HOLE_GRID, COVERED)
            drawn.append(Holes(samples_N2, limit_for(samples_N2), missed_YX.cpu().numpy(), heading))
        q = notation("q(z|x)", self.conditional)
        return hole_panels(
            drawn,
            HOLES_REACH,
            percent(COVERED),
            "Aggregate posteriors and prior holes",
            f"{self.about} · above: a sample of {q} for each of {len(self.first.labels_N):,} test images; "
            f"below: {q} of {len(self.first.data.train):,} training images",
            conditional=self.conditional,
        )

    def reconstructions(self) -> Figure:
        band = self.first.first_band
        rows = [as_arrays(band), *(each.first_band_reconstructed() for each in self.examples.values())]
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
        panels = [
            (label, as_grid(each.decoded(each.prior_ZL, each.prior_labels)))
            for label, each in self.examples.items()
        ]
        draws = f"{'The same ' if self.same_draws else ''}64 draws from the prior"
        return image_panels(
            panels, f"{draws}, decoded by each model", f"{self.about}{self.first.drawn_classes}"
        )

    @property
    def same_draws(self) -> bool:
        """Whether all models decode the same latents."""
        return len({each.model.latent_dim for each in self.examples.values()}) == 1

    def frozen_latents(self) -> Figure:
        rows = [
            each.decoded(
                torch.cat([sigma * each.prior_ZL[:FROZEN_DRAWS] for sigma in FROZEN_SIGMAS]),
                each.prior_labels[:FROZEN_DRAWS].repeat(len(FROZEN_SIGMAS)),
            )
            for each in self.examples.values()
        ]
        return image_grid(
            np.stack(rows),
            FROZEN_TITLE,
            f"{self.about} · {'the same ' if self.same_draws else ''}{FROZEN_DRAWS} draws of ε"
            f"{'' if self.same_draws else ', different per number of latent dimensions'}; σ = 1 is the prior",
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
                "requires runs with frames of the same steps (artifacts.gif=true, the same batch_size)"
            )
        frames = {label: [read_frame(run, step).means_NL for step in steps] for label, run in runs.items()}
        data, member = self.first.data, self.models[0].members[0]
        steps_per_epoch = math.ceil(member.facts["data"]["images"]["train"] / member.config.batch_size)
        means = [{label: frames[label][number] for label in runs} for number in range(len(steps))]
        about = self.about.rpartition(" · ")[0]
        subtitles = [f"{about} · epoch {step / steps_per_epoch:.2f}" for step in steps]
        names, title = data.class_names, "The latent spaces during training"
        labels_N = self.first.labels_N[: len(next(iter(means[-1].values())))]
        spaces = LatentSpaces(means[-1], self.views(frames), labels_N, names, title, *subtitles)
        drawn = spaces.animation(means, subtitles, self.watermark)
        colours = [style.class_colour(number) for number in data.classes]
        return gif(drawn, colours, MILLISECONDS, HOLD)


def over_seeds(values_SE: NDArray[np.float64]) -> OverSeeds:
    """Values of shape (S, E) with the 95 % confidence interval of their mean at each epoch."""
    intervals = [Estimate.of(values).interval or (math.nan, math.nan) for values in values_SE.T.tolist()]
    return OverSeeds(values_SE, *np.array(intervals).T)


def as_png(draw: Callable[[FamilyFigures], Figure]) -> Callable[[FamilyFigures], bytes]:
    return lambda figures: style.signed_png(draw(figures), figures.watermark)


FIGURES: dict[str, Callable[[FamilyFigures], bytes]] = {
    "curves.png": as_png(FamilyFigures.curves),
    "rate_distortion.png": as_png(FamilyFigures.rate_distortion),
    "latent_spaces.png": as_png(FamilyFigures.latent_spaces),
    "latent_holes.png": as_png(FamilyFigures.holes),
    "reconstructions.png": as_png(FamilyFigures.reconstructions),
    "samples.png": as_png(FamilyFigures.samples),
    "frozen_latents.png": as_png(FamilyFigures.frozen_latents),
    "latent_evolution.gif": FamilyFigures.animation,
}
