"""What is drawn while training and at its end: always the same images, latents and axes.

Shapes: N images, Z prior draws, L latent dimensions, K gallery images, R rows, C columns, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import Config
from vaelab.data.splits import Data, balanced
from vaelab.figures import Figure, style
from vaelab.figures.curves import loss_curves
from vaelab.figures.images import gif, image_grid
from vaelab.figures.latent import LatentView, latent_film, latent_scatter, limit_for
from vaelab.loss import Objective, gaussian_kl_per_dimension
from vaelab.metrics.latent import principal_directions
from vaelab.metrics.likelihood import BATCH
from vaelab.models import VAE, Gaussian, evaluating
from vaelab.randomness import stream
from vaelab.run_folder import RunFolder, write_atomically
from vaelab.training.fit import TrainingState

LATENT_POINTS = 5000
"""Test images in a latent plot, the first ones of the split: more would only paint over each other."""

COLUMNS = 10
"""Images in a row of reconstructions, as many for each class as fit."""

DENSE_EPOCHS = 2
"""Epochs with frames of the film inside them: most of the latent space's movement happens there."""

MOST_FRAMES = 150
"""Frames in a film; those of a longer run are thinned evenly."""

MANIFOLD = 15
"""Rows and columns of the decoder manifold."""

HALF_PRECISION = 60000.0
"""The largest latent that a frame can hold."""

VARIATIONS = 9
STEPS = 8
PAIRS = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """One moment of the film, as latent/frames keeps it."""

    step: int
    means_NL: NDArray[np.float16]  # of the latent plot's images; finer than a pixel of any figure
    reconstructions_CHW: NDArray[np.uint8]


class Snapshots:
    """Draws a run into its folder. It reads the model and never moves it; its random stream is its own."""

    def __init__(self, config: Config, data: Data, folder: RunFolder, model: VAE, objective: Objective):
        self.config = config
        self.data = data
        self.folder = folder
        self.model = model
        self.likelihood = objective.likelihood
        device = data.test.images.device
        noise = stream(config.seed, "gallery", device=device)
        self.prior_ZL = torch.randn(64, model.latent_dim, generator=noise, device=device)
        self.points_N1HW = data.test.batch(slice(0, LATENT_POINTS), noise)
        self.labels_N = data.test.labels[:LATENT_POINTS].cpu().numpy()
        # Two bands of images, a class in the same columns of both.
        of_class = max(1, COLUMNS // len(data.classes))
        index = balanced(data.test, data.classes, 2 * of_class).view(len(data.classes), of_class, 2)
        self.gallery_index_RC = index.permute(2, 0, 1).reshape(2, -1)
        self.gallery_K1HW = data.test.batch(self.gallery_index_RC.flatten().to(device), noise)

    @property
    def about(self) -> str:
        """The subtitle of every figure: model, objective, data and seed."""
        config, latents = self.config, self.model.latent_dim
        objective = "KL off" if config.objective == "recon_only" else f"beta {config.beta:g}"
        dimensions = f"{latents} latent dimension{'s' if latents > 1 else ''}"
        likelihood = config.loss.likelihood.replace("_", " ")
        model = f"{config.model['name']}, {dimensions}, {objective}, {likelihood}"
        return f"{model} · {self.data.description} · seed {config.seed}"

    # --- while training -----------------------------------------------------------------------------------

    def after_step(self, state: TrainingState) -> None:
        """A frame of the film, where one is due before or inside one of the first epochs."""
        settings = self.config.artifacts
        every = settings.gif_every_batches if settings.gif else 0
        within = state.total_steps == 0 or 0 < state.step < state.steps_per_epoch
        if every and within and state.epoch < DENSE_EPOCHS and state.step % every == 0:
            self.save_frame(state)

    def after_epoch(self, state: TrainingState) -> None:
        """The epoch's pictures and its frame of the film, where they are due."""
        due = self.is_due(state.epoch)
        if due or self.config.artifacts.gif:
            frame = self.save_frame(state)
        if due:
            self.write(self.reconstructions(state.epoch), self.folder.picture("reconstructions", state.epoch))
            self.write(self.samples(state.epoch), self.folder.picture("samples", state.epoch))
            self.write_latent_plot(frame, state.epoch, self.view_of([frame.means_NL]))

    def is_due(self, epoch: int) -> bool:
        every = self.config.artifacts.every
        return every > 0 and epoch % every == 0

    def save_frame(self, state: TrainingState) -> Frame:
        means = self.means().clip(-HALF_PRECISION, HALF_PRECISION).astype(np.float16)
        frame = Frame(state.total_steps, means, self.gallery_reconstructions())
        path = self.folder.frame(frame.step)
        write_atomically(
            path, lambda file: np.savez(file, means=frame.means_NL, reconstructions=frame.reconstructions_CHW)
        )
        return frame

    def read_frame(self, step: int) -> Frame:
        with np.load(self.folder.frame(step)) as arrays:
            return Frame(step, arrays["means"], arrays["reconstructions"])

    # --- at the end ---------------------------------------------------------------------------------------

    def finish(self, state: TrainingState, between: Callable[[str], None]) -> None:
        """Every figure of a finished run. `between` hears the name of each before it is drawn."""
        for file, draw in {
            "loss_curves.png": lambda: self.curves(state),
            "latent_space.png": lambda: self.latent_space(state, coloured=True),
            "latent_space_plain.png": lambda: self.latent_space(state, coloured=False),
            "latent_manifold.png": self.manifold,
            "category_variations.png": self.category_variations,
            "interpolations.png": self.interpolations,
            "dataset_overview.png": self.dataset_overview,
        }.items():
            between(file)
            self.write(draw(), self.folder.figure(file))
        drawn = [epoch for epoch in range(1, state.epoch + 1) if self.is_due(epoch)]
        drawn = [epoch for epoch in drawn if self.folder.frame(epoch * state.steps_per_epoch).is_file()]
        frames = [self.read_frame(epoch * state.steps_per_epoch) for epoch in drawn]
        if frames:
            view = self.view_of([frame.means_NL for frame in frames])
            if not all(self.view_of([frame.means_NL]).same_as(view) for frame in frames):
                between("latent/ on common axes")
                for epoch, frame in zip(drawn, frames, strict=True):
                    self.write_latent_plot(frame, epoch, view)
        if self.config.artifacts.gif:
            between("latent_evolution.gif")
            film = self.film(state)
            write_atomically(self.folder.figure("latent_evolution.gif"), lambda file: file.write(film))

    def write(self, figure: Figure, path: Path) -> None:
        style.sign(figure, self.config.artifacts.watermark)
        content = style.png(figure)
        write_atomically(path, lambda file: file.write(content))

    # --- what the model says ------------------------------------------------------------------------------

    def posterior(self, x_N1HW: Tensor) -> Gaussian:
        """q(z|x), encoded in batches."""
        with evaluating(self.model):
            parts = [self.model.encode(batch) for batch in x_N1HW.split(BATCH)]
        return Gaussian(torch.cat([q.mean for q in parts]), torch.cat([q.log_variance for q in parts]))

    def means(self) -> NDArray[np.float32]:
        """Posterior means of the latent plot's images, shape (N, L)."""
        return self.posterior(self.points_N1HW).mean.cpu().numpy()

    def decoded(self, z_ZL: Tensor) -> NDArray[np.float32]:
        """The expected image of each latent, shape (Z, H, W)."""
        with evaluating(self.model):
            return self.likelihood.mean(self.model.decode(z_ZL.float())).squeeze(1).cpu().numpy()

    def gallery_reconstructions(self) -> NDArray[np.uint8]:
        """The first band of the gallery decoded from its posterior means, shape (C, H, W)."""
        columns = self.gallery_index_RC.shape[1]
        images = self.decoded(self.posterior(self.gallery_K1HW[:columns]).mean)
        return np.nan_to_num(images * 255).round().astype(np.uint8)

    # --- pictures of an epoch -----------------------------------------------------------------------------

    def reconstructions(self, epoch: int) -> Figure:
        columns = self.gallery_index_RC.shape[1]
        originals = as_arrays(self.gallery_K1HW)
        decoded = self.decoded(self.posterior(self.gallery_K1HW).mean)
        rows = [originals[:columns], decoded[:columns], originals[columns:], decoded[columns:]]
        names = [
            self.data.class_names[int(label)] for label in self.data.test.labels[self.gallery_index_RC[0]]
        ]
        return image_grid(
            np.stack(rows),
            f"Reconstructions after epoch {epoch}",
            f"{self.about} · test images, decoded from posterior means",
            row_labels=["original", "reconstruction"] * 2,
            column_labels=[broken(name) for name in names],
        )

    def samples(self, epoch: int) -> Figure:
        images = self.decoded(self.prior_ZL)
        return image_grid(
            images.reshape(8, 8, *images.shape[1:]),
            f"Samples from the prior after epoch {epoch}",
            f"{self.about} · 64 draws",
        )

    def view_of(self, moments_NL: Sequence[NDArray[np.floating]]) -> LatentView:
        """The plane of the last moment's means, with axes that hold the means of all moments."""
        latents = self.model.latent_dim
        if latents <= 2:
            plane = np.eye(latents)
            names = ("z₁", "z₂")
        else:
            plane = principal_directions(torch.from_numpy(moments_NL[-1])).numpy()
            names = ("1st principal direction of the means", "2nd principal direction of the means")
        view = LatentView(plane, names, limit=0.0)
        return replace(view, limit=max(limit_for(view.project(means_NL)) for means_NL in moments_NL))

    def write_latent_plot(self, frame: Frame, epoch: int, view: LatentView) -> None:
        figure = self.latent_plot(frame.means_NL, view, f"Latent space after epoch {epoch}", coloured=True)
        self.write(figure, self.folder.picture("latent", epoch))

    def latent_plot(
        self, means_NL: NDArray[np.floating], view: LatentView, title: str, *, coloured: bool
    ) -> Figure:
        return latent_scatter(
            means_NL,
            self.labels_N if coloured else None,
            self.data.class_names,
            view,
            title,
            f"{self.about} · posterior means of {len(means_NL):,} test images",
        )

    # --- figures of the finished run ----------------------------------------------------------------------

    def curves(self, state: TrainingState) -> Figure:
        subtitle = f"{self.about} · loss = {self.loss_formula}, in nats per image"
        return loss_curves(state.history, "Loss curves", subtitle, state.best_epoch)

    @property
    def loss_formula(self) -> str:
        """What is minimised, in words."""
        config = self.config
        if config.objective == "recon_only":
            return "reconstruction"
        kl = f"max(KL, {config.loss.free_bits:g} a dim.)" if config.loss.free_bits else "KL"
        if config.loss.kl_warmup_epochs:
            return f"reconstruction + (0 to {config.beta:g}) · {kl}"
        return f"reconstruction + {kl}" if config.beta == 1 else f"reconstruction + {config.beta:g} · {kl}"

    def latent_space(self, state: TrainingState, *, coloured: bool) -> Figure:
        means = self.means()
        title = f"Latent space after {state.epoch} epoch{'s' if state.epoch > 1 else ''}"
        return self.latent_plot(means, self.view_of([means]), title, coloured=coloured)

    def manifold(self) -> Figure:
        """The decoder over the Gaussian's quantiles: equal steps of probability, not of z."""
        kl_L = gaussian_kl_per_dimension(self.posterior(self.points_N1HW)).mean(dim=0)
        shown = sorted(kl_L.argsort(descending=True)[:2].tolist())
        quantiles = torch.special.ndtri((torch.arange(MANIFOLD, dtype=torch.float64) + 0.5) / MANIFOLD)
        axes = torch.meshgrid(*([quantiles] * len(shown)), indexing="xy")
        z_ZL = torch.zeros(axes[0].numel(), self.model.latent_dim, device=self.prior_ZL.device)
        for dimension, values in zip(shown, axes, strict=True):
            z_ZL[:, dimension] = (
                values.flip(0) if dimension == shown[-1] and len(shown) > 1 else values
            ).flatten()
        images = self.decoded(z_ZL)
        names = [f"z{subscript(dimension + 1)}" for dimension in shown]
        reach = f"from −{quantiles[-1]:.2f} to {quantiles[-1]:.2f}, equal steps of the prior's probability"
        others = "" if len(kl_L) <= 2 else "\nthe two dimensions with most KL, all others 0"
        across = f"{names[0]} to the right" + (f", {names[1]} upwards" if len(names) > 1 else "")
        return image_grid(
            images.reshape(-1, MANIFOLD, *images.shape[1:]),
            "The decoder's manifold",
            self.about,
            bottom_label=f"{across}, {reach}{others}",
            zoom=2,
            gap=0,
        )

    def category_variations(self) -> Figure:
        means_NL = self.posterior(self.points_N1HW).mean.cpu().double()
        steps = torch.linspace(-2, 2, VARIATIONS, dtype=torch.float64)
        rows = []
        for number in self.data.classes:
            of_class = means_NL[torch.from_numpy(self.labels_N) == number]
            direction = principal_directions(of_class, 1)[:, 0]
            spread = (of_class @ direction).std(correction=0)
            rows.append(of_class.mean(dim=0) + steps[:, None] * spread * direction)
        images = self.decoded(torch.stack(rows).flatten(0, 1).to(self.prior_ZL.device))
        return image_grid(
            images.reshape(len(rows), VARIATIONS, *images.shape[1:]),
            "Variations of each class",
            self.about,
            row_labels=list(self.data.class_names.values()),
            column_labels=[
                "mean" if step == 0 else f"{step:+.1f} sd".replace("-", "−") for step in steps.tolist()
            ],
            bottom_label="decoded around the class's mean latent, along its direction of most variance",
        )

    def interpolations(self) -> Figure:
        """Straight lines between the posterior means of test images, with the images at both ends."""
        band = self.gallery_K1HW[: self.gallery_index_RC.shape[1]]
        partner = self.gallery_K1HW[self.gallery_index_RC.shape[1] :].roll(-len(band) // 3, dims=0)
        band, partner = band[:PAIRS], partner[:PAIRS]
        start, end = self.posterior(band).mean, self.posterior(partner).mean
        share = torch.linspace(0, 1, STEPS, device=start.device)
        z = start[:, None] + share[:, None] * (end - start)[:, None]
        between = self.decoded(z.flatten(0, 1)).reshape(len(band), STEPS, *band.shape[2:])
        rows = np.concatenate([as_arrays(band)[:, None], between, as_arrays(partner)[:, None]], axis=1)
        return image_grid(
            rows,
            "Interpolations between test images",
            self.about,
            column_labels=["original", *(f"{100 * part:.0f} %" for part in share.tolist()), "original"],
            bottom_label="decoded at equal steps on the straight line between the two posterior means",
        )

    def dataset_overview(self) -> Figure:
        split, device = self.data.train, self.prior_ZL.device
        sheet = np.ones(
            (len(self.data.classes), COLUMNS, *self.data.image_shape[1:])
        )  # white where there are fewer
        for row, number in enumerate(self.data.classes):
            index = balanced(split, [number], COLUMNS).to(device)
            images = as_arrays(split.batch(index, stream(0, "overview", device=device)))
            sheet[row, : len(images)] = images
        return image_grid(
            sheet,
            "The training images",
            f"{self.data.description} · the first {COLUMNS} of each class",
            row_labels=list(self.data.class_names.values()),
        )

    def film(self, state: TrainingState) -> bytes:
        steps = sorted(int(path.stem.removeprefix("step_")) for path in self.folder.frames())
        steps = [step for step in steps if step <= state.total_steps]
        if len(steps) > MOST_FRAMES:
            steps = [steps[i] for i in np.linspace(0, len(steps) - 1, MOST_FRAMES).round().astype(int)]
        frames = [self.read_frame(step) for step in steps]
        pictures = latent_film(
            [frame.means_NL for frame in frames],
            [frame.reconstructions_CHW / 255 for frame in frames],
            as_arrays(self.gallery_K1HW[: self.gallery_index_RC.shape[1]]),
            self.labels_N,
            self.data.class_names,
            self.view_of([frame.means_NL for frame in frames]),
            "The latent space while it is learned",
            [f"{self.about} · epoch {step / state.steps_per_epoch:.2f}" for step in steps],
            self.config.artifacts.watermark,
        )
        colours = [style.class_colour(number) for number in self.data.classes]
        return gif(pictures, colours, milliseconds=150, hold=3000)


def as_arrays(x_N1HW: Tensor) -> NDArray[np.float32]:
    return x_N1HW.squeeze(1).cpu().numpy()


def broken(name: str) -> str:
    """A class name on two lines where it has two words."""
    return name.replace("/", "/\n").replace(" ", "\n")


def subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
