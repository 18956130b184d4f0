"""Accuracy of classifiers on the posterior means, compared with classifiers on pixels."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import CannotMeasure, Number, Section
from vaelab.evaluation.sections import sections
from vaelab.metrics import classes as probes
from vaelab.metrics.classes import NEIGHBOURS, Labelled

UNITS = {
    "knn_accuracy": "share of images",
    "linear_probe_accuracy": "share of images",
    "silhouette": "−1 to 1",
}


@sections.register("classes")
def classes(evaluated: EvaluatedModel, progress: Progress) -> Section:
    if evaluated.split.name == "train":
        raise CannotMeasure("the probes are fitted on the training images: type split=test or split=val")
    if not evaluated.data.class_names:
        raise CannotMeasure("the images have no labels")
    scored_labels = evaluated.split.labels[: len(evaluated.posterior.mean)].long()
    if len(scored_labels.unique()) < 2:
        raise CannotMeasure("requires images of at least two classes")
    train_labels = evaluated.data.train.labels.long()
    if len(train_labels) < NEIGHBOURS or len(train_labels.unique()) < 2:
        raise CannotMeasure(f"requires {NEIGHBOURS} training images, of at least two classes")
    latent = (
        Labelled(evaluated.train_posterior.mean.float(), train_labels),
        Labelled(evaluated.posterior.mean.float(), scored_labels),
    )

    def pixels() -> tuple[Labelled, Labelled]:
        scored_images = evaluated.images[: len(scored_labels)]
        return (
            Labelled(evaluated.train_images().flatten(1), train_labels),
            Labelled(scored_images.flatten(1), scored_labels),
        )

    size = math.prod(evaluated.model.image_shape)
    dimensions = min(evaluated.model.latent_dim, len(train_labels), size)
    components = f"{dimensions} principal component{'s' if dimensions > 1 else ''}"
    basis = evaluated.basis(len(scored_labels))
    columns: dict[str, dict[str, Number]] = {}
    not_converged = []
    measured: dict[str, Callable[[], dict[str, Tensor]]] = {
        "posterior means": lambda: probed(*latent),
        components: lambda: evaluated.once(
            components, lambda: probed(*probes.principal_components(*pixels(), dimensions))
        ),
        f"{evaluated.pixels} pixels": lambda: evaluated.once("pixels", lambda: probed(*pixels())),
    }
    for of, measure in measured.items():
        progress(of)
        found = {name: tensor.tolist() for name, tensor in measure().items()}
        columns[of] = {
            name: Number(found[name][0], unit, basis, found[name][1]) for name, unit in UNITS.items()
        }
        not_converged += [] if found["converged"] else [of]
    remark = (
        f"{NEIGHBOURS} nearest neighbours, and a logistic regression on standardised features, both fitted "
        f"to {len(train_labels):,} training images (scikit-learn); the silhouette involves no fit."
    )
    verdicts = [
        f"The logistic regression on {of} did not converge in {probes.STEPS} steps." for of in not_converged
    ]
    if evaluated.model.classes:
        most = (scored_labels == scored_labels.mode().values).double().mean().item()
        verdicts.insert(0, what_is_left(columns["posterior means"]["knn_accuracy"], most))
    return Section.of_columns("Class information", columns, remark, verdicts)


def what_is_left(found: Number, most_frequent: float) -> str:
    """What a class-conditional model's latents say of the class that it is given."""
    return (
        "Encoder and decoder are given the class, so z need not contain it: the nearest neighbours of the "
        f"posterior means predict the class correctly for a share of {found} of the images; always "
        f"predicting the most frequent class would reach {most_frequent:.3f}."
    )


def probed(train: Labelled, scored: Labelled) -> dict[str, Tensor]:
    """Scores as (value, standard error), and whether the logistic regression converged."""
    linear, converged = probes.linear_accuracy(train, scored)
    scores = {
        "knn_accuracy": probes.knn_accuracy(train, scored),
        "linear_probe_accuracy": linear,
        "silhouette": probes.silhouette(scored),
    }
    plain = {name: torch.tensor(score, dtype=torch.float64) for name, score in scores.items()}
    return {**plain, "converged": torch.tensor(converged)}
