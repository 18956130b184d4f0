"""Distances between features of generated and of real images."""

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vaelab.config import counted
from vaelab.data.datasets import UnpublishedSpec
from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import CannotMeasure, Number, Section, number_of, percent
from vaelab.evaluation.sections import sections
from vaelab.metrics import generation
from vaelab.metrics.features import FeatureNetwork, beside, digest_of, feature_network, shipped
from vaelab.metrics.generation import Manifold
from vaelab.metrics.resampling import Score
from vaelab.runs.folder import SPLIT_NAMES, sha256_of

FLOOR = "real images (floor)"
UNITS = {
    "fid": "squared distance",
    "kid": "squared distance",
    "precision": "share of these images",
    "recall": "share of real images",
    "density": "relative to real",
    "coverage": "share of real images",
}


def network_of(evaluated: EvaluatedModel) -> FeatureNetwork:
    """The feature network that is set, or is next to the data, or ships. Raises VaelabError if none fits."""
    data, given = evaluated.data, evaluated.config.dataset.features
    near = beside(Path(data.origin.folder))
    path = Path(given) if given is not None else near if near.is_file() else shipped(data.spec.name)
    if not path.is_file():
        make = f"python scripts/make_classifiers.py dataset={data.spec.name} makes one"
        if not data.class_names:
            make = (
                "without labels, none can be trained on these images: dataset.features=FILE selects that of "
                "similar ones"
            )
        elif isinstance(data.spec, UnpublishedSpec):
            root = shlex.quote(data.origin.folder)
            make = f"python scripts/make_classifiers.py dataset=images dataset.root={root} makes one"
        raise CannotMeasure(f"there is no feature network for {data.spec.title}; {make}")
    network = feature_network(path, evaluated.device)
    if network.image_shape != data.spec.image_shape:
        shapes = f"{network.image_shape}, not {data.spec.image_shape}"
        raise CannotMeasure(f"{path} takes images of the shape (C, H, W) = {shapes}")
    if given is None and network.trained_on not in (None, digest_of(data.origin.sha256)):
        raise CannotMeasure(
            f"{path} was trained on other images, or with another split of test images: create it again with "
            "scripts/make_classifiers.py"
        )
    return network


@sections.register("samples")
def samples(evaluated: EvaluatedModel, progress: Progress) -> Section:
    network = network_of(evaluated)
    features = network.network.FEATURES
    if evaluated.count <= features:
        too_few = f"{counted(evaluated.count, 'image')} {'is' if evaluated.count == 1 else 'are'} too few"
        raise CannotMeasure(
            f"{too_few} for the covariance of {features} features: more training images and more scored "
            "images are required"
        )

    def described(x_N1HW: Tensor) -> dict[str, Tensor]:
        features_ND = network(x_N1HW).float()
        return {"features": features_ND, "radii": Manifold.around(features_ND).radii}

    seed, count, other_split = evaluated.numpy_seed, evaluated.count, evaluated.other_split
    real = evaluated.once(f"features {network.sha256}", lambda: described(evaluated.real_images))
    real_moments = generation.replicated_moments(real["features"], seed)

    def scores(x_N1HW: Tensor) -> dict[str, Tensor]:
        other = described(x_N1HW)
        moments = generation.replicated_moments(other["features"], seed + 1)
        found = {
            "fid": generation.fid(real_moments, moments),
            "kid": generation.kid(real["features"], other["features"]),
            **generation.manifold_scores(Manifold(**real), Manifold(**other), seed),
        }
        return {name: torch.tensor(score, dtype=torch.float64) for name, score in found.items()}

    of_images = evaluated.basis(count)
    of_floor = replace(of_images, split=f"{other_split.name} against {evaluated.split.name}")
    measured: dict[str, Callable[[], dict[str, Tensor]]] = {
        "prior samples": lambda: scores(evaluated.prior_samples),
        "mixture samples": lambda: scores(evaluated.mixture_samples),
        "reconstructions": lambda: scores(evaluated.reconstructions),
        FLOOR: lambda: evaluated.once(
            f"floor {network.sha256} {seed}", lambda: scores(evaluated.real(other_split))
        ),
    }
    columns: dict[str, dict[str, Number]] = {}
    for of, measure in measured.items():
        progress(of)
        basis = of_floor if of == FLOOR else of_images
        columns[of] = {
            f"{name}_{network.name}": number_of(Score(*score.tolist()), UNITS[name], basis)
            for name, score in measure().items()
        }
    split, other = SPLIT_NAMES[evaluated.split.name], SPLIT_NAMES[other_split.name]
    remark = (
        f"Compared with real {split} images, on {features} features of {network.name} "
        f"(test accuracy {percent(network.test_accuracy, 2)}, SHA-256 {network.sha256[:12]}…), not of an "
        f"Inception network: compare only with scores on {network.name} for as many images. Mixture: 10 "
        f"Gaussians fitted to posterior samples of {counted(evaluated.fitted, 'training image')}. Floor: "
        f"{other} images. precision, recall: balls up to the {generation.NEIGHBOURS}rd neighbour; "
        f"density, coverage: up to the {generation.NEIGHBOURS_OF_DENSITY}th. ± is the standard error: of kid "
        "as a U-statistic, of the others by the bootstrap over both sets of images, with the mixture fixed."
    )
    if evaluated.model.classes:
        remark += (
            " Samples are decoded given classes drawn from p(y), reconstructions given the image's own class."
        )
    remark += f" {trained_on(network, evaluated)}"
    prior, mixture = (columns[of][f"fid_{network.name}"] for of in ("prior samples", "mixture samples"))
    verdicts = [sampling_verdict(prior, mixture), *precision_verdicts(columns, network.name)]
    return Section.of_columns("Sample quality", columns, remark, verdicts, {"features": network.facts()})


def trained_on(network: FeatureNetwork, evaluated: EvaluatedModel) -> str:
    """Whether the feature network was trained on the images that samples are compared with."""
    data, split = evaluated.data, SPLIT_NAMES[evaluated.split.name]
    own = shipped(data.spec.name)
    is_own = own.is_file() and network.sha256 == sha256_of(own)
    if is_own or network.trained_on == digest_of(data.origin.sha256):
        included = "those of the floor" if split == "test" else f"these {split} images"
        return f"The network was trained on all training images, {included} included."
    if network.trained_on is None:
        return "The images that the network was trained on are not recorded."
    return "The network was trained on the images of other files."


def sampling_verdict(prior: Number, mixture: Number) -> str:
    """Whether the prior is a good distribution to sample from, by the FIDs of both ways of sampling."""
    compared = f"FID {mixture} from a mixture fitted to posterior samples, {prior} from the prior"
    error = math.hypot(prior.standard_error or 0.0, mixture.standard_error or 0.0)
    if abs(prior.value - mixture.value) < 2 * error:
        return f"{compared}: no clear difference."
    if mixture.value > prior.value:
        return f"{compared}: sampling from the mixture is worse."
    share = percent(1 - mixture.value / prior.value)
    return (
        f"{compared}: the FID from the mixture is {share} lower, so the aggregate posterior differs from the "
        "prior."
    )


def precision_verdicts(columns: Mapping[str, Mapping[str, Number]], network: str) -> list[str]:
    """Sentences on columns whose precision is not a sign of quality, because recall is near zero."""
    pairs = {of: (each[f"precision_{network}"], each[f"recall_{network}"]) for of, each in columns.items()}
    found = [
        f"{of}: {precision} beside a recall of {recall}"
        for of, (precision, recall) in pairs.items()
        if misleading(precision, recall, *pairs[FLOOR])
    ]
    return [
        f"A precision above the floor ({pairs[FLOOR][0]}) does not indicate quality where recall is near 0: "
        f"these images lie where real ones are densest and cover hardly any others ({'; '.join(found)})."
    ] * bool(found)


def misleading(precision: Number, recall: Number, real_precision: Number, real_recall: Number) -> bool:
    """Whether a precision is above that of real images, and recall below a tenth of theirs."""
    return precision.value > real_precision.value and recall.value < real_recall.value / 10
