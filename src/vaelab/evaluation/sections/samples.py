"""Distances between features of generated and of real images."""

from dataclasses import replace

from torch import Tensor

from vaelab.evaluation.model import MOST_IMAGES, EvaluatedModel, Progress
from vaelab.evaluation.numbers import CannotMeasure, Number, Section, percent
from vaelab.evaluation.sections import sections
from vaelab.metrics import generation
from vaelab.metrics.generation import Manifold, feature_network

FLOOR = "real images (floor)"


@sections.register("samples")
def samples(evaluated: EvaluatedModel, progress: Progress) -> Section:
    network = feature_network(evaluated.data.spec.name, evaluated.device)
    features = network.network.FEATURES
    if evaluated.count <= features:
        raise CannotMeasure(
            f"{evaluated.count} images are too few for the covariance of {features} features: more "
            "of both training and scored images are required"
        )

    def described(images: Tensor) -> tuple[Tensor, Manifold]:
        found = network(images)
        return found, Manifold.around(found)

    real, real_manifold = evaluated.once("real images", lambda: described(evaluated.real_images))
    other_split = evaluated.other_split
    of_images = evaluated.basis(evaluated.count)
    of_floor = replace(of_images, split=f"{other_split.name} against {evaluated.split.name}")
    subsets = f"subsets of {min(evaluated.count, generation.KID_SUBSET_SIZE):,} images per set"
    columns: dict[str, dict[str, Number]] = {}
    for of, compute in {
        "prior samples": lambda: described(evaluated.prior_samples),
        "mixture samples": lambda: described(evaluated.mixture_samples),
        "reconstructions": lambda: described(evaluated.reconstructions),
        FLOOR: lambda: evaluated.once(FLOOR, lambda: described(evaluated.real(other_split))),
    }.items():
        progress(of)
        other, other_manifold = compute()
        basis = of_floor if of == FLOOR else of_images
        in_subsets = replace(basis, draws=generation.KID_SUBSETS, kind_of_draws=subsets)
        kid = generation.kid(real, other, evaluated.numpy_seed)
        precision, recall = generation.precision_recall(real_manifold, other_manifold)
        columns[of] = {
            f"fid_{network.name}": Number(generation.fid(real, other), "squared Fréchet distance", basis),
            f"kid_{network.name}": Number(kid, "squared kernel distance", in_subsets),
            f"precision_{network.name}": Number(precision, "share of that set", basis),
            f"recall_{network.name}": Number(recall, "share of real images", basis),
        }
    fitted = min(len(evaluated.data.train), MOST_IMAGES)
    remark = (
        f"Against real {evaluated.split.name} images, on {features} features of vaelab's {network.name} "
        f"(test accuracy {percent(network.test_accuracy, 2)}, SHA-256 {network.sha256[:12]}…), not of an "
        f"Inception network: compare only with scores on {network.name} of as many images. Mixture: 10 "
        f"Gaussians fitted to posterior samples of {fitted:,} training images. Floor: {other_split.name} "
        f"images. Manifolds of precision and recall extend to the {generation.NEIGHBOURS} nearest neighbours."
    )
    prior, mixture = (columns[of][f"fid_{network.name}"].value for of in ("prior samples", "mixture samples"))
    verdicts = [sampling_verdict(prior, mixture)]
    return Section.of_columns("Sample quality", columns, remark, verdicts, {"features": network.facts()})


def sampling_verdict(prior: float, mixture: float) -> str:
    """Whether the prior is a good distribution to sample from, by the FIDs of both ways of sampling."""
    compared = f"FID {mixture:.4g} from a mixture fitted to posterior samples, {prior:.4g} from the prior"
    if mixture < 0.8 * prior:
        return f"{compared}: the aggregate posterior is far from the prior."
    return f"{compared}: sampling from the prior is about as good."
