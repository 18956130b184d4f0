"""Titles of figures, and what each of them shows in a number of its evaluation's metrics.json."""

from collections.abc import Callable, Mapping
from typing import Any

from vaelab.pages.glossary import near_ceiling, row_of
from vaelab.runs.folder import SPLIT_NAMES

SavedNumbers = Mapping[str, Any]  # metrics.json's, by section, name, and what was measured

LEAST_COVERED = 50.0
"""Smallest percentage of the test images' own posterior samples that must be covered for the share of holes
to be meaningful: below, posteriors are too narrow to cover the region where images are encoded."""

TITLES = {
    "category_variations": "Variations of each class",
    "curves": "Loss curves",
    "dataset_overview": "Training images",
    "frozen_latents": "Samples with reduced σ",
    "interpolations": "Interpolations between images",
    "kl_per_dimension": "KL of each latent dimension",
    "latent_density": "Aggregate posterior and prior",
    "latent_evolution": "The latent space during training",
    "latent_holes": "Prior holes",
    "latent_manifold": "Decoder manifold",
    "latent_space": "Latent space",
    "latent_space_plain": "Latent space without classes",
    "latent_spaces": "Latent spaces on the same axes",
    "rate_distortion": "Rate and distortion",
    "reconstructions": "Reconstructions",
    "reconstructions_ranked": "Best, median and worst reconstructions",
    "samples": "Samples from the prior",
    "samples_mixture": "Samples from a mixture fitted to posterior samples",
    "traversals": "Traversals of the latent space",
}


def title_of(stem: str) -> str:
    """A figure's title; of one that is not known here, its name in words."""
    return TITLES.get(stem, stem.replace("_", " ").capitalize())


def conclusion(stem: str, numbers: SavedNumbers) -> str:
    """What the figure shows, in numbers; empty where they were not measured."""
    try:
        return CONCLUSIONS[stem](numbers) if stem in CONCLUSIONS else ""
    except LookupError:
        return ""


def entry(numbers: SavedNumbers, section: str, name: str, of: str = "model") -> Mapping[str, Any]:
    """A number with what it was measured on. Raises LookupError where it was not measured."""
    row = row_of(numbers[section], name)
    if row is None:
        raise LookupError(name)
    found: Mapping[str, Any] = row[of]
    return found


def value(numbers: SavedNumbers, section: str, name: str, of: str = "model") -> float:
    """Raises LookupError where it was not measured."""
    found: float = entry(numbers, section, name, of)["value"]
    return found


def images_of(found: Mapping[str, Any]) -> str:
    """`validation images`: what a number was measured on."""
    return f"{SPLIT_NAMES[found['split']]} images"


def holes(numbers: SavedNumbers) -> str:
    missed, own = (value(numbers, "latent", f"{of}_not_covered") for of in ("prior", "posterior"))
    if 100 * (1 - own) < LEAST_COVERED:
        return (
            "The posteriors are too narrow to identify holes: "
            f"{100 * own:.1f} % of posterior samples lie outside all of them."
        )
    return f"{100 * missed:.1f} % of prior draws fall where no training image was encoded."


def density(numbers: SavedNumbers) -> str:
    information = entry(numbers, "latent", "mutual_information")
    most = "at most " if near_ceiling(information["value"], information["images"]) else ""
    return f"KL(q(z) ‖ p(z)) is {most}{value(numbers, 'latent', 'marginal_kl'):.2f} nats."


def neighbours(numbers: SavedNumbers) -> str:
    found = entry(numbers, "classes", "knn_accuracy", "posterior means")
    share = f"{100 * found['value']:.1f} % of {images_of(found)}"
    return f"The 10 nearest neighbours predict the class of {share} correctly."


def fid_of(what: str) -> Callable[[SavedNumbers], str]:
    def said(numbers: SavedNumbers) -> str:
        found, floor = (value(numbers, "samples", "fid", of) for of in (what, "real images (floor)"))
        return f"FID {found:.1f}; for real images {floor:.1f}."

    return said


def ranked(numbers: SavedNumbers) -> str:
    mean = entry(numbers, "bound", "reconstruction")
    return f"The mean over all {images_of(mean)} is {mean['value']:.2f} nats."


def dimensions(numbers: SavedNumbers) -> str:
    active, total = value(numbers, "latent", "active_units"), value(numbers, "latent", "kl")
    return f"{active:.0f} active {'dimension' if active == 1 else 'dimensions'}, {total:.2f} nats in total."


CONCLUSIONS: dict[str, Callable[[SavedNumbers], str]] = {
    "frozen_latents": lambda numbers: (
        "At σ = 1, the prior, the mean distance between two samples is "
        f"{100 * value(numbers, 'images', 'diversity_ratio', 'prior samples'):.0f} % of that between "
        "two real images."
    ),
    "kl_per_dimension": dimensions,
    "latent_density": density,
    "latent_holes": holes,
    "latent_manifold": holes,
    "latent_space": neighbours,
    "reconstructions_ranked": ranked,
    "samples": fid_of("prior samples"),
    "samples_mixture": fid_of("mixture samples"),
}
