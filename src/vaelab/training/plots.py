"""`run.plot`: the figures of a trained model as matplotlib Figures; and how a notebook displays a run."""

import math
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property

from vaelab.config import EvaluationConfig, VaelabError
from vaelab.data.datasets import published
from vaelab.figures import Figure
from vaelab.figures.style import signed_png
from vaelab.pages.notebook import as_text
from vaelab.pages.page import embedded, render
from vaelab.runs.folder import SPLIT_NAMES, RunFolder, RunFolderError
from vaelab.training.examples import ExampleImages
from vaelab.training.latent_axes import NothingToShow
from vaelab.training.run import Run, load_data
from vaelab.training.snapshots import curves_of

SHOWN = ("loss", "reconstruction", "kl", "neg_elbo")
"""The numbers of a run that a notebook displays."""


class Plots:
    """Figures of a run's model, with the same images, latents and axes as the figures in its folder.

    Each method returns a matplotlib Figure, made without pyplot: `run.plot.latent().savefig("latent.pdf")`
    writes it, and as the last line of a notebook cell it is displayed. The images are those of the run's test
    split, which are read on first use. Raises VaelabError if they can't be found, and NothingToShow, a
    VaelabError, if the figure would be empty.

    >>> plots = vaelab.load("outputs/example").plot
    >>> plots.latent().savefig("latent.pdf")
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def examples(self) -> ExampleImages:
        """What the figures are drawn from: the model, and test images that are read on first use."""
        run = self.run
        data, _ = load_data(run, EvaluationConfig(checkpoint=str(run.checkpoint), device="cpu"))
        return ExampleImages(run.config, data, data.test, run.model, run.objective, moment=run.moment)

    def loss(self) -> Figure:
        """Loss, reconstruction and KL in nats per image over the epochs, training beside validation."""
        run, examples = self.run, self.examples
        if not run.metrics:
            raise NothingToShow("no epoch has been completed yet")
        steps = math.ceil(len(examples.data.train) / run.config.batch_size)
        return curves_of(run.metrics, run.config, run.objective, examples.about, steps, run.best_epoch)

    def latent(self) -> Figure:
        """Posterior means of at most 5,000 test images, coloured by class.

        With more than two latent dimensions, projected on their first two principal directions, or embedded
        with the method that artifacts.embedding names.
        """
        examples = self.examples
        return examples.latent_plot(*examples.latent_picture(), "Latent space", coloured=True).figure

    def samples(self) -> Figure:
        """64 images decoded from draws from the prior, always the same draws.

        For a class-conditional run: a row per class, decoded from the same draws.
        """
        return self.examples.samples("Samples from the prior").figure

    def reconstructions(self) -> Figure:
        """Test images of each class above their reconstructions from posterior means."""
        return self.examples.reconstructions("Reconstructions").figure

    def manifold(self, label: str | int | None = None) -> Figure:
        """Images decoded on a grid in the plane of `latent`, at equal steps of the prior's probability.

        If most posterior means lie outside that grid, the steps are of their probability instead.

        `label` is the class that a class-conditional run decodes, by default the first one.
        """
        return self.examples.manifold(label=self._class_number(label))

    def traversals(self, label: str | int | None = None) -> Figure:
        """Images decoded along one latent direction per row, largest variance first; `label` as above."""
        return self.examples.traversals(self._class_number(label))

    def _class_number(self, label: str | int | None) -> int | None:
        return None if label is None else int(self.run.class_numbers(label, 1, "label"))

    def variations(self) -> Figure:
        """Images decoded around the mean of each class, along its direction of most variance."""
        return self.examples.category_variations("Variations of each class")

    def interpolations(self) -> Figure:
        """Images decoded on straight lines between the posterior means of two test images."""
        return self.examples.interpolations(spherical=False)


def as_html(run: Run) -> str:
    """HTML for a notebook: setup, this epoch's numbers, loss curves, samples and reconstructions."""
    config, row = run.config, run.metrics[run.epoch - 1] if run.epoch else {}
    splits = [split for split in SPLIT_NAMES if f"{split}/loss" in row]
    rows = {name: [as_text(row[f"{split}/{name}"]) for split in splits] for name in SHOWN if row}
    spec = published().get(config.dataset.name)  # None for a user's own images, which may no longer exist
    data = spec.title if spec else config.dataset.name
    if not run.trained_on["complete"]:
        data += " (embedded subset: results are not comparable with those of the full set)"
    images, missing = {}, []
    try:
        images = {name: embedded(content)[0] for name, content in pictures(run)}
    except VaelabError as reason:  # the images are not here, say
        missing.append(str(reason))
    html = render(
        "run.cell.html.j2",
        title=f"{config.label(run.model.latent_dim)} · {data}",
        about=" · ".join([progress(run), f"seed {config.seed}", str(run.checkpoint)]),
        epoch=run.epoch,
        splits=[SPLIT_NAMES[split] for split in splits],
        rows=rows,
        missing=missing,
        images=images,
    )
    return config.notation(html)


def progress(run: Run) -> str:
    """`best checkpoint, epoch 12 of 20`, after the run's status if it is not finished."""
    folder, status = RunFolder.around(run.checkpoint), "finished"
    if folder is not None:
        with suppress(RunFolderError, OSError):
            status = folder.read_run_json()["status"]
    which = {"best": "best checkpoint, ", "last": "last checkpoint, "}.get(run.checkpoint.stem, "")
    return f"{status + ', ' if status != 'finished' else ''}{which}epoch {run.epoch} of {run.config.epochs}"


def pictures(run: Run) -> Iterator[tuple[str, bytes]]:
    """Names and PNGs of a run's figures: from its folder if they are of this epoch, else drawn now."""
    watermark, folder = run.config.artifacts.watermark, RunFolder.around(run.checkpoint)
    if run.metrics:
        yield "loss curves", signed_png(run.plot.loss(), watermark)
    for kind, draw in (("samples", run.plot.samples), ("reconstructions", run.plot.reconstructions)):
        kept = None if folder is None else folder.image(kind, run.epoch)
        if kept is not None and kept.is_file() and run.checkpoint.stem != "last":  # which may be in mid-epoch
            yield kind, kept.read_bytes()
        else:
            yield kind, signed_png(draw(), watermark)
