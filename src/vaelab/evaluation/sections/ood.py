"""Out-of-distribution detection: AUROC between the split and images of another data set."""

from dataclasses import replace

from torch import Tensor

from vaelab.config import DatasetConfig, counted
from vaelab.data import splits
from vaelab.data.datasets import published
from vaelab.data.splits import Split
from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import CannotMeasure, Section, number_of
from vaelab.evaluation.sections import sections
from vaelab.evaluation.sections.bound import what_it_measures
from vaelab.metrics.resampling import auroc
from vaelab.objectives.importance import DEFENSIVE, importance_weighted_bound
from vaelab.objectives.scoring import bound, scored_images
from vaelab.runs.folder import SPLIT_NAMES

IMAGES, SAMPLES = 1000, 20  # of each data set, and importance samples of each image


@sections.register("ood")
def ood(evaluated: EvaluatedModel, progress: Progress) -> Section:
    own = evaluated.data.spec
    if evaluated.model.classes:
        raise CannotMeasure("the model needs a class, which images of another data set do not have")
    others = [
        spec
        for spec in published().values()
        if spec.name != own.name and spec.subset and spec.image_shape == own.image_shape
    ]
    if not others:
        shape = " x ".join(map(str, own.image_shape))
        raise CannotMeasure(f"no other data set with a shipped subset has images of the shape {shape}")
    name, title, binarize = others[0].name, others[0].title, evaluated.source.binarize
    if binarize == "larochelle":  # which nothing else has
        binarize = "static"
    source = DatasetConfig(name=name, source="embedded", val_size=0, binarize=binarize)
    outside = splits.load(source, evaluated.device).test
    images = min(IMAGES, len(evaluated.split), len(outside))
    inside_scores, outside_scores = (
        scores(evaluated, replace(split, images=split.images[:images], labels=split.labels[:images]))
        for split in (evaluated.split, outside)
    )
    basis = evaluated.basis(images)
    rows = {
        f"auroc_{name}": number_of(auroc(each, outside_scores[name]), "AUROC", basis)
        for name, each in inside_scores.items()
    }
    remark = (
        f"The probability that a test image of {title} (its embedded subset, {counted(images, 'image')}) has "
        f"a higher value than a {SPLIT_NAMES[evaluated.split.name]} image: 1 is perfect separation, 0.5 is "
        f"chance. nll with K = {SAMPLES}. Simpler images of another data set often have lower values than "
        "the model's own data; the AUROC is then below 0.5 (Nalisnick et al. 2019).\n"
        f"{what_it_measures(evaluated)}"
    )
    return Section.of_columns("Out-of-distribution detection", {title: rows}, remark)


def scores(evaluated: EvaluatedModel, split: Split) -> dict[str, Tensor]:
    """Numbers of each image, in nats, shape (N,): higher is less likely under the model."""
    model, objective, seed = evaluated.model, evaluated.objective, evaluated.seed
    x_NCHW = next(scored_images(split, seed))
    weighted = importance_weighted_bound(model, objective, x_NCHW, SAMPLES, seed, DEFENSIVE)
    terms = bound(model, objective, split, seed).terms
    return {"nll": weighted.nll, "neg_elbo": terms.neg_elbo, "reconstruction": terms.reconstruction}
