"""Figures drawn during and after training, always with the same images, latents and axes.

Shapes: N images, L latent dimensions, C example images, H height, W width.
"""

import io
import logging
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaelab.config import Config, counted
from vaelab.figures import Figure, Pixels, style
from vaelab.figures.curves import loss_curves
from vaelab.figures.images import ImageGrid, ffmpeg, gif, mp4
from vaelab.figures.latent import LatentPlot, LatentView, latent_animation
from vaelab.objectives import Objective, kl_weight
from vaelab.runs.folder import RunFolder
from vaelab.training.callbacks import Bar, Callback
from vaelab.training.examples import LATENT_POINTS, ExampleImages, as_arrays, as_bytes, in_bytes
from vaelab.training.latent_axes import NothingToShow
from vaelab.training.state import Record, TrainingState, chosen_by, is_complete

log = logging.getLogger("vaelab.training")

MOST_FRAMES = 64
"""Largest number of frames in an animation, ten seconds of it; longer runs have frames further apart."""

MILLISECONDS = 150  # between frames
HOLD = 3000  # milliseconds that the last frame is shown
ANIMATED = 1000  # images in an animation, the first ones of the latent plot
THUMBNAILS = 1000  # of the latent plot's images, shown by the pages for the point under the pointer
HALF_PRECISION = 60000.0  # the largest latent that a frame can hold


class Frame(NamedTuple):
    """One step's frame of the animation, as latent/frames keeps it."""

    means_NL: NDArray[np.float16]  # of the latent plot's images; finer than a pixel of any figure
    reconstructions_CHW: NDArray[np.uint8]


def read_frame(folder: RunFolder, step: int, count: int = ANIMATED) -> Frame:
    """A frame that `AnimationFrames` has saved, with the means of the first `count` images."""
    with np.load(folder.frame(step)) as arrays:
        return Frame(arrays["means"][:count], arrays["reconstructions"])


def frame_distance(config: Config, steps_per_epoch: int) -> int:
    """Steps between frames of the animation: artifacts.gif_every_batches, doubled until there are few enough.

    Doubling ensures that a run that is extended has the same frames as one that was longer from the start.
    """
    distance = config.artifacts.gif_every_batches or steps_per_epoch
    while config.epochs * steps_per_epoch > (MOST_FRAMES - 1) * distance:  # one more before the first step
        distance *= 2
    return distance


def as_npz(arrays: Mapping[str, Any], compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


class Drawing(Callback):
    """Base class of callbacks that draw the same images of a run into its folder."""

    def __init__(
        self, config: Config, examples: ExampleImages, folder: RunFolder, bar: Bar = lambda items, *_: items
    ) -> None:
        """`bar` wraps items in a progress bar."""
        self.config, self.examples, self.folder, self.bar = config, examples, folder, bar

    def has_figures(self, epoch: int) -> bool:
        every = self.config.artifacts.every
        return every > 0 and epoch % every == 0

    def write(self, drawn: Figure | Pixels, path: Path) -> None:
        frame = style.pixels(drawn) if isinstance(drawn, Figure) else drawn
        self.folder.write(path, style.png(style.signed(frame, self.config.artifacts.watermark)))


class AnimationFrames(Drawing):
    """Saves the frames of the animation, evenly spaced, and of each epoch that has figures."""

    distance = 0  # steps between frames; 0: no animation

    def on_start(self, state: TrainingState) -> None:
        if self.config.artifacts.gif:
            self.distance = frame_distance(self.config, state.steps_per_epoch)
            log.info("The animation has a frame every %d batches", self.distance, extra={"file_only": True})
            if state.total_steps == 0:
                self.save(state, ANIMATED)
        if self.config.artifacts.every and not self.folder.points.is_file():
            examples = self.examples  # what every epoch's points and reconstructions are of
            thumbnails, originals = as_bytes(examples.points_N1HW[:THUMBNAILS]), as_bytes(examples.first_band)
            arrays = {"labels": examples.labels_N, "thumbnails": thumbnails, "originals": originals}
            self.folder.write(self.folder.points, as_npz(arrays, compressed=True))

    def on_step(self, state: TrainingState) -> None:
        within = state.step < state.steps_per_epoch
        if self.distance and within and state.total_steps % self.distance == 0:
            with state.not_timed():
                self.save(state, ANIMATED)

    def on_epoch(self, state: TrainingState) -> None:
        last = is_complete(state, self.config)
        if self.has_figures(state.epoch):
            self.save(state, LATENT_POINTS)
        elif self.distance and (last or state.total_steps % self.distance == 0):
            self.save(state, ANIMATED)

    def save(self, state: TrainingState, count: int) -> None:
        """Save a frame; for an epoch that has figures, with its plane and samples."""
        examples = self.examples
        means_NL = examples.means(count).clip(-HALF_PRECISION, HALF_PRECISION).astype(np.float16)
        images = examples.first_band_reconstructed()
        arrays: dict[str, Any] = {"means": means_NL, "reconstructions": in_bytes(images)}
        if count == LATENT_POINTS:
            view, samples = (
                examples.view_of([means_NL]),
                examples.decoded(examples.prior_ZL, examples.prior_labels),
            )
            arrays |= {"epoch": state.epoch, "plane": view.plane, "axes": view.names}
            arrays |= {"samples": in_bytes(samples)}
        self.folder.write(self.folder.frame(state.total_steps), as_npz(arrays))


class EpochFigures(Drawing):
    """Draws reconstructions, samples and the latent space after each epoch.

    At the end, all latent plots are drawn on common axes.

    It must come after AnimationFrames, whose frame of the epoch it draws.
    """

    plot: LatentPlot | None = None
    """The latent plot as it was drawn last: most of the next one stays as it is."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.grids: dict[str, ImageGrid] = {}
        self.drawn: dict[int, LatentView] = {}
        """The axes of the latent plots that this session has drawn, by epoch."""

    def on_epoch(self, state: TrainingState) -> None:
        epoch, examples = state.epoch, self.examples
        if not self.has_figures(epoch):
            return
        for kind, title, grid_of, images in (
            ("reconstructions", "Reconstructions", examples.reconstructions, examples.reconstruction_rows),
            ("samples", "Samples from the prior", examples.samples, examples.sample_rows),
        ):
            # Room for four digits: the layout is the same whatever epoch a session begins with.
            grid = self.grids[kind] = self.grids.get(kind) or grid_of(f"{title} after epoch 0000")
            drawn = grid.pixels(images(), f"{title} after epoch {epoch}")
            self.write(drawn, self.folder.image(kind, epoch))
        means_NL = self.means(state, epoch)
        view = self.examples.view_of([means_NL])
        # At least as wide as the axes drawn before, so that on_end redraws only a few plots.
        limit = max([view.limit, *(each.limit for each in self.drawn.values())])
        self.write_latent_plot(means_NL, epoch, replace(view, limit=limit))

    def on_end(self, state: TrainingState, facts: Mapping[str, Any]) -> None:
        due = [epoch for epoch in range(1, state.epoch + 1) if self.has_figures(epoch)]
        due = [epoch for epoch in due if self.folder.frame(epoch * state.steps_per_epoch).is_file()]
        if facts["status"] != "finished" or not due:
            return
        means = {epoch: self.means(state, epoch) for epoch in due}
        view = self.examples.view_of([*means.values()])
        others = [epoch for epoch in due if epoch not in self.drawn or not self.drawn[epoch].same_as(view)]
        for epoch in self.bar(others, "drawing latent plots on common axes") if others else ():
            self.write_latent_plot(means[epoch], epoch, view)

    def means(self, state: TrainingState, epoch: int) -> NDArray[np.float16]:
        return read_frame(self.folder, epoch * state.steps_per_epoch, LATENT_POINTS).means_NL

    def write_latent_plot(self, means_NL: NDArray[np.floating], epoch: int, view: LatentView) -> None:
        title = f"Latent space after epoch {epoch}"
        if self.plot is None or not self.plot.view.same_as(view):
            self.plot = self.examples.latent_plot(means_NL, view, title, coloured=True)
        self.write(self.plot.pixels(means_NL, title), self.folder.image("latent", epoch))
        self.drawn[epoch] = view


def curves_of(
    history: Sequence[Record], config: Config, objective: Objective, about: str, steps: int, best_epoch: int
) -> Figure:
    """The loss curves of a run with that many steps per epoch, and what its loss is."""
    formula = objective.formula(kl_weight(config).in_words(len(history), steps))
    loss = f"loss = {formula}" if formula else f"loss of the objective {config.objective_name}"
    chosen = chosen_by(history[best_epoch - 1], config, objective) is not None
    subtitle = f"{about} · {loss}, in nats per image"
    return loss_curves(
        history, "Loss curves", subtitle, best_epoch if chosen else None, conditional=config.conditional
    )


class FinalFigures(Drawing):
    """Every figure of a finished run, and the animation."""

    def on_start(self, state: TrainingState) -> None:
        artifacts = self.config.artifacts
        if artifacts.mp4 is True and not (artifacts.gif and ffmpeg()):
            needs = "ffmpeg, or pip install 'vaelab[video]'" if artifacts.gif else "artifacts.gif=true"
            log.warning("artifacts.mp4=true requires %s: latent_evolution.mp4 will not be written.", needs)

    def on_end(self, state: TrainingState, facts: Mapping[str, Any]) -> None:
        if facts["status"] != "finished":
            return
        about, steps = self.examples.about, state.steps_per_epoch
        picture, after = cache(self.examples.latent_picture), f" after {counted(state.epoch, 'epoch')}"
        figures: dict[str, Callable[[], Figure]] = {
            "loss_curves.png": lambda: curves_of(
                state.history, self.config, state.objective, about, steps, state.best_epoch
            ),
            "latent_space.png": lambda: self.latent_space(after, picture(), coloured=True),
            "latent_space_plain.png": lambda: self.latent_space(after, picture(), coloured=False),
            "latent_manifold.png": lambda: self.examples.manifold(f"Decoder manifold{after}"),
            "category_variations.png": lambda: self.examples.category_variations(
                f"Variations of each class{after}"
            ),
            "interpolations.png": lambda: self.examples.interpolations(after, spherical=False),
            "dataset_overview.png": self.examples.dataset_overview,
        }
        with self.examples.encoded_once():
            drawn = figures if self.config.artifacts.figures else {}
            for file in self.bar(list(drawn), "drawing figures"):
                try:
                    self.write(drawn[file](), self.folder.figure(file))
                except NothingToShow as reason:
                    self.folder.figure(file).unlink(missing_ok=True)  # an earlier session's
                    log.info("%s is left out: %s.", file, reason)
            if self.config.artifacts.gif:
                self.animate(state)

    def latent_space(
        self, after: str, picture: tuple[NDArray[np.floating], LatentView], *, coloured: bool
    ) -> Figure:
        if not coloured and not self.examples.data.class_names:
            raise NothingToShow("without labels it is the same as latent_space.png")
        return self.examples.latent_plot(*picture, f"Latent space{after}", coloured=coloured).figure

    def animate(self, state: TrainingState) -> None:
        """Write the animation, with the frames that a run of this length has, even if it was extended."""
        distance, last = frame_distance(self.config, state.steps_per_epoch), state.total_steps
        kept = [step for step, _ in self.folder.numbered("latent/frames")]
        steps = [step for step in kept if step == last or (step < last and step % distance == 0)]
        if not steps:
            return  # gif was false until all epochs were done
        frames = [read_frame(self.folder, step) for step in steps]
        means, examples = [frame.means_NL for frame in frames], self.examples
        bands = [frame.reconstructions_CHW / 255 for frame in frames]
        originals, classes = as_arrays(examples.first_band), examples.data.class_names
        view = examples.view_of([*means, examples.means()])  # the directions of all other figures
        titles = [f"The latent space after {step / state.steps_per_epoch:.2f} epochs" for step in steps]
        subtitle = f"{examples.about} · posterior means of {len(means[-1]):,} {examples.images_name}"
        drawn = latent_animation(
            means, bands, originals, examples.labels_N[:ANIMATED], classes, view, titles, subtitle,
            self.config.artifacts.watermark,
        )  # fmt: skip
        images = list(self.bar(drawn, "drawing the animation", len(steps)))
        colours = [style.class_colour(number) for number in examples.data.classes]
        shown = np.concatenate([originals, bands[0], bands[-1]])  # what colours they have is taken from these
        pictured = np.concatenate(shown) if shown.ndim == 4 else None
        content = gif(images, colours, MILLISECONDS, HOLD, pictured=pictured)
        self.folder.write(self.folder.figure("latent_evolution.gif"), content)
        if self.config.artifacts.mp4 and (program := ffmpeg()):
            try:
                video = mp4(images, program, MILLISECONDS)
            except (subprocess.SubprocessError, OSError) as error:
                log.warning("latent_evolution.mp4 was not written: %s", error)
            else:
                self.folder.write(self.folder.figure("latent_evolution.mp4"), video)
