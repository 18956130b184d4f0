"""Distances between features of generated and of real images."""

import math
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from vaelab.evaluation.model import MOST_IMAGES, EvaluatedModel, Progress
from vaelab.evaluation.numbers import CannotMeasure, Number, Section, number_of, percent
from vaelab.evaluation.sections import sections
from vaelab.metrics import generation
from vaelab.metrics.features import feature_network
from vaelab.metrics.generation import Manifold

FLOOR = "real images (floor)"
UNITS = {
    "fid": "squared distance",
    "kid": "squared distance",
    "precision": "share of that set",
    "recall": "share of real images",
    "density": "relative to real",
    "coverage": "share of real images",
}


@sections.register("samples")
def samples(evaluated: EvaluatedModel, progress: Progress) -> Section:
    network = feature_network(evaluated.data.spec.name, evaluated.device)
    features = network.network.FEATURES
    if evaluated.count <= features:
        raise CannotMeasure(
            f"{evaluated.count} images are too few for the covariance of {features} features: more "
            "of both training and scored images are required"
        )

    def described(make: Callable[[], Tensor]) -> dict[str, Tensor]:
        features_ND = network(make())
        manifold = Manifold.around(features_ND)
        return {"features": features_ND.float(), "radii": manifold.radii}

    seed, count, other_split = evaluated.numpy_seed, evaluated.count, evaluated.other_split
    real = evaluated.once(f"features {network.sha256}", lambda: described(lambda: evaluated.real_images))
    real_moments = generation.replicated_moments(real["features"], seed)
    of_images = evaluated.basis(count)
    of_floor = replace(of_images, split=f"{other_split.name} against {evaluated.split.name}")
    columns: dict[str, dict[str, Number]] = {}
    for of, compute in {
        "prior samples": lambda: described(lambda: evaluated.prior_samples),
        "mixture samples": lambda: described(lambda: evaluated.mixture_samples),
        "reconstructions": lambda: described(lambda: evaluated.reconstructions),
        FLOOR: lambda: evaluated.once(
            f"features of the floor {network.sha256}", lambda: described(lambda: evaluated.real(other_split))
        ),
    }.items():
        progress(of)
        other, basis = compute(), of_floor if of == FLOOR else of_images
        scores = {
            "fid": generation.fid(real_moments, generation.replicated_moments(other["features"], seed + 1)),
            "kid": generation.kid(real["features"], other["features"]),
            **generation.manifold_scores(Manifold(**real), Manifold(**other), seed),
        }
        columns[of] = {
            f"{name}_{network.name}": number_of(score, UNITS[name], basis) for name, score in scores.items()
        }
    fitted = min(len(evaluated.data.train), MOST_IMAGES)
    remark = (
        f"Against real {evaluated.split.name} images, on {features} features of vaelab's {network.name} "
        f"(test accuracy {percent(network.test_accuracy, 2)}, SHA-256 {network.sha256[:12]}…), not of an "
        f"Inception network: compare only with scores on {network.name} of as many images. Mixture: 10 "
        f"Gaussians fitted to posterior samples of {fitted:,} training images. Floor: {other_split.name} "
        f"images. precision, recall: balls to the {generation.NEIGHBOURS}rd neighbour; density, coverage: "
        f"to the {generation.NEIGHBOURS_OF_DENSITY}th. ± is the standard error, of kid as a U-statistic, "
        "of the others by the bootstrap over both sets of images, the fitted mixture given."
    )
    if evaluated.split.name != "test":
        remark += (
            f" The network was trained on all training images, these {evaluated.split.name} images included."
        )
    prior, mixture = (columns[of][f"fid_{network.name}"] for of in ("prior samples", "mixture samples"))
    verdicts = [sampling_verdict(prior, mixture)]
    return Section.of_columns("Sample quality", columns, remark, verdicts, {"features": network.facts()})


def sampling_verdict(prior: Number, mixture: Number) -> str:
    """Whether the prior is a good distribution to sample from, by the FIDs of both ways of sampling."""
    compared = f"FID {mixture} from a mixture fitted to posterior samples, {prior} from the prior"
    error = math.hypot(prior.standard_error or 0.0, mixture.standard_error or 0.0)
    if abs(prior.value - mixture.value) < 2 * error:
        return f"{compared}: no clear difference."
    if mixture.value > prior.value:
        return f"{compared}: the mixture is the worse distribution to sample from."
    share = percent(1 - mixture.value / prior.value)
    return f"{compared}, {share} less: the aggregate posterior differs from the prior."
