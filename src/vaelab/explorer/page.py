"""From a run, or two of a sweep, to explorer.html.

Shapes: N images, L latent dimensions, P directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaelab.config import EvaluatedDataConfig, EvaluationConfig, ExploreConfig, VaelabError, unknown
from vaelab.evaluation.evaluate import evaluated_model
from vaelab.evaluation.model import EvaluatedModel
from vaelab.evaluation.runs import Member, find
from vaelab.evaluation.sections.latent import COLLAPSED
from vaelab.explorer.network import Weights, network
from vaelab.figures.style import class_colour
from vaelab.metrics.latent import principal_directions
from vaelab.pages.page import packed, render
from vaelab.runs import logs as console
from vaelab.runs.files import write_bytes, writing
from vaelab.runs.folder import RunFolder, folder_of_runs, natural
from vaelab.training.run import Run, load

DIRECTIONS = 4
"""Principal directions that can be chosen as the plane's axes."""


@dataclass(frozen=True)
class ExplorerPage:
    """Where the page lies, and how large it is."""

    path: Path
    megabytes: float


def explore(config: ExploreConfig) -> ExplorerPage:
    """Write explorer.html of one run, or of two runs of a sweep side by side.

    Raises VaelabError for a run that can't be used, and for two that can't be put side by side.
    """
    with console.logging_to(console.AboveTheBar()):
        if config.run is not None:
            runs = [load(config.run)]
            found = RunFolder.around(Path(config.run).expanduser())
            folder = found.path if found else Path(config.run).expanduser().parent
        else:
            assert config.sweep is not None
            members = pair(folder_of_runs(config.sweep), config.pair)
            runs = [load(member.folder.last_checkpoint) for member in members]
            folder = Path(config.sweep).expanduser() / "comparison"
        path = Path(config.output).expanduser() if config.output is not None else folder / "explorer.html"
        text = page(runs, config).encode()
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text)
    return ExplorerPage(path, len(text) / 1e6)


def pair(sweep: Path, wanted: Sequence[str] | None) -> list[Member]:
    """The two runs to put side by side: those that were named, else KL off beside the beta nearest to 1."""
    members = {member.folder.name: member for member in find(sweep).members}
    if wanted is not None:
        for name in wanted:
            if name not in members:
                raise unknown("run", name, sorted(members, key=natural))
        return [members[name] for name in wanted]
    if len(members) < 2:
        raise VaelabError(f"{sweep} has {len(members)} finished runs, and two are needed: type run=FOLDER.")
    every = list(members.values())
    off = [member for member in every if member.config.kl_off]
    on = [member for member in every if not member.config.kl_off]
    if not off or not on:
        return [every[0], every[-1]]
    return [off[0], min(on, key=lambda member: abs(member.config.beta - 1))]


def page(runs: Sequence[Run], config: ExploreConfig) -> str:
    """The page of one or two models of the same images and as many latent dimensions."""
    loaded: dict[str, Any] = {}
    settings = EvaluationConfig(
        checkpoint="the run's", device="cpu", nll_images=None,
        dataset=EvaluatedDataConfig(source=config.dataset.source, root=config.dataset.root),
    )  # fmt: skip
    models = [evaluated_model(run, settings, loaded) for run in runs]
    first = models[0]
    count = min(config.images, len(first.split))
    for other in models[1:]:
        if other.model.latent_dim != first.model.latent_dim:
            raise VaelabError(
                f"The models have {first.model.latent_dim} and {other.model.latent_dim} latent dimensions: "
                "side by side they need as many; type pair=[...] with two that have."
            )
        if not torch.equal(other.split.images, first.split.images):
            raise VaelabError(
                "The models were trained on different images: type pair=[...] with two of the same."
            )
    names = [f"{run.config.model['name']}, {run.config.kl_label}" for run in runs]
    if len(set(names)) < len(names):
        names = [
            f"{name}, {run.checkpoint.parent.parent.name}" for name, run in zip(names, runs, strict=True)
        ]
    bytes_N = (first.images[:count].flatten(1) * 255).round().to(torch.uint8).cpu().numpy()
    height, width = first.data.spec.image_shape[1:]
    return render(
        "explorer.html.j2",
        title=" beside ".join(names),
        about=f"{first.data.description} · the first {count:,} of {len(first.split):,} test images",
        height=height,
        width=width,
        explorer={
            "models": [model_data(each, name, count) for each, name in zip(models, names, strict=True)],
            "classes": [
                {"number": number, "name": name, "colour": class_colour(number)}
                for number, name in first.data.class_names.items()
            ],
            "labels": first.split.labels[:count].tolist(),
        },
        images=packed(bytes_N.tobytes()),
    )


def model_data(evaluated: EvaluatedModel, name: str, count: int) -> dict[str, Any]:
    """A model with the posterior means of the images, for the page."""
    run, weights = evaluated.run, Weights()
    layers = network(evaluated.model, evaluated.run.config.loss.likelihood_name, weights)
    means_NL = evaluated.posterior.mean[:count].float().cpu().numpy()
    directions_LP = principal_directions(
        evaluated.posterior.mean, min(DIRECTIONS, evaluated.model.latent_dim)
    )
    kl_L = evaluated.kl_of_dimensions
    return {
        "name": name,
        "checkpoint": f"{run.checkpoint.parent.parent.name}/{run.checkpoint.name}, epoch {run.epoch}",
        "network": layers,
        "weights": packed(weights.to_bytes()),
        "means": packed(np.ascontiguousarray(means_NL, dtype="<f4").tobytes()),
        "kl": [round(value, 4) for value in kl_L.tolist()],
        "collapsed": (kl_L < COLLAPSED).tolist(),
        "directions": directions_LP.T.tolist(),
    }
