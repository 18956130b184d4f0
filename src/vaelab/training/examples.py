"""Figures of one model, always of the same images, latents and axes, in training and evaluations.

Shapes: N images, Z latents or prior draws, L latent dimensions, K example images, R rows, C columns,
H height, W width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import Config
from vaelab.data.datasets import UnpublishedSpec
from vaelab.data.splits import Data, Split, balanced
from vaelab.figures import Figure
from vaelab.figures.images import ImageGrid, image_grid
from vaelab.figures.latent import LatentPlot, LatentView, limit_for
from vaelab.metrics.latent import ACTIVE_VARIANCE, embedding, principal_directions
from vaelab.models import VAE, Gaussian, evaluating
from vaelab.objectives import Objective
from vaelab.objectives.scoring import BATCH, scored_images
from vaelab.runs.folder import SPLIT_NAMES
from vaelab.runs.random_streams import stream
from vaelab.training.interpolation import linear_path, spherical_path
from vaelab.training.latent_axes import PRIOR_STEPS, PROBABILITIES, LatentAxes, NothingToShow

LATENT_POINTS = 5000
"""Number of images in a latent plot, the first of the split: more points would hide each other."""

COLUMNS = 10  # images in a row of reconstructions, as many for each class as fit
VARIATIONS = 9  # images of a traversal, or of a class's variations
PAIRS = 16  # originals with their reconstructions, in rows of 8
MOST_CLASSES = 30  # of which images are shown, the first ones
MOST_ROWS = 16  # of traversals
WAYS = ("to the right", "upwards")  # of the manifold
FROZEN_TITLE = "Samples with frozen latent parameters: μ = 0, z = σ·ε"


class ExampleImages:
    """Figures of a model on a split's images. Drawing changes neither the model nor other random streams."""

    def __init__(
        self, config: Config, data: Data, split: Split, model: VAE, objective: Objective,
        evaluated_with_seed: int | None = None, moment: str = "",
    ) -> None:  # fmt: skip
        """`moment` names the checkpoint that the model is from, for figures whose title has no epoch."""
        self.config, self.data, self.model, self.likelihood = config, data, model, objective.likelihood
        self.seed = config.seed if evaluated_with_seed is None else evaluated_with_seed
        device = split.images.device
        noise = stream(config.seed, "gallery", device=device)  # the name in older versions
        self.prior_ZL = torch.randn(64, model.latent_dim, generator=noise, device=device)
        self.points_N1HW = split.batch(slice(0, LATENT_POINTS), noise)
        self.points_labels = split.labels[:LATENT_POINTS]
        self.labels_N = self.points_labels.cpu().numpy()
        labels = stream(config.seed, "labels of the gallery", device=device)
        self.prior_labels = model.draw_labels(len(self.prior_ZL), labels)
        # Two bands of images, a class in the same columns of both; repeated where there are too few.
        per_band = max(1, COLUMNS // len(data.classes))
        self.classes = data.classes[:MOST_CLASSES]
        of_classes = [balanced(split, [number], 2 * per_band).numpy() for number in self.classes]
        bands = [np.resize(index, (per_band, 2)).T for index in of_classes if len(index)]
        index_2C = torch.from_numpy(np.concatenate(bands, axis=1)).to(device)
        self.columns = index_2C.shape[1]
        self.images_K1HW = split.batch(index_2C.flatten(), noise)
        self.images_labels = split.labels[index_2C.flatten()]
        self.first_band = self.images_K1HW[: self.columns]
        self.column_group = per_band if per_band > 1 else 0
        shown = split.labels[index_2C[0, ::per_band]].tolist()
        names = [data.class_names[number] for number in shown if data.class_names]
        self.column_labels = [name.replace("/", "/\n").replace(" ", "\n") for name in names]
        self.images_name = f"{SPLIT_NAMES[split.name]} images"
        seeds = f"seed {config.seed}"
        if evaluated_with_seed not in (None, config.seed):
            seeds = f"trained with seed {config.seed}, evaluated with seed {evaluated_with_seed}"
        likelihood = config.loss.likelihood_name.replace("_", " ")
        model_name = f"{config.label(model.latent_dim)}, {likelihood}"
        self.encoded: Gaussian | None = None
        """The posterior of the latent plot's images, inside `encoded_once`."""
        self.about = " · ".join(each for each in (model_name, moment, data.description, seeds) if each)
        """The subtitle of every figure: model, objective, checkpoint, data and seed."""
        self.drawn_classes = "; classes drawn from p(y)" if model.classes else ""

    def posterior(self, x_N1HW: Tensor, labels_N: Tensor) -> Gaussian:
        """q(z|x), or q(z|x, y) of a class-conditional model, encoded in batches."""
        with evaluating(self.model):
            batches = zip(x_N1HW.split(BATCH), labels_N.split(BATCH), strict=True)
            parts = [self.model.given(labels_B).encode(batch) for batch, labels_B in batches]
        return Gaussian.cat(parts)

    def train_posterior(self) -> Gaussian:
        """q(z|x) of all training images as the model sees them."""
        images, labels = scored_images(self.data.train, self.seed), self.data.train.labels.split(BATCH)
        parts = [self.posterior(*batch) for batch in zip(images, labels, strict=True)]
        return Gaussian.cat(parts)

    @contextmanager
    def encoded_once(self) -> Iterator[None]:
        """Within the context, the model must not change, and the latent plot's images are encoded once."""
        self.encoded = self.posterior(self.points_N1HW, self.points_labels)
        try:
            yield
        finally:
            self.encoded = None

    def points_posterior(self, count: int = LATENT_POINTS) -> Gaussian:
        """q(z|x) of the latent plot's images, or of the first `count` of them."""
        if self.encoded is not None and count >= len(self.encoded.mean):
            return self.encoded
        return self.posterior(self.points_N1HW[:count], self.points_labels[:count])

    def means(self, count: int = LATENT_POINTS) -> NDArray[np.float32]:
        """Posterior means of the latent plot's images, or of the first `count` of them, shape (N, L)."""
        return self.points_posterior(count).mean.cpu().numpy()

    def posterior_samples(self) -> NDArray[np.float64]:
        """One sample of q(z|x) of each of the latent plot's images, shape (N, L)."""
        noise = stream(self.seed, "posterior samples of a latent plot", device=self.prior_ZL.device)
        return self.points_posterior().sample(noise).cpu().double().numpy()

    def decoded_images(self, z_ZL: Tensor, labels_Z: Tensor) -> Tensor:
        """The expected image of each latent, given its label in a class-conditional model, (Z, C, H, W)."""
        with evaluating(self.model):
            batches = zip(z_ZL.float().split(BATCH), labels_Z.split(BATCH), strict=True)
            images = [
                self.likelihood.mean(self.model.given(labels_B).decode(z_BL)) for z_BL, labels_B in batches
            ]
        return torch.cat(images)

    def decoded(self, z_ZL: Tensor, labels_Z: Tensor) -> NDArray[np.float32]:
        """The same for figures, shape (Z, H, W), or for colour images (Z, H, W, 3), like all arrays here."""
        return as_arrays(self.decoded_images(z_ZL, labels_Z))

    def decoded_grid(self, z_RCL: Tensor, labels: Sequence[int] | int) -> NDArray[np.float32]:
        """Decoded images of rows and columns of latents, shape (R, C, H, W), given a label or one per row."""
        rows, columns = z_RCL.shape[:2]
        labels_R = torch.as_tensor(labels, device=self.prior_ZL.device).expand(rows)
        z_ZL = z_RCL.flatten(0, 1).float().to(self.prior_ZL.device)
        images = self.decoded(z_ZL, labels_R.repeat_interleave(columns))
        return images.reshape(*z_RCL.shape[:2], *images.shape[1:])

    def reconstructed(self, x_N1HW: Tensor, labels_N: Tensor) -> NDArray[np.float32]:
        """Images decoded from their posterior means, shape (N, H, W)."""
        return self.decoded(self.posterior(x_N1HW, labels_N).mean, labels_N)

    def first_band_reconstructed(self) -> NDArray[np.float32]:
        return self.reconstructed(self.first_band, self.images_labels[: self.columns])

    def reconstruction_rows(self) -> NDArray[np.float32]:
        """Both bands of example images, each above its reconstruction, shape (4, C, H, W)."""
        return self.above_reconstructions(self.images_K1HW, self.images_labels, self.columns)

    def reconstructions(self, title: str) -> ImageGrid:
        return ImageGrid(
            self.reconstruction_rows(),
            title,
            f"{self.about} · {self.images_name}, decoded from posterior means",
            row_labels=["original", "reconstruction"] * 2,
            column_labels=self.column_labels,
            row_group=2,
            column_group=self.column_group,
        )

    def sample_rows(self) -> NDArray[np.floating]:
        """Images decoded from draws from the prior, shape (8, 8, H, W).

        For a class-conditional model a row per class, decoded from the same draws: (classes, 10, H, W).
        """
        if not self.model.classes:
            return as_grid(self.decoded(self.prior_ZL, self.prior_labels))
        z_RCL = self.prior_ZL[:COLUMNS].expand(len(self.classes), -1, -1)
        return self.decoded_grid(z_RCL, self.classes)

    def samples(self, title: str) -> ImageGrid:
        if not self.model.classes:
            return ImageGrid(self.sample_rows(), title, f"{self.about} · {len(self.prior_ZL)} draws")
        return ImageGrid(
            self.sample_rows(),
            title,
            f"{self.about} · {COLUMNS} draws, the same for every class",
            row_labels=[self.data.class_names[number] for number in self.classes],
            bottom_label="each column shows the same z, decoded given each class",
        )

    def title_given(self, title: str, label: int) -> str:
        """The title, with the class that a class-conditional model is given."""
        return f"{title}, given the class {self.data.class_names[label]}" if self.model.classes else title

    def above_reconstructions(self, x_N1HW: Tensor, labels_N: Tensor, columns: int) -> NDArray[np.float32]:
        """Images in rows, and below each row their reconstructions, shape (2 N / columns, columns, H, W)."""
        images = np.stack([as_arrays(x_N1HW), self.reconstructed(x_N1HW, labels_N)])
        in_rows = images.reshape(2, -1, columns, *images.shape[2:])
        return in_rows.swapaxes(0, 1).reshape(-1, *in_rows.shape[2:])

    def pairs(self, x_N1HW: Tensor, labels_N: Tensor) -> Figure:
        """The first 16 images above their reconstructions, or as many as there are."""
        shown = min(PAIRS, len(x_N1HW))
        columns = min(8, shown)
        shown -= shown % columns
        rows = self.above_reconstructions(x_N1HW[:shown], labels_N[:shown], columns)
        return image_grid(
            rows,
            f"{shown} {self.images_name} and their reconstructions",
            f"{self.about} · the first {shown}, decoded from posterior means",
            row_labels=["original", "reconstruction"] * (len(rows) // 2),
            row_group=2,
        )

    def ranking(self, x_N1HW: Tensor, labels_N: Tensor, reconstruction_N: Tensor) -> Figure:
        """Images with the lowest, middle and highest reconstruction terms, above their reconstructions."""
        order = reconstruction_N.argsort(stable=True)
        count = min(COLUMNS, len(order))
        rest = len(order) - count
        rows, labels = [], []
        for name, start in (("best", 0), ("median", rest // 2), ("worst", rest)):
            index = order[start : start + count]
            images, nats = x_N1HW[index.to(x_N1HW.device)], reconstruction_N[index]
            labels_B = labels_N[index.to(labels_N.device)]
            rows += [as_arrays(images), self.reconstructed(images, labels_B)]
            ends = dict.fromkeys(f"{each:.0f}" for each in (nats.min(), nats.max()))
            labels += [name, f"{' to '.join(ends)} nats"]
        caption = "originals above, images decoded from their posterior means below"
        if self.data.binarize == "none" and self.config.loss.likelihood_name == "bernoulli":
            own = isinstance(self.data.spec, UnpublishedSpec)
            emptiest = "" if own else "the best images are mostly the darkest: "
            caption += f"\n{emptiest}the entropy of grey pixels is part of the term"
            caption += "" if emptiest else ", smallest where they are nearly black or white"
        title = "Best, median and worst reconstructions"
        subtitle = (
            f"{self.about} · of {len(order):,} {self.images_name}, by {self.config.notation('−log p(x|z)')}"
        )
        return image_grid(
            np.stack(rows), title, subtitle, row_labels=labels, bottom_label=caption, row_group=2
        )

    def dataset_overview(self) -> Figure:
        train, device = self.data.train, self.prior_ZL.device
        names = list(self.data.class_names.values())[:MOST_CLASSES]
        rows, shown = [balanced(train, [number], COLUMNS) for number in self.classes], COLUMNS
        if not names:
            shown = min(len(train), COLUMNS**2)
            rows = list(torch.arange(shown).split(COLUMNS))
        shape = as_arrays(train.batch(slice(0, 1), stream(0, "overview", device=device))).shape[1:]
        sheet = np.ones((len(rows), COLUMNS, *shape))  # white where there are fewer
        for row, index in enumerate(rows):
            images = as_arrays(train.batch(index.to(device), stream(0, "overview", device=device)))
            sheet[row, : len(images)] = images
        subtitle = f"{self.data.description} · the first {shown}{' of each class' if names else ''}"
        if len(names) < len(self.data.class_names):
            subtitle += f" of the first {len(names)}"
        return image_grid(sheet, "Training images", subtitle, row_labels=names)

    def view_of(self, moments_NL: Sequence[NDArray[np.floating]]) -> LatentView:
        """The plane of the last of several steps' posterior means, with axes wide enough for all steps'."""
        axes, names = LatentAxes.of(moments_NL[-1]), ("z₁", "z₂")
        if self.model.latent_dim > 2:
            names = (axes.label(0), axes.label(1))
        view = LatentView(axes.directions_LD[:, :2].numpy(), names, limit=0.0)
        return replace(view, limit=max(limit_for(view.project(means_NL)) for means_NL in moments_NL))

    def latent_picture(self) -> tuple[NDArray[np.floating], LatentView]:
        """The points and axes of a finished model's latent plot.

        With more than two latent dimensions, they are those of the embedding that `artifacts.embedding`
        names. If fewer than three directions vary, the plane of two directions shows everything.
        """
        means, method = self.means(), self.config.artifacts.embedding
        varying = int((LatentAxes.of(means).variances > ACTIVE_VARIANCE).sum())
        if method == "pca" or self.model.latent_dim < 3 or varying < 3 or len(means) < 10:
            return means, self.view_of([means])
        points_N2, words = embedding(torch.from_numpy(means), method, self.config.seed)
        points_N2 -= (points_N2.max(axis=0) + points_N2.min(axis=0)) / 2
        names = (f"{words}\nnearby points are similar images; larger distances have no meaning", "")
        limit = 1.05 * float(np.abs(points_N2).max())
        return points_N2, LatentView(np.eye(2), names, limit, has_units=False)

    def latent_plot(
        self, means_NL: NDArray[np.floating], view: LatentView, title: str, *, coloured: bool
    ) -> LatentPlot:
        labels_N = self.labels_N if coloured and self.data.class_names else None
        subtitle = f"{self.about} · posterior means of {len(means_NL):,} {self.images_name}"
        if self.model.classes:
            subtitle += ": what z represents when the class is given"
        return LatentPlot(means_NL, labels_N, self.data.class_names, view, title, subtitle)

    def manifold(self, title: str = "Decoder manifold", label: int | None = None) -> Figure:
        """Images decoded on a grid in the plane of the latent plot, at equal steps of probability, not of z.

        `label` is the class that a class-conditional model is given, by default the first one.
        """
        label = self.classes[0] if label is None else label
        axes = LatentAxes.of(self.means())
        shown = axes.varying[:2]
        plane_LS, steps_MS = axes.directions_LD[:, shown], PRIOR_STEPS[:, None].expand(-1, len(shown))
        origin_L, whose, others = torch.zeros_like(axes.mean_L), "the prior's", "0"
        if not axes.prior_fits:
            steps_MS = axes.means_ND[:, shown].quantile(PROBABILITIES, dim=0)
            origin_L = axes.mean_L - plane_LS @ (plane_LS.T @ axes.mean_L)
            whose, others = "the posterior means'", "at their mean"
        z_RCL = origin_L + (steps_MS[:, :1] * plane_LS[:, 0])[None]
        if len(shown) > 1:
            z_RCL = z_RCL + (steps_MS[:, 1:].flip(0) * plane_LS[:, 1])[:, None]
        caption = "".join(
            f"{axes.label(place)}, {way}: {signed(values[0])} to {signed(values[-1])}\n"
            for place, way, values in zip(shown, WAYS, steps_MS.T.tolist(), strict=False)
        )
        caption += f"in equal steps of {whose} probability"
        if len(shown) < self.model.latent_dim:
            caption += f", all others {others}"
        if not axes.prior_fits:
            caption += axes.elsewhere
        images, title = self.decoded_grid(z_RCL, label), self.title_given(title, label)
        return image_grid(images, title, self.about, bottom_label=caption, zoom=2, gap=0)

    def traversals(self, label: int | None = None) -> Figure:
        """Images along one direction per row, the others fixed, largest variance first; `label` as above."""
        label = self.classes[0] if label is None else label
        axes = LatentAxes.of(self.means())
        shown = axes.varying[:MOST_ROWS]
        steps_V = torch.linspace(-3, 3, VARIATIONS, dtype=torch.float64)
        origin_L, unit_D, unit = torch.zeros_like(axes.mean_L), torch.ones_like(axes.variances), ""
        caption = "z along one direction, all other directions 0"
        if not axes.prior_fits:
            origin_L, unit_D, unit = axes.mean_L, axes.variances.sqrt(), " sd"
            caption = (
                "in standard deviations of the posterior means, all other directions at their mean"
                f"{axes.elsewhere}"
            )
        z_RVL = [origin_L + (steps_V * unit_D[row])[:, None] * axes.directions_LD[:, row] for row in shown]
        if len(shown) < self.model.latent_dim:
            caption += f"\n{len(shown)} of {self.model.latent_dim} directions are shown"
            if len(shown) == len(axes.varying):
                few = "1 % of all" if axes.variances.sum() > 1 else str(ACTIVE_VARIANCE)
                caption += f": the variance of the posterior means along the others is at most {few}"
        return image_grid(
            self.decoded_grid(torch.stack(z_RVL), label),
            self.title_given("Traversals of the latent space", label),
            self.about,
            row_labels=[axes.label(row).replace(", ", "\n") for row in shown],
            column_labels=[f"{signed(step)}{unit}" if step else "0" for step in steps_V.tolist()],
            bottom_label=caption,
        )

    def category_variations(self, title: str) -> Figure:
        means_NL = self.points_posterior().mean.cpu().double()
        steps = torch.linspace(-2, 2, VARIATIONS, dtype=torch.float64)
        rows, labels_N = [], torch.from_numpy(self.labels_N)
        known = self.data.class_names
        names = {number: known[number] for number in self.classes if known and number in labels_N}
        if not names:
            raise NothingToShow("the images have no labels")
        for number in names:
            of_class = means_NL[labels_N == number]
            direction = principal_directions(of_class, 1)[:, 0]
            spread = (of_class @ direction).std(correction=0)
            rows.append(of_class.mean(dim=0) + steps[:, None] * spread * direction)
        return image_grid(
            self.decoded_grid(torch.stack(rows), list(names)),
            title,
            self.about,
            row_labels=list(names.values()),
            column_labels=["mean" if step == 0 else f"{signed(step, 1)} sd" for step in steps.tolist()],
            bottom_label="decoded around the mean of the class, along its direction of most variance",
        )

    def interpolations(self, when: str = "", *, spherical: bool) -> Figure:
        """Interpolations between the posterior means of two images, with the images at both ends.

        It shows 8 pairs on straight lines or, with `spherical`, 4 pairs, each with the great circle below its
        line. `when` ends the title.
        """
        paths, ways = {"linear": linear_path}, "a straight line"
        if spherical:
            paths["spherical"] = spherical_path
            ways = "a straight line and a great circle"
        pairs = 8 // len(paths)
        band = self.first_band[:pairs]
        partner, partner_labels = (
            each[self.columns :].roll(-self.columns // 3, dims=0)[:pairs]
            for each in (self.images_K1HW, self.images_labels)
        )
        labels = self.images_labels[: len(band)]
        start = self.posterior(band, labels).mean.cpu()
        end = self.posterior(partner, partner_labels).mean.cpu()
        share = torch.linspace(0, 1, 8)
        z_RSL = torch.stack([path(start, end, share) for path in paths.values()], dim=1).flatten(0, 1)
        ends = [as_arrays(images.repeat_interleave(len(paths), dim=0))[:, None] for images in (band, partner)]
        images = self.decoded_grid(z_RSL, labels.repeat_interleave(len(paths)).tolist())
        caption = f"decoded at equal steps on {ways} between the two posterior means"
        if self.model.classes:
            caption += "\ngiven the class of the image on the left; of the image on the right, only z is used"
        return image_grid(
            np.concatenate([ends[0], images, ends[1]], axis=1),
            f"Interpolations between {self.images_name}{when}",
            self.about,
            row_labels=list(paths) * len(band) if spherical else (),
            row_group=len(paths) if spherical else 0,
            column_labels=["original", *(f"{100 * part:.0f} %" for part in share.tolist()), "original"],
            bottom_label=caption,
        )


def as_arrays(x_NCHW: Tensor) -> NDArray[np.float32]:
    """Images for figures: grey as (N, H, W), colour images as (N, H, W, 3)."""
    x = x_NCHW.squeeze(1) if x_NCHW.shape[1] == 1 else x_NCHW.movedim(1, 3)
    return x.cpu().numpy()


def as_bytes(x_NCHW: Tensor) -> NDArray[np.uint8]:
    """Images in the same shapes, from 0 to 255."""
    return in_bytes(as_arrays(x_NCHW))


def in_bytes(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Values in [0, 1] as uint8, 0 to 255; values that are not finite become 0."""
    return np.nan_to_num(images * 255).round().astype(np.uint8)


def as_grid(images_NHW: NDArray[np.floating], columns: int = 8) -> NDArray[np.floating]:
    """Images in rows of `columns`, shape (N / columns, columns, H, W)."""
    return images_NHW.reshape(-1, columns, *images_NHW.shape[1:])


def signed(value: float, digits: int = 2) -> str:
    """−0.50 or +0.50."""
    return f"{value:+.{digits}f}".replace("-", "−")


def latent_name(dimension: int) -> str:
    """z₁ for dimension 0."""
    return "z" + str(dimension + 1).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
