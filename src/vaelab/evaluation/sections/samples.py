"""Distances between features of generated and of real images."""

from dataclasses import replace

from torch import Tensor

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import CannotMeasure, Number, Section, percent
from vaelab.evaluation.sections import sections
from vaelab.metrics import generation
from vaelab.metrics.generation import Manifold

FLOOR = "real images (floor)"

WORTH_A_MIXTURE = 0.8
"""Part of the prior's FID below which a mixture's FID says that the prior is the wrong place to draw from."""


@sections.register("samples")
def samples(evaluated: EvaluatedModel, progress: Progress) -> Section:
    network = evaluated.feature_network
    features = network.network.FEATURES
    if evaluated.count <= features:
        raise CannotMeasure(
            f"{evaluated.count} images are too few for the covariance of {features} features: it takes more "
            "of both training and scored images"
        )

    def described(images: Tensor) -> tuple[Tensor, Manifold]:
        found = network(images)
        return found, Manifold.around(found)

    real, real_manifold = evaluated.once(
        "features of real images", compute=lambda: described(evaluated.real_images)
    )
    other_split = evaluated.other_split
    basis = evaluated.basis(evaluated.count)
    of_floor = replace(basis, split=f"{other_split.name} against {evaluated.split.name}")
    subsets = f"subsets of {min(evaluated.count, generation.KID_SUBSET_SIZE):,} images per set"
    rows: dict[str, dict[str, Number]] = {}
    for of, features_of in {
        "prior samples": lambda: described(evaluated.prior_samples),
        "mixture samples": lambda: described(evaluated.mixture_samples),
        "reconstructions": lambda: described(evaluated.reconstructions),
        FLOOR: lambda: evaluated.once(
            "features of the floor", compute=lambda: described(evaluated.real(other_split))
        ),
    }.items():
        progress(of)
        other, other_manifold = features_of()
        on = of_floor if of == FLOOR else basis
        in_subsets = replace(on, draws=generation.KID_SUBSETS, kind_of_draws=subsets)
        kid = generation.kid(real, other, evaluated.numpy_seed)
        precision, recall = generation.precision_recall(real_manifold, other_manifold)
        for name, number in {
            "fid": Number(generation.fid(real, other), "squared Fréchet distance", on),
            "kid": Number(kid, "squared kernel distance", in_subsets),
            "precision": Number(precision, "share of that set", on),
            "recall": Number(recall, "share of real images", on),
        }.items():
            rows.setdefault(f"{name}_{network.name}", {})[of] = number
    remark = (
        f"Against real {evaluated.split.name} images, on {features} features of vaelab's {network.name} "
        f"(test accuracy {percent(network.test_accuracy, 2)}, SHA-256 {network.sha256[:12]}…), not of an "
        f"Inception network: compare only with scores on {network.name} of as many images. Mixture: 10 "
        f"Gaussians fitted to posterior samples of {evaluated.mixture_images:,} training images. Floor: "
        f"{other_split.name} images. Manifolds of precision and recall extend to the "
        f"{generation.NEIGHBOURS} nearest neighbours."
    )
    scores = {of: number.value for of, number in rows[f"fid_{network.name}"].items()}
    verdict = sampling_verdict(scores["prior samples"], scores["mixture samples"])
    return Section("Sample quality", rows, remark, [verdict], details={"features": network.facts()})


def sampling_verdict(prior: float, mixture: float) -> str:
    """Whether the prior is a good distribution to sample from, by the FIDs of both ways of sampling."""
    compared = f"FID {mixture:.4g} from a mixture fitted to posterior samples, {prior:.4g} from the prior"
    if mixture < WORTH_A_MIXTURE * prior:
        return f"{compared}: the aggregate posterior is far from the prior."
    return f"{compared}: sampling from the prior is about as good."
