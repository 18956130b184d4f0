"""From a run, or two of a sweep, to explorer.html.

Shapes: N images, L latent dimensions, P directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaelab.comparison.runs import Member, find
from vaelab.config import EvaluatedDataConfig, EvaluationConfig, ExploreConfig, VaelabError, unknown
from vaelab.evaluation import session as evaluation
from vaelab.evaluation.measures import COLLAPSED
from vaelab.evaluation.subject import Subject
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
class Outcome:
    """Where the page lies, and how large it is."""

    path: Path
    megabytes: float


def explore(asked: ExploreConfig) -> Outcome:
    """Write explorer.html of one run, or of two runs of a sweep side by side.

    Raises VaelabError for a run that can't be used, and for two that can't be put side by side.
    """
    with console.logging_to(console.AboveTheBar()):
        if asked.run is not None:
            runs = [load(asked.run)]
            found = RunFolder.around(Path(asked.run).expanduser())
            folder = found.path if found else Path(asked.run).expanduser().parent
        else:
            assert asked.sweep is not None
            members = pair(folder_of_runs(asked.sweep), asked.pair)
            runs = [load(member.folder.last_checkpoint) for member in members]
            folder = Path(asked.sweep).expanduser() / "comparison"
        path = Path(asked.output).expanduser() if asked.output is not None else folder / "explorer.html"
        text = page(runs, asked).encode()
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text)
    return Outcome(path, len(text) / 1e6)


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
    ordered = list(members.values())
    off = [member for member in ordered if member.config.kl_off]
    on = sorted(
        (member for member in ordered if member not in off), key=lambda member: abs(member.config.beta - 1)
    )
    return [off[0], on[0]] if off and on else [ordered[0], ordered[-1]]


def page(runs: Sequence[Run], asked: ExploreConfig) -> str:
    """The page of one or two models of the same images and as many latent dimensions."""
    loaded: dict[str, Any] = {}
    about = EvaluationConfig(
        checkpoint="the run's", device="cpu", nll_images=None,
        dataset=EvaluatedDataConfig(source=asked.dataset.source, root=asked.dataset.root),
    )  # fmt: skip
    subjects = [evaluation.subject_of(run, about, loaded) for run in runs]
    first = subjects[0]
    count = min(asked.images, len(first.split))
    for other in subjects[1:]:
        if other.model.latent_dim != first.model.latent_dim:
            raise VaelabError(
                f"The models have {first.model.latent_dim} and {other.model.latent_dim} latent dimensions: "
                "side by side they need as many; type pair=[...] with two that have."
            )
        if not torch.equal(other.split.images, first.split.images):
            raise VaelabError(
                "The models were trained on different images: type pair=[...] with two of the same."
            )
    names = [name_of(subject) for subject in subjects]
    if len(set(names)) < len(names):
        names = [
            f"{name}, {subject.run.checkpoint.parent.parent.name}"
            for name, subject in zip(names, subjects, strict=True)
        ]
    shown = first.images[:count]
    bytes_N = (shown.flatten(1) * 255).round().to(torch.uint8).cpu().numpy()
    return render(
        "explorer.html.j2",
        title=" beside ".join(names),
        about=f"{first.data.description} · the first {count:,} of {len(first.split):,} test images",
        explorer={
            "models": [
                model_data(subject, name, count) for subject, name in zip(subjects, names, strict=True)
            ],
            "classes": [
                {"number": number, "name": name, "colour": class_colour(number)}
                for number, name in first.data.class_names.items()
            ],
            "labels": first.split.labels[:count].tolist(),
        },
        images=packed(bytes_N.tobytes()),
    )


def name_of(subject: Subject) -> str:
    config = subject.run.config
    return f"{config.model['name']}, {config.kl_label}"


def model_data(subject: Subject, name: str, count: int) -> dict[str, Any]:
    """A model with the codes of the images, for the page."""
    weights = Weights()
    layers = network(subject.model, weights)
    means_NL = subject.posterior.mean[:count].float()
    directions_LP = principal_directions(subject.posterior.mean, min(DIRECTIONS, subject.model.latent_dim))
    kl_L = subject.kl_of_dimensions
    return {
        "name": name,
        "checkpoint": f"{subject.run.checkpoint.parent.parent.name}/{subject.run.checkpoint.name}, "
        f"epoch {subject.run.epoch}",
        "network": layers,
        "likelihood": subject.run.config.loss.likelihood_name,
        **{name: packed(content) for name, content in weights.to_bytes().items()},
        "means": packed(np.ascontiguousarray(means_NL.cpu().numpy(), dtype="<f4").tobytes()),
        "kl": [round(value, 4) for value in kl_L.tolist()],
        "collapsed": (kl_L < COLLAPSED).tolist(),
        "directions": directions_LP.T.tolist(),
    }
