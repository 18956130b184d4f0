"""Images from a checkpoint: decoded from draws of the prior, or of a mixture fitted to posterior samples.

Shapes: B images drawn at once, N images, C channels, H height, W width, L latent dimensions.
"""

import io
import json
import logging
import math
from collections.abc import Iterator, Mapping
from itertools import chain, cycle, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import EvaluationConfig, SampleConfig, VaelabError, counted
from vaelab.evaluation.evaluate import evaluated_model
from vaelab.evaluation.outputs import (
    about,
    can_go_on,
    class_in_name,
    computed,
    facts_of,
    given_classes,
    in_rows,
    in_the_way,
    output_file,
    output_folder,
    unfinished,
    write_new,
)
from vaelab.figures import Figure, style
from vaelab.figures.images import image_grid
from vaelab.metrics.generation import batches_of
from vaelab.runs import logs as console
from vaelab.runs.files import held, write_bytes
from vaelab.runs.folder import RunFolder
from vaelab.training.examples import as_arrays, as_bytes
from vaelab.training.run import AT_ONCE, OtherImages, Run, load

log = logging.getLogger(__name__)

FACTS = "samples.json"
"""In a folder of PNG files: what they were drawn from."""


def write_samples(config: SampleConfig) -> Path:
    """Draw images and write them; returns the path of a grid, an archive or a folder of PNG files.

    Raises VaelabError.
    """
    with console.logging_to(console.ProgressBarHandler()):
        run = load(config.run)
        config = with_classes(run, config)
        drawn: dict[str, Any] = config.model_dump(include={"source", "sigma", "seed", "count"})
        facts = facts_of(run) | drawn
        if run.model.classes:
            names = run.trained_on["classes"]
            chosen = names[config.class_] if isinstance(config.class_, int) else config.class_
            facts |= {"class": chosen, "class_prior": run.model.class_prior.tolist()}
        return WRITERS[config.format](config, run, facts)


ALL = "all"  # classes


def with_classes(run: Run, config: SampleConfig) -> SampleConfig:
    """The settings for this run: with class=all, the count is rounded up to a multiple of the classes.

    Raises VaelabError for a class that the run doesn't have.
    """
    if config.class_ == ALL and run.model.classes:
        classes = len(run.model.classes)
        return config.model_copy(update={"count": math.ceil(config.count / classes) * classes})
    if config.class_ is not None:
        number = run.class_numbers(config.class_, 1, "class").item()
        return config.model_copy(update={"class_": number})
    return config


def draws(run: Run, config: SampleConfig) -> Iterator[tuple[Tensor, Tensor]]:
    """An endless stream of latents (B, L) and labels (B,); with class=all, each latent with every class."""
    drawn = latents(run, config)
    if config.class_ == ALL:
        each_B = (z_BL.repeat_interleave(len(run.model.classes), dim=0).split(AT_ONCE) for z_BL in drawn)
        drawn = chain.from_iterable(each_B)
    return zip(drawn, label_draws(run, config), strict=False)


def label_draws(run: Run, config: SampleConfig) -> Iterator[Tensor]:
    """An endless stream of labels (B,)."""
    if config.class_ is None:
        return run.label_draws(config.seed)
    if config.class_ == ALL:
        return cycle(run.model.class_numbers.repeat(AT_ONCE).split(AT_ONCE))
    return repeat(torch.full((AT_ONCE,), int(config.class_)))


def latents(run: Run, config: SampleConfig) -> Iterator[Tensor]:
    """An endless stream of latents, (B, L) each: the same for the same seed, however many are taken."""
    if config.source == "prior":
        return run.prior_draws(config.seed, config.sigma)
    settings = EvaluationConfig(
        checkpoint="the run's", device="cpu", dataset=config.dataset.scored(), split="train"
    )
    try:
        evaluated = evaluated_model(run, settings, {})
    except OtherImages as error:
        raise VaelabError(
            "source=mixture is fitted to the images that the run was trained on, but other images were "
            "found: type dataset.root=FOLDER with the original images, or source=prior."
        ) from error
    with console.doing("fitting the mixture"):
        mixture = evaluated.mixture
    log.info(
        "%d Gaussians (%s covariance) fitted to one posterior sample each of %s of %s",
        mixture.n_components, {"full": "full", "diag": "diagonal"}[mixture.covariance_type],
        counted(evaluated.fitted, "training image"), evaluated.data.description,
    )  # fmt: skip
    return map(torch.from_numpy, batches_of(mixture, AT_ONCE, config.seed))


def batches(run: Run, config: SampleConfig, start: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Latents, labels and images, (B, L), (B,) and (B, C, H, W), without the first `start` batches."""
    for z_BL, labels_B in islice(draws(run, config), start, math.ceil(config.count / AT_ONCE)):
        yield z_BL, labels_B, run.decoded(z_BL, labels_B)


def sample(run: Run, config: SampleConfig) -> Tensor:
    """The images, shape (N, C, H, W), in [0, 1]. Raises VaelabError."""
    config = with_classes(run, config)
    return torch.cat([x_BCHW for _, _, x_BCHW in batches(run, config)])[: config.count]


def name_of(config: SampleConfig, run: Run) -> str:
    """The file name, `best_seed-0_64`: everything that determines the images, except the weights."""
    parts = [run.checkpoint.stem, f"seed-{config.seed}"]
    if config.class_ is not None:
        parts.append("class-all" if config.class_ == ALL else class_in_name(run, int(config.class_))[1:])
    parts += [f"sigma-{config.sigma:g}"] * (config.sigma != 1) + ["mixture"] * (config.source == "mixture")
    return "_".join([*parts, str(config.count)])


def given_class(run: Run, config: SampleConfig) -> str:
    """How the labels of a class-conditional run were chosen, for a title."""
    if not run.model.classes:
        return ""
    if config.class_ is None:
        return ", classes drawn from p(y)"
    if config.class_ == ALL:
        return ", decoded given each class"
    return given_classes(run, torch.tensor([config.class_]))


MOST_COLUMNS = 12  # whose names have room above them


def columns_of(count: int) -> int:
    """The columns of a nearly square grid that leave the fewest places of the last row empty."""
    least = math.ceil(math.sqrt(count))
    return min(range(least, max(least, math.isqrt(3 * count)) + 1), key=lambda columns: -count % columns)


def grid_of(config: SampleConfig, run: Run) -> Figure:
    images, names = as_arrays(sample(run, config)), []
    if config.class_ == ALL:
        names = [run.trained_on["classes"][number] for number in run.model.classes]
        images = images.reshape(-1, len(names), *images.shape[1:]).swapaxes(0, 1)
    else:
        images = in_rows(images, columns_of(config.count))
    source = "the prior" if config.sigma == 1 else f"N(0, σ²) with σ = {config.sigma:g}"
    if config.source == "mixture":
        source = "a mixture fitted to posterior samples"
    what = counted(images.shape[1], "draw") if names else counted(config.count, "sample")
    title = f"{what} from {source}{given_class(run, config)}"
    labels: dict[str, Any] = {}
    if names:
        caption = "each column shows the same z, decoded given each class"
        labels = {"row_labels": names, "bottom_label": caption}
        if 3 * images.shape[1] <= len(names) <= MOST_COLUMNS:  # else the grid would be a narrow strip
            images = images.swapaxes(0, 1)
            labels = {"column_labels": names, "bottom_label": caption.replace("column", "row")}
    home = RunFolder.around(run.checkpoint)
    which = run.checkpoint.name if home is None else f"run {home.name}"
    sigma = f", σ = {config.sigma:g}" if config.source == "prior" else ""
    subtitle = f"{about(run)} · {which} · seed {config.seed}{sigma}"
    zoom = max(3, min(8, 22 // max(images.shape[:2])))  # few images are shown larger
    return image_grid(images, title, subtitle, zoom=zoom, **labels)


def write_grid(config: SampleConfig, run: Run, facts: Mapping[str, Any]) -> Path:
    figure = grid_of(config, run)
    path = output_file(config.output, run, "samples", f"{name_of(config, run)}.png")
    return write_new(path, style.signed_png(figure, run.config.artifacts.watermark))


def write_npz(config: SampleConfig, run: Run, facts: Mapping[str, Any]) -> Path:
    """Images as bytes, latents, and the facts as a text of JSON."""
    path = output_file(config.output, run, "samples", f"{name_of(config, run)}.npz")
    if path.exists():
        if facts_in(path) != facts:
            raise in_the_way(path)
        log.info("%s is already complete", path)
        return path
    kept = unfinished(path, facts)
    shape = as_bytes(torch.zeros(1, *run.model.image_shape)).shape[1:]
    columns = [("images", np.uint8, shape), ("latents", np.float32, (run.model.latent_dim,))]
    columns += [("labels", np.int64, ())] * bool(run.model.classes)
    row = np.dtype(columns)
    source: Iterator[tuple[Tensor, Tensor, Tensor]] | None = None

    def compute(number: int) -> NDArray[Any]:
        nonlocal source
        source = source or batches(run, config, number)
        z_BL, labels_B, x_BCHW = next(source)
        rows = np.empty(len(z_BL), row)
        rows["images"], rows["latents"] = as_bytes(x_BCHW), z_BL
        if run.model.classes:
            rows["labels"] = labels_B
        return rows

    rows = computed(path, facts, config.count, AT_ONCE, (), row, compute, "sampling")
    content = io.BytesIO()
    arrays = {name: rows[name] for name in row.names or ()}
    if run.model.classes:
        arrays["class_names"] = np.array(run.trained_on["classes"])
    np.savez(content, allow_pickle=False, **arrays, about=np.array(json.dumps(facts)))
    write_bytes(path, content.getvalue())
    kept.unlink(missing_ok=True)
    return path


def facts_in(path: Path) -> object:
    """What an archive of samples was drawn from; nothing of any other file."""
    try:
        with np.load(path) as archive:
            return json.loads(str(archive["about"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_png(config: SampleConfig, run: Run, facts: Mapping[str, Any]) -> Path:
    """Write one numbered file per image; existing ones are kept."""
    folder = output_folder(config.output, run, f"samples/{name_of(config, run)}")
    text = json.dumps(facts, indent=2) + "\n"
    with held(folder), can_go_on():
        if any(path for path in folder.iterdir() if not path.name.startswith(".")):
            found = folder / FACTS
            if not found.is_file() or found.read_text(encoding="utf-8") != text:
                raise VaelabError(
                    f"{folder} has other files: type output=FOLDER with a new or an empty folder."
                )
        write_bytes(folder / FACTS, text.encode())
        paths = [folder / f"{number:05d}{ending}.png" for number, ending in enumerate(endings(run, config))]
        missing = next((number for number, path in enumerate(paths) if not is_whole(path)), None)
        if missing is None:
            log.info("%s is already complete", folder)
            return folder
        first = missing // AT_ONCE
        with console.progress(
            total=config.count, initial=first * AT_ONCE, desc="sampling", unit=" images"
        ) as bar:
            for number, (_, _, x_BCHW) in enumerate(batches(run, config, first), first):
                for path, image in zip(paths[number * AT_ONCE :], as_bytes(x_BCHW), strict=False):
                    content = style.png(np.broadcast_to(np.atleast_3d(image), (*image.shape[:2], 3)))
                    write_bytes(path, content, sync=False)
                    bar.update()
    return folder


def is_whole(path: Path) -> bool:
    """Whether a PNG file is complete to its end, which a power failure may have cut off."""
    return path.is_file() and path.read_bytes().endswith(b"IEND\xaeB`\x82")


def endings(run: Run, config: SampleConfig) -> list[str]:
    """What ends the name of each image's file: the class that it was given, as `_class-trouser`."""
    if not run.model.classes:
        return [""] * config.count
    numbers = chain.from_iterable(labels_B.tolist() for labels_B in label_draws(run, config))
    return [class_in_name(run, number) for number in islice(numbers, config.count)]


WRITERS = {"grid": write_grid, "npz": write_npz, "png": write_png}
