"""From a run, or two of a sweep, to explorer.html.

Shapes: N images, L latent dimensions, P directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vaelab.config import EvaluationConfig, ExploreConfig, VaelabError, counted, unknown
from vaelab.config.train import name_of, notation
from vaelab.evaluation.evaluate import evaluated_model
from vaelab.evaluation.model import COVERED, EvaluatedModel
from vaelab.evaluation.runs import Member, find
from vaelab.evaluation.sections.latent import COLLAPSED
from vaelab.explorer.network import Weights, network
from vaelab.figures.style import class_colour
from vaelab.metrics.latent import ACTIVE_VARIANCE, chi_square, principal_directions
from vaelab.objectives.likelihoods.gaussian import GaussianPixels
from vaelab.pages.links import linked, refresh
from vaelab.pages.notebook import frame
from vaelab.pages.page import packed, render, subsample
from vaelab.runs import logs as console
from vaelab.runs.files import through_link, write_bytes, writing
from vaelab.runs.folder import RunFolder, folder_of_runs, natural
from vaelab.training.run import Run, load

DIRECTIONS = 4
"""Principal directions that can be chosen as the plane's axes."""


MOST_PIXELS = 64
"""Largest height and width of an image: the page would take seconds to encode and decode larger ones."""


@dataclass(frozen=True, repr=False)
class Explorer:
    """A page that was written, at `.path`; a notebook displays it.

    It can be used as a path, as in `open(explorer)`.

    >>> explorer = vaelab.explore("outputs/example", images=100)
    >>> explorer.path.name
    'explorer.html'
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<Explorer: {self.path}>"

    def _repr_html_(self) -> str:
        return frame(self.path.read_text(encoding="utf-8"), height=960)


def explore(config: ExploreConfig) -> Path:
    """Write explorer.html of one run, or of two runs of a sweep side by side; returns its path.

    Raises VaelabError for a run that can't be used, and for two that can't be shown side by side.
    """
    with console.logging_to(console.ProgressBarHandler()):
        if config.sweep is None:
            runs = [load(config.run or "")]
            checkpoint = runs[0].checkpoint
            folder = (RunFolder.around(checkpoint) or RunFolder(checkpoint.parent)).path
        else:
            members = pair(folder_of_runs(config.sweep), config.pair)
            runs = [load(member.folder.last_checkpoint) for member in members]
            folder = Path(config.sweep) / "comparison"
        path = Path(config.output) if config.output is not None else folder / "explorer.html"
        text = linked(page(runs, config), path)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(through_link(path), text.encode())
        refresh(path.parent)  # the report beside it links to the explorer
    return path


def pair(sweep: Path, wanted: Sequence[str] | None) -> list[Member]:
    """The two runs to show side by side: the `wanted` ones, else KL off and the beta nearest to 1."""
    members = {member.folder.name: member for member in find(sweep).members}
    for name in wanted or ():
        if name not in members:
            raise unknown("run", name, sorted(members, key=natural))
    if wanted is not None:
        return [members[name] for name in wanted]
    if len(members) < 2:
        raise VaelabError(
            f"{sweep} has {counted(len(members), 'finished run')}, but two are needed: type run=FOLDER."
        )
    every = list(members.values())
    off = [member for member in every if member.config.kl_off]
    on = [member for member in every if not member.config.kl_off]
    if not off or not on:
        return [every[0], every[-1]]
    return [off[0], min(on, key=lambda member: abs(member.config.beta - 1))]


def page(runs: Sequence[Run], config: ExploreConfig) -> str:
    """The page of one or two models of the same images and as many latent dimensions."""
    settings = EvaluationConfig(
        checkpoint="the run's", device="cpu", nll_images=None, dataset=config.dataset.scored()
    )
    loaded: dict[str, Any] = {}
    models = [evaluated_model(run, settings, loaded) for run in runs]
    first = models[0]
    for other in models[1:]:
        if other.model.latent_dim != first.model.latent_dim:
            raise VaelabError(
                f"The models have {first.model.latent_dim} and {other.model.latent_dim} latent dimensions, "
                "but side by side they need the same number: type pair=[...] with two such models."
            )
        if not torch.equal(other.split.images, first.split.images):
            raise VaelabError(
                "The models were trained on different images: type pair=[...] with two on the same images."
            )
    names = [f"{run.config.model_label}, {run.config.objective_label}" for run in runs]
    if len(set(names)) < len(names):
        names = [
            f"{name}, {run.checkpoint.parent.parent.name}" for name, run in zip(names, runs, strict=True)
        ]
    channels, height, width = first.data.spec.image_shape
    if channels > 1 or max(height, width) > MOST_PIXELS:
        what = "are in colour" if channels > 1 else f"have {height} × {width} pixels"
        raise VaelabError(
            f"The explorer shows grey images of at most {MOST_PIXELS} × {MOST_PIXELS} pixels, but those of "
            f"{first.data.description} {what}: the figures of vaelab.evaluate show their latent space."
        )
    count = min(config.images, len(first.split))
    bytes_N = (first.images[:count].flatten(1) * 255).round().to(torch.uint8).cpu().numpy()
    earlier = [
        [evaluated_model(each, settings, loaded) for each in earlier_epochs(run, config.epochs)]
        for run in runs
    ]
    chosen = [model_data(*of_model, count=count) for of_model in zip(models, earlier, names, strict=True)]
    moments = [moment for model in chosen for moment in model["moments"]]
    epochs = sorted({moment["epoch"] for moment in moments})
    content = sum(len(moment["weights"]) + len(moment["posterior"]) for moment in moments)
    page = render(
        "explorer.html.j2",
        title=f"{' beside '.join(names)} · {first.data.description}",
        heading=" beside ".join(names),
        about=f"{first.data.description}: the first {count:,} of {len(first.split):,} test images",
        epochs=epochs,
        size=f"{content / 1e6:.1f} MB",
        models=len(models),
        latents=first.model.latent_dim,
        conditional=any(each.model.classes for each in models),
        height=height,
        width=width,
        explorer={
            "models": chosen,
            "epochs": epochs,
            "classes": [
                {
                    "number": number,
                    "name": name,
                    "colours": [class_colour(number), class_colour(number, True)],
                }
                for number, name in (first.data.class_names or {0: "no label"}).items()
            ],
            "labels": first.split.labels[:count].tolist(),
            "covered": {"share": COVERED, "square": chi_square(COVERED, first.model.latent_dim)},
            "median": chi_square(0.5, first.model.latent_dim) ** 0.5,
            "collapsed": {"kl": COLLAPSED, "variance": ACTIVE_VARIANCE},
        },
        images=packed(bytes_N.tobytes()),
    )
    return notation(page, all(run.config.conditional for run in runs))


def model_data(evaluated: EvaluatedModel, earlier: Sequence[EvaluatedModel], name: str, count: int) -> Any:
    """A model for the page: its layers, with weights and posteriors of this checkpoint and earlier ones."""
    run, likelihood = evaluated.run, evaluated.objective.likelihood
    layers = network(evaluated.model, run.config.loss.likelihood_name, Weights())
    of_plots_NL = evaluated.examples.means()  # the same directions as in the figures
    directions_LP = principal_directions(torch.from_numpy(of_plots_NL), min(DIRECTIONS, layers["latents"]))
    beta = 0.0 if run.config.kl_off else run.config.beta
    return {
        "name": name,
        "checkpoint": f"{run.checkpoint.parent.parent.name}: {run.moment}",
        "beta": beta,
        "objective": name_of(run.config.loss.objective),
        "loss": evaluated.objective.formula(f"{beta:g}"),
        "network": layers,
        "pixelSigma": likelihood.sigma().item() if isinstance(likelihood, GaussianPixels) else None,
        "directions": directions_LP.T.tolist(),
        "moments": [moment(each, count) for each in [*earlier, evaluated]],
    }


def earlier_epochs(run: Run, most: int) -> list[Run]:
    """The run at earlier epochs: at most `most` of those that `artifacts.checkpoint_every` has kept."""
    folder = RunFolder.around(run.checkpoint)
    kept = [] if folder is None else folder.numbered("checkpoints")
    return [load(path) for path in subsample([path for epoch, path in kept if epoch < run.epoch], most)]


def moment(evaluated: EvaluatedModel, count: int) -> dict[str, Any]:
    """Weights and posteriors of the images at an epoch."""
    weights = Weights()
    network(evaluated.model, evaluated.run.config.loss.likelihood_name, weights)
    posterior = evaluated.examples.posterior(evaluated.images[:count], evaluated.split.labels[:count])
    values_NL = torch.cat([posterior.mean, posterior.log_variance]).cpu().numpy()
    return {
        "epoch": evaluated.run.epoch,
        "weights": packed(weights.to_bytes()),
        "posterior": packed(values_NL.astype("<f4").tobytes()),
    }
