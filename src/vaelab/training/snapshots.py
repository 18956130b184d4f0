"""What is drawn while training and at its end: always the same images, latents and axes.

Shapes: N images, L latent dimensions, C example images, H height, W width.
"""

import io
import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaelab.config import Config
from vaelab.figures import Figure, style
from vaelab.figures.curves import loss_curves
from vaelab.figures.images import gif
from vaelab.figures.latent import LatentPlot, LatentView, latent_animation
from vaelab.objectives import kl_weight
from vaelab.runs.folder import RunFolder
from vaelab.training.callbacks import Callback
from vaelab.training.examples import ExampleImages, NothingToShow, as_arrays
from vaelab.training.state import TrainingState

log = logging.getLogger("vaelab.training")

DENSE_EPOCHS = 2  # have animation frames inside them: most of the latent space's movement happens there
MOST_FRAMES = 150  # in an animation; of a longer run, an evenly spaced subset
HALF_PRECISION = 60000.0  # the largest latent that a frame can hold


class Frame(NamedTuple):
    """One step's frame of the animation, as latent/frames keeps it."""

    means_NL: NDArray[np.float16]  # of the latent plot's images; finer than a pixel of any figure
    reconstructions_CHW: NDArray[np.uint8]


def read_frame(folder: RunFolder, step: int) -> Frame:
    """A frame that `AnimationFrames` has saved."""
    with np.load(folder.frame(step)) as arrays:
        return Frame(arrays["means"], arrays["reconstructions"])


class Drawing(Callback):
    """Base class: draws the same images of a run into its folder."""

    def __init__(self, config: Config, examples: ExampleImages, folder: RunFolder) -> None:
        self.config, self.examples, self.folder = config, examples, folder

    def has_figures(self, epoch: int) -> bool:
        every = self.config.artifacts.every
        return every > 0 and epoch % every == 0

    def write(self, figure: Figure, path: Path) -> None:
        style.sign(figure, self.config.artifacts.watermark)
        self.folder.write(path, style.png(style.pixels(figure)))


class AnimationFrames(Drawing):
    """Saves frames: of the untrained model, of steps within the first epochs, and of each epoch."""

    def on_start(self, state: TrainingState) -> None:
        artifacts = self.config.artifacts
        if artifacts.gif and artifacts.gif_every_batches and state.total_steps == 0:
            self.save(state)

    def on_step(self, state: TrainingState) -> None:
        every = self.config.artifacts.gif and self.config.artifacts.gif_every_batches
        within = state.epoch < DENSE_EPOCHS and state.step < state.steps_per_epoch
        if every and within and state.step % every == 0:
            with state.not_timed():
                self.save(state)

    def on_epoch(self, state: TrainingState) -> None:
        if self.config.artifacts.gif or self.has_figures(state.epoch):
            self.save(state)

    def save(self, state: TrainingState) -> None:
        means_NL = self.examples.means().clip(-HALF_PRECISION, HALF_PRECISION).astype(np.float16)
        images = np.nan_to_num(self.examples.reconstructed(self.examples.first_band) * 255).round()
        file = io.BytesIO()
        np.savez(file, means=means_NL, reconstructions=images.astype(np.uint8))
        self.folder.write(self.folder.frame(state.total_steps), file.getvalue())


class EpochFigures(Drawing):
    """Reconstructions, samples and the latent space after each epoch; in the end, the latter on common axes.

    Comes after AnimationFrames, whose frame of the epoch it draws.
    """

    plot: LatentPlot | None = None
    """The latent plot as it was drawn last: most of the next one stays as it is."""

    def __init__(self, config: Config, examples: ExampleImages, folder: RunFolder) -> None:
        super().__init__(config, examples, folder)
        self.drawn: dict[int, LatentView] = {}
        """The axes of the latent plots that this session has drawn, by epoch."""

    def on_epoch(self, state: TrainingState) -> None:
        epoch, folder = state.epoch, self.folder
        if self.has_figures(epoch):
            figure = self.examples.reconstructions(f"Reconstructions after epoch {epoch}")
            self.write(figure, folder.image("reconstructions", epoch))
            figure = self.examples.samples(f"Samples from the prior after epoch {epoch}")
            self.write(figure, folder.image("samples", epoch))
            means_NL = read_frame(folder, state.total_steps).means_NL
            self.write_latent_plot(means_NL, epoch, self.examples.view_of([means_NL]))

    def on_end(self, state: TrainingState, facts: Mapping[str, Any]) -> None:
        due = [epoch for epoch in range(1, state.epoch + 1) if self.has_figures(epoch)]
        due = [epoch for epoch in due if self.folder.frame(epoch * state.steps_per_epoch).is_file()]
        if facts["status"] != "finished" or not due:
            return
        means = [read_frame(self.folder, epoch * state.steps_per_epoch).means_NL for epoch in due]
        view = self.examples.view_of(means)
        for epoch, means_NL in zip(due, means, strict=True):
            if epoch not in self.drawn or not self.drawn[epoch].same_as(view):
                self.write_latent_plot(means_NL, epoch, view)

    def write_latent_plot(self, means_NL: NDArray[np.floating], epoch: int, view: LatentView) -> None:
        title = f"Latent space after epoch {epoch}"
        if self.plot is None or not self.plot.view.same_as(view):
            self.plot = self.examples.latent_plot(means_NL, view, title, coloured=True)
            style.sign(self.plot.figure, self.config.artifacts.watermark)
        self.folder.write(self.folder.image("latent", epoch), style.png(self.plot.pixels(means_NL, title)))
        self.drawn[epoch] = view


class FinalFigures(Drawing):
    """Every figure of a finished run, and the animation. `say` is called with what is being drawn."""

    def __init__(
        self, config: Config, examples: ExampleImages, folder: RunFolder, say: Callable[[str], None]
    ) -> None:
        super().__init__(config, examples, folder)
        self.say = say

    def on_end(self, state: TrainingState, facts: Mapping[str, Any]) -> None:
        if facts["status"] != "finished":
            return
        weight = kl_weight(self.config)
        formula = state.objective.formula(weight.in_words(state.epoch, state.steps_per_epoch))
        loss = f"loss = {formula}" if formula else f"loss of the objective {self.config.objective_name}"
        curves = f"{self.examples.about} · {loss}, in nats per image"
        picture = cache(self.examples.latent_picture)
        figures: dict[str, Callable[[], Figure]] = {
            "loss_curves.png": lambda: loss_curves(state.history, "Loss curves", curves, state.best_epoch),
            "latent_space.png": lambda: self.latent_space(state, picture(), coloured=True),
            "latent_space_plain.png": lambda: self.latent_space(state, picture(), coloured=False),
            "latent_manifold.png": self.examples.manifold,
            "category_variations.png": self.examples.category_variations,
            "interpolations.png": lambda: self.examples.interpolations(spherical=False),
            "dataset_overview.png": self.examples.dataset_overview,
        }
        for file, draw in figures.items() if self.config.artifacts.figures else ():
            self.say(f"drawing {file}")
            try:
                self.write(draw(), self.folder.figure(file))
            except NothingToShow as reason:
                self.folder.figure(file).unlink(missing_ok=True)  # an earlier session's
                log.info("%s is left out: %s.", file, reason)
        if self.config.artifacts.gif:
            self.say("drawing latent_evolution.gif")
            self.folder.write(self.folder.figure("latent_evolution.gif"), self.animation(state))

    def latent_space(
        self, state: TrainingState, picture: tuple[NDArray[np.floating], LatentView], *, coloured: bool
    ) -> Figure:
        title = f"Latent space after {state.epoch} epoch{'s' if state.epoch > 1 else ''}"
        return self.examples.latent_plot(*picture, title, coloured=coloured).figure

    def animation(self, state: TrainingState) -> bytes:
        steps = [step for step, _ in self.folder.numbered("latent/frames") if step <= state.total_steps]
        if len(steps) > MOST_FRAMES:
            steps = [steps[i] for i in np.linspace(0, len(steps) - 1, MOST_FRAMES).round().astype(int)]
        frames = [read_frame(self.folder, step) for step in steps]
        means, examples = [frame.means_NL for frame in frames], self.examples
        bands = [frame.reconstructions_CHW / 255 for frame in frames]
        originals, classes = as_arrays(examples.first_band), examples.data.class_names
        title, view = "The latent space during training", examples.view_of(means)
        subtitles = [f"{examples.about} · epoch {step / state.steps_per_epoch:.2f}" for step in steps]
        drawn = latent_animation(
            means, bands, originals, examples.labels_N, classes, view, title, subtitles,
            self.config.artifacts.watermark,
        )  # fmt: skip
        colours = [style.class_colour(number) for number in examples.data.classes]
        return gif(drawn, colours, milliseconds=150, hold=3000)
