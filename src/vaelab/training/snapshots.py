"""What is drawn while training and at its end: always the same images, latents and axes.

Shapes: N images, L latent dimensions, C example images, H height, W width.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaelab.config import Config
from vaelab.figures import Figure, style
from vaelab.figures.curves import loss_curves
from vaelab.figures.images import gif
from vaelab.figures.latent import LatentPlot, LatentView, latent_animation
from vaelab.runs.folder import RunFolder
from vaelab.training.callbacks import Callback
from vaelab.training.examples import ExampleImages, as_arrays
from vaelab.training.state import TrainingState

DENSE_EPOCHS = 2
"""Epochs with animation frames inside them: most of the latent space's movement happens there."""

MOST_FRAMES = 150
"""Frames in an animation; those of a longer run are thinned evenly."""

HALF_PRECISION = 60000.0
"""The largest latent that a frame can hold."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One step's frame of the animation, as latent/frames keeps it."""

    step: int
    means_NL: NDArray[np.float16]  # of the latent plot's images; finer than a pixel of any figure
    reconstructions_CHW: NDArray[np.uint8]


def read_frame(folder: RunFolder, step: int) -> Frame:
    """A frame that `AnimationFrames` has saved."""
    with np.load(folder.frame(step)) as arrays:
        return Frame(step, arrays["means"], arrays["reconstructions"])


def is_due(config: Config, epoch: int) -> bool:
    """Whether an epoch has figures."""
    every = config.artifacts.every
    return every > 0 and epoch % every == 0


class AnimationFrames(Callback):
    """Saves frames: of the untrained model, of steps within the first epochs, and of each epoch."""

    def __init__(self, config: Config, examples: ExampleImages, folder: RunFolder) -> None:
        self.config, self.examples, self.folder = config, examples, folder
        self.every = config.artifacts.gif_every_batches if config.artifacts.gif else 0

    def on_start(self, state: TrainingState) -> None:
        if self.every and state.total_steps == 0:
            self.save(state)

    def on_step(self, state: TrainingState) -> None:
        within = state.epoch < DENSE_EPOCHS and state.step < state.steps_per_epoch
        if self.every and within and state.step % self.every == 0:
            with state.not_timed():
                self.save(state)

    def on_epoch(self, state: TrainingState) -> None:
        if self.config.artifacts.gif or is_due(self.config, state.epoch):
            self.save(state)

    def save(self, state: TrainingState) -> None:
        examples = self.examples
        means_NL = examples.means().clip(-HALF_PRECISION, HALF_PRECISION).astype(np.float16)
        band = examples.decoded(examples.posterior(examples.first_band).mean)
        images = np.nan_to_num(band * 255).round()
        file = io.BytesIO()
        np.savez(file, means=means_NL, reconstructions=images.astype(np.uint8))
        self.folder.write(self.folder.frame(state.total_steps), file.getvalue())


class EpochFigures(Callback):
    """Reconstructions, samples and the latent space after each epoch; in the end, the latter on common axes.

    Comes after AnimationFrames, whose frame of the epoch it draws.
    """

    def __init__(self, config: Config, examples: ExampleImages, folder: RunFolder) -> None:
        self.config, self.examples, self.folder = config, examples, folder
        self.plot: LatentPlot | None = None
        """The latent plot as it was drawn last: most of the next one stays as it is."""
        self.drawn: dict[int, LatentView] = {}
        """The axes of the latent plots that this session has drawn, by epoch."""

    def on_epoch(self, state: TrainingState) -> None:
        if not is_due(self.config, state.epoch):
            return
        for kind, draw, title in (
            ("reconstructions", self.examples.reconstructions, "Reconstructions"),
            ("samples", self.examples.samples, "Samples from the prior"),
        ):
            figure = draw(f"{title} after epoch {state.epoch}")
            write_figure(figure, self.folder, self.folder.picture(kind, state.epoch), self.config)
        frame = read_frame(self.folder, state.total_steps)
        self.write_latent_plot(frame, state.epoch, self.examples.view_of([frame.means_NL]))

    def on_end(self, state: TrainingState, facts: Mapping[str, Any]) -> None:
        due = [epoch for epoch in range(1, state.epoch + 1) if is_due(self.config, epoch)]
        due = [epoch for epoch in due if self.folder.frame(epoch * state.steps_per_epoch).is_file()]
        if facts["status"] != "finished" or not due:
            return
        frames = [read_frame(self.folder, epoch * state.steps_per_epoch) for epoch in due]
        view = self.examples.view_of([frame.means_NL for frame in frames])
        for epoch, frame in zip(due, frames, strict=True):
            if epoch not in self.drawn or not self.drawn[epoch].same_as(view):
                self.write_latent_plot(frame, epoch, view)

    def write_latent_plot(self, frame: Frame, epoch: int, view: LatentView) -> None:
        title = f"Latent space after epoch {epoch}"
        if self.plot is None or not self.plot.view.same_as(view):
            self.plot = self.examples.latent_plot(frame.means_NL, view, title, coloured=True)
            style.sign(self.plot.figure, self.config.artifacts.watermark)
        pixels = self.plot.pixels(frame.means_NL, title)
        self.folder.write(self.folder.picture("latent", epoch), style.png(pixels))
        self.drawn[epoch] = view


class FinalFigures(Callback):
    """Every figure of a finished run, and the animation. `say` is told what is being drawn."""

    def __init__(
        self, config: Config, examples: ExampleImages, folder: RunFolder, say: Callable[[str], None]
    ) -> None:
        self.config, self.examples, self.folder, self.say = config, examples, folder, say

    def on_end(self, state: TrainingState, facts: Mapping[str, Any]) -> None:
        if facts["status"] != "finished":
            return
        figures: dict[str, Callable[[], Figure]] = {
            "loss_curves.png": lambda: self.curves(state),
            "latent_space.png": lambda: self.latent_space(state, coloured=True),
            "latent_space_plain.png": lambda: self.latent_space(state, coloured=False),
            "latent_manifold.png": self.examples.manifold,
            "category_variations.png": self.examples.category_variations,
            "interpolations.png": lambda: self.examples.interpolations(spherical=False),
            "dataset_overview.png": self.examples.dataset_overview,
        }
        for file, draw in figures.items() if self.config.artifacts.figures else ():
            self.say(f"drawing {file}")
            write_figure(draw(), self.folder, self.folder.figure(file), self.config)
        if self.config.artifacts.gif:
            self.say("drawing latent_evolution.gif")
            self.folder.write(self.folder.figure("latent_evolution.gif"), self.animation(state))

    def curves(self, state: TrainingState) -> Figure:
        subtitle = f"{self.examples.about} · loss = {loss_formula(self.config)}, in nats per image"
        return loss_curves(state.history, "Loss curves", subtitle, state.best_epoch)

    def latent_space(self, state: TrainingState, *, coloured: bool) -> Figure:
        means = self.examples.means()
        title = f"Latent space after {state.epoch} epoch{'s' if state.epoch > 1 else ''}"
        view = self.examples.view_of([means])
        return self.examples.latent_plot(means, view, title, coloured=coloured).figure

    def animation(self, state: TrainingState) -> bytes:
        steps = [step for step, _ in self.folder.numbered("latent/frames") if step <= state.total_steps]
        if len(steps) > MOST_FRAMES:
            steps = [steps[i] for i in np.linspace(0, len(steps) - 1, MOST_FRAMES).round().astype(int)]
        frames = [read_frame(self.folder, step) for step in steps]
        examples = self.examples
        pictures = latent_animation(
            [frame.means_NL for frame in frames],
            [frame.reconstructions_CHW / 255 for frame in frames],
            as_arrays(examples.first_band),
            examples.labels_N,
            examples.data.class_names,
            examples.view_of([frame.means_NL for frame in frames]),
            "The latent space while it is learned",
            [f"{examples.about} · epoch {step / state.steps_per_epoch:.2f}" for step in steps],
            self.config.artifacts.watermark,
        )
        colours = [style.class_colour(number) for number in examples.data.classes]
        return gif(pictures, colours, milliseconds=150, hold=3000)


def write_figure(figure: Figure, folder: RunFolder, path: Path, config: Config) -> None:
    style.sign(figure, config.artifacts.watermark)
    folder.write(path, style.png(style.pixels(figure)))


def loss_formula(config: Config) -> str:
    """What is minimised, in words."""
    if config.kl_off:
        return "reconstruction"
    kl = f"max(KL, {config.loss.free_bits:g} per dim.)" if config.loss.free_bits else "KL"
    if config.loss.kl_warmup_epochs:
        return f"reconstruction + (0 to {config.beta:g}) · {kl}"
    return f"reconstruction + {kl}" if config.beta == 1 else f"reconstruction + {config.beta:g} · {kl}"
