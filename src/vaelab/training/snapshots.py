"""What is drawn while training and at its end: always the same images, latents and axes.

Shapes: N images, Z prior draws, L latent dimensions, K examples images, R rows, C columns, H height, W width.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vaelab.config import Config
from vaelab.data.splits import Data
from vaelab.figures import Figure, style
from vaelab.figures.curves import loss_curves
from vaelab.figures.images import gif
from vaelab.figures.latent import LatentPlot, LatentView, latent_animation
from vaelab.models import VAE
from vaelab.objectives import Objective
from vaelab.runs.folder import RunFolder
from vaelab.training.examples import ExampleImages, as_arrays
from vaelab.training.loop import TrainingState

DENSE_EPOCHS = 2
"""Epochs with frames of the film inside them: most of the latent space's movement happens there."""

MOST_FRAMES = 150
"""Frames in a film; those of a longer run are thinned evenly."""

HALF_PRECISION = 60000.0
"""The largest latent that a frame can hold."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One moment of the film, as latent/frames keeps it."""

    step: int
    means_NL: NDArray[np.float16]  # of the latent plot's images; finer than a pixel of any figure
    reconstructions_CHW: NDArray[np.uint8]


def read_frame(folder: RunFolder, step: int) -> Frame:
    """A moment that `Snapshots.save_frame` has kept."""
    with np.load(folder.frame(step)) as arrays:
        return Frame(step, arrays["means"], arrays["reconstructions"])


class Snapshots:
    """Draws a run into its folder. It reads the model and never moves it; its random stream is its own."""

    def __init__(self, config: Config, data: Data, folder: RunFolder, model: VAE, objective: Objective):
        self.config = config
        self.folder = folder
        self.examples = ExampleImages(config, data, data.test, model, objective)
        self.plot: LatentPlot | None = None
        """The epochs' latent plot as it was drawn last: most of the next one stays as it is."""
        self.drawn: dict[int, LatentView] = {}
        """The axes of the epochs' latent plots, of those that this session has drawn."""

    # --- while training -----------------------------------------------------------------------------------

    def after_step(self, state: TrainingState) -> None:
        """A frame of the film, where one is due before or inside one of the first epochs."""
        settings = self.config.artifacts
        every = settings.gif_every_batches if settings.gif else 0
        within = state.total_steps == 0 or 0 < state.step < state.steps_per_epoch
        if every and within and state.epoch < DENSE_EPOCHS and state.step % every == 0:
            with state.not_training():
                self.save_frame(state)

    def after_epoch(self, state: TrainingState) -> None:
        """The epoch's pictures and its frame of the film, where they are due."""
        due = self.is_due(state.epoch)
        if due or self.config.artifacts.gif:
            frame = self.save_frame(state)
        if due:
            self.draw(
                self.examples.reconstructions(f"Reconstructions after epoch {state.epoch}"),
                self.folder.picture("reconstructions", state.epoch),
            )
            self.draw(
                self.examples.samples(f"Samples from the prior after epoch {state.epoch}"),
                self.folder.picture("samples", state.epoch),
            )
            self.write_latent_plot(frame, state.epoch, self.examples.view_of([frame.means_NL]))

    def is_due(self, epoch: int) -> bool:
        every = self.config.artifacts.every
        return every > 0 and epoch % every == 0

    def save_frame(self, state: TrainingState) -> Frame:
        means = self.examples.means().clip(-HALF_PRECISION, HALF_PRECISION).astype(np.float16)
        frame = Frame(state.total_steps, means, self.example_reconstructions())
        file = io.BytesIO()
        np.savez(file, means=frame.means_NL, reconstructions=frame.reconstructions_CHW)
        self.folder.write(self.folder.frame(frame.step), file.getvalue())
        return frame

    # --- at the end ---------------------------------------------------------------------------------------

    def finish(self, state: TrainingState, between: Callable[[str], None]) -> None:
        """Every figure of a finished run. `between` hears the name of each before it is drawn."""
        figures: dict[str, Callable[[], Figure]] = {
            "loss_curves.png": lambda: self.curves(state),
            "latent_space.png": lambda: self.latent_space(state, coloured=True),
            "latent_space_plain.png": lambda: self.latent_space(state, coloured=False),
            "latent_manifold.png": self.examples.manifold,
            "category_variations.png": self.examples.category_variations,
            "interpolations.png": lambda: self.examples.interpolations(spherical=False),
            "dataset_overview.png": self.examples.dataset_overview,
        }
        for file, make in figures.items() if self.config.artifacts.figures else ():
            between(file)
            self.draw(make(), self.folder.figure(file))
        drawn = [epoch for epoch in range(1, state.epoch + 1) if self.is_due(epoch)]
        drawn = [epoch for epoch in drawn if self.folder.frame(epoch * state.steps_per_epoch).is_file()]
        frames = [read_frame(self.folder, epoch * state.steps_per_epoch) for epoch in drawn]
        if frames:
            view = self.examples.view_of([frame.means_NL for frame in frames])
            between("latent/ on common axes")
            for epoch, frame in zip(drawn, frames, strict=True):
                if epoch not in self.drawn or not self.drawn[epoch].same_as(view):
                    self.write_latent_plot(frame, epoch, view)
        if self.config.artifacts.gif:
            between("latent_evolution.gif")
            film = self.film(state)
            self.folder.write(self.folder.figure("latent_evolution.gif"), film)

    def draw(self, figure: Figure, path: Path) -> None:
        style.sign(figure, self.config.artifacts.watermark)
        self.write(style.pixels(figure), path)

    def write(self, pixels_HW3: NDArray[np.uint8], path: Path) -> None:
        self.folder.write(path, style.png(pixels_HW3))

    # --- what is drawn ------------------------------------------------------------------------------------

    def example_reconstructions(self) -> NDArray[np.uint8]:
        """The first band of the examples decoded from its posterior means, shape (C, H, W)."""
        band = self.examples.images_K1HW[: self.examples.columns]
        images = self.examples.decoded(self.examples.posterior(band).mean)
        return np.nan_to_num(images * 255).round().astype(np.uint8)

    def write_latent_plot(self, frame: Frame, epoch: int, view: LatentView) -> None:
        title = f"Latent space after epoch {epoch}"
        if self.plot is None or not self.plot.view.same_as(view):
            self.plot = self.examples.latent_plot(frame.means_NL, view, title, coloured=True)
            style.sign(self.plot.figure, self.config.artifacts.watermark)
        self.write(self.plot.pixels(frame.means_NL, title), self.folder.picture("latent", epoch))
        self.drawn[epoch] = view

    def curves(self, state: TrainingState) -> Figure:
        subtitle = f"{self.examples.about} · loss = {self.loss_formula}, in nats per image"
        return loss_curves(state.history, "Loss curves", subtitle, state.best_epoch)

    @property
    def loss_formula(self) -> str:
        """What is minimised, in words."""
        config = self.config
        if config.kl_off:
            return "reconstruction"
        kl = f"max(KL, {config.loss.free_bits:g} a dim.)" if config.loss.free_bits else "KL"
        if config.loss.kl_warmup_epochs:
            return f"reconstruction + (0 to {config.beta:g}) · {kl}"
        return f"reconstruction + {kl}" if config.beta == 1 else f"reconstruction + {config.beta:g} · {kl}"

    def latent_space(self, state: TrainingState, *, coloured: bool) -> Figure:
        means = self.examples.means()
        title = f"Latent space after {state.epoch} epoch{'s' if state.epoch > 1 else ''}"
        return self.examples.latent_plot(
            means, self.examples.view_of([means]), title, coloured=coloured
        ).figure

    def film(self, state: TrainingState) -> bytes:
        steps = sorted(int(path.stem.removeprefix("step_")) for path in self.folder.frames())
        steps = [step for step in steps if step <= state.total_steps]
        if len(steps) > MOST_FRAMES:
            steps = [steps[i] for i in np.linspace(0, len(steps) - 1, MOST_FRAMES).round().astype(int)]
        frames = [read_frame(self.folder, step) for step in steps]
        pictures = latent_animation(
            [frame.means_NL for frame in frames],
            [frame.reconstructions_CHW / 255 for frame in frames],
            as_arrays(self.examples.images_K1HW[: self.examples.columns]),
            self.examples.labels_N,
            self.examples.data.class_names,
            self.examples.view_of([frame.means_NL for frame in frames]),
            "The latent space while it is learned",
            [f"{self.examples.about} · epoch {step / state.steps_per_epoch:.2f}" for step in steps],
            self.config.artifacts.watermark,
        )
        colours = [style.class_colour(number) for number in self.examples.data.classes]
        return gif(pictures, colours, milliseconds=150, hold=3000)
