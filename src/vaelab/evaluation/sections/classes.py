"""What a classifier of the posterior means gets right, beside classifiers of pixels."""

import numpy as np

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import CannotMeasure, Number, Section
from vaelab.evaluation.sections import sections
from vaelab.metrics import classes as probes
from vaelab.metrics.classes import NEIGHBOURS, Labelled


@sections.register("classes")
def classes(evaluated: EvaluatedModel, progress: Progress) -> Section:
    if evaluated.split.name == "train":
        raise CannotMeasure("the probes are fitted on the training images: type split=test or split=val")
    scored_labels = evaluated.split.labels[: len(evaluated.posterior.mean)].cpu().numpy()
    if len(np.unique(scored_labels)) < 2:
        raise CannotMeasure("requires images of at least two classes")
    train_labels = evaluated.data.train.labels.cpu().numpy()
    if len(train_labels) < NEIGHBOURS or len(np.unique(train_labels)) < 2:
        raise CannotMeasure(f"requires {NEIGHBOURS} training images, of at least two classes")
    latent = (
        Labelled(evaluated.train_posterior.mean.cpu().numpy(), train_labels),
        Labelled(evaluated.posterior.mean.float().cpu().numpy(), scored_labels),
    )
    images = (evaluated.train_images, evaluated.images[: len(scored_labels)])
    train_pixels, scored_pixels = (x.flatten(1).cpu().numpy() for x in images)
    pixels = Labelled(train_pixels, train_labels), Labelled(scored_pixels, scored_labels)
    dimensions = min(evaluated.model.latent_dim, *train_pixels.shape)
    name_of_components = f"{dimensions} principal component{'s' if dimensions > 1 else ''}"

    def probed(train: Labelled, scored: Labelled) -> dict[str, float]:
        return {
            "knn_accuracy": probes.knn_accuracy(train, scored),
            "linear_probe_accuracy": probes.linear_accuracy(train, scored),
            "silhouette": probes.silhouette(scored),
        }

    def components() -> list[Labelled]:
        return probes.principal_components(*pixels, dimensions, evaluated.numpy_seed)

    basis = evaluated.basis(len(scored_labels))
    units = {"silhouette": "−1 to 1"}
    columns = {}
    for of, probe in {
        "posterior means": lambda: probed(*latent),
        name_of_components: lambda: evaluated.once(name_of_components, lambda: probed(*components())),
        "raw pixels": lambda: evaluated.once("raw pixels", lambda: probed(*pixels)),
    }.items():
        progress(of)
        columns[of] = {
            name: Number(value, units.get(name, "share of images"), basis) for name, value in probe().items()
        }
    remark = (
        f"{NEIGHBOURS} nearest neighbours, and a logistic regression on standardised features, both fitted "
        f"to {len(train_labels):,} training images (scikit-learn); the silhouette needs no fit."
    )
    return Section.of_columns("Class information in the latent space", columns, remark)
