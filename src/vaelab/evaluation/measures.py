"""What an evaluation measures: one function a section of metrics.json. A new one is entered in MEASURES.

Each raises CannotMeasure with the reason where it makes no sense for a run; the other sections go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vaelab.evaluation.numbers import Basis, CannotMeasure, Number, Section, percent
from vaelab.evaluation.subject import Subject
from vaelab.metrics import classes, generation
from vaelab.metrics.classes import Labelled
from vaelab.metrics.generation import Manifold
from vaelab.metrics.latent import ACTIVE_VARIANCE, active_units, kl_parts, uncovered
from vaelab.objectives.scoring import importance_weighted_bound
from vaelab.runs.random_streams import stream
from vaelab.training.examples import as_arrays

Saying = Callable[[str], None]
"""Hears how far a measure has come."""

COLLAPSED = 0.01
"""Nats, averaged over images, below which a latent dimension carries nothing."""

NEAR_CEILING = 1.5
"""Nats below ln N from which a measured I(x; z) says little: at ln N − 1.2 it misses 0.3 nats, soon all."""

COVERED = 0.95
"""Share of q(z|x) inside the ellipsoid that an image covers."""

PRIOR_POINTS = 10_000

WORTH_A_MIXTURE = 0.8
"""Part of the prior's FID below which a mixture's FID says that the prior is the wrong place to draw from."""

FROZEN_SIGMAS = (0.1, 0.5, 1.0)

NATS = "nats per image"


def mean_of(values_N: Tensor, unit: str, basis: Basis) -> Number:
    """The average over images with its standard error."""
    error = values_N.std().item() / math.sqrt(len(values_N)) if len(values_N) > 1 else None
    return Number(values_N.mean().item(), unit, basis, error)


def measure_bound(subject: Subject, say: Saying) -> Section:
    terms = subject.bound.terms
    basis = subject.basis(len(subject.split), 1, "posterior sample an image")
    neg_elbo = mean_of(terms.neg_elbo, NATS, basis)
    # Added up from the averages as training does, so that both write the same digits.
    averages = subject.bound.averages()
    nats_per_bit = math.prod(subject.model.image_shape) * math.log(2)
    neg_elbo = Number(averages["neg_elbo"], NATS, basis, neg_elbo.standard_error)
    error = None if neg_elbo.standard_error is None else neg_elbo.standard_error / nats_per_bit
    rows = {
        "reconstruction": mean_of(terms.reconstruction, NATS, basis),
        "kl": mean_of(terms.kl, NATS, basis),
        "neg_elbo": neg_elbo,
        "bits_per_dim": Number(averages["neg_elbo"] / nats_per_bit, "bits per pixel", basis, error),
    }
    remark = "± is the standard error over images."
    if subject.run.config.loss.likelihood_name == "bernoulli" and subject.data.binarize == "none":
        remark += " A Bernoulli likelihood of grey pixels is no probability: compare within this family only."
    if subject.run.config.loss.likelihood_name != "bernoulli":
        remark += (
            " A density of grey values in [0, 1]: it can be negative, and is no bits/dim of 0 … 255 values."
        )
    return Section("Bound", {name: {"model": number} for name, number in rows.items()}, remark)


def measure_nll(subject: Subject, say: Saying) -> Section:
    samples, images = subject.asked.importance_samples, len(subject.split)
    if subject.asked.nll_images is not None:
        images = min(images, subject.asked.nll_images)
    finished = 0

    def done(count: int) -> None:
        nonlocal finished
        finished += count
        say(f"{finished:,} of {images:,} images")

    nll_N = importance_weighted_bound(
        subject.model, subject.objective, subject.images[:images], samples, subject.seed, done
    )
    neg_elbo_N = subject.bound.terms.neg_elbo[:images]
    basis = subject.basis(images, samples, "importance samples an image")
    once = subject.basis(images, 1, "posterior sample an image")
    rows = {
        "nll": mean_of(nll_N, NATS, basis),
        "neg_elbo": mean_of(neg_elbo_N, NATS, once),
        "neg_elbo - nll": mean_of(neg_elbo_N - nll_N, NATS, basis),
    }
    remark = (
        f"nll: importance-weighted bound on −log p(x) with K = {samples:,} (Burda et al. 2016), of the first "
        f"{images:,} images, with neg_elbo of the same ones. ± is the standard error over images."
    )
    return Section(
        f"Importance-weighted bound, K = {samples:,}",
        {name: {"model": n} for name, n in rows.items()},
        remark,
    )


def measure_latent(subject: Subject, say: Saying) -> Section:
    posterior = subject.posterior
    images, latents = posterior.mean.shape
    kl_L = subject.kl_of_dimensions
    parts = kl_parts(posterior, subject.posterior_samples)
    noise = stream(subject.seed, "prior draws for coverage", device=subject.device)
    z_ZL = torch.randn(PRIOR_POINTS, latents, generator=noise, device=subject.device, dtype=torch.float64)
    missed = uncovered(posterior, z_ZL, COVERED).double().mean().item()
    lonely = uncovered(posterior, subject.posterior_samples, COVERED, own=False).double().mean().item()
    collapsed = int((kl_L < COLLAPSED).sum())
    basis = subject.basis(images)
    sampled = subject.basis(images, 1, "posterior sample an image")
    of_prior = subject.basis(images, PRIOR_POINTS, "prior draws")
    rows = {
        "kl": Number(kl_L.sum().item(), NATS, basis),
        "mutual_information": Number(parts.mutual_information, f"{NATS}, at least", sampled),
        "marginal_kl": Number(parts.marginal_kl, f"{NATS}, at most", sampled),
        "active_units": Number(active_units(posterior.mean), f"of {latents} dimensions", basis),
        "collapsed_dimensions": Number(collapsed, f"of {latents} dimensions", basis),
        "prior_not_covered": Number(missed, "share of prior draws", of_prior),
        "codes_not_covered": Number(lonely, "share of codes", sampled),
    }
    ceiling = math.log(images)
    remark = (
        "kl = mutual_information I(x; z) + marginal_kl KL(q(z) ‖ p(z)) (Hoffman & Johnson 2016). With "
        f"{images:,} images I(x; z) can't be measured above ln {images:,} = {ceiling:.2f}. active_units: "
        f"variance of the posterior mean above {ACTIVE_VARIANCE}. prior_not_covered: prior draws outside the "
        f"{percent(COVERED)} ellipsoid of q(z|x) of every image; it rises with fewer images, smaller sigma, "
        "more dimensions, so beside it codes_not_covered: the same for codes, their own image left out."
    )
    verdicts = [collapse_verdict(collapsed, latents)]
    if parts.mutual_information > ceiling - NEAR_CEILING:
        verdicts.append(
            f"I(x; z) is within {NEAR_CEILING} nats of its ceiling: codes tell {images:,} images apart too "
            "well to measure it; the true value is higher, and marginal_kl lower."
        )
    details = {"kl_per_dimension": {"values": kl_L.tolist(), "unit": NATS, **basis.to_dict()}}
    return Section(
        "The latent space", {name: {"model": n} for name, n in rows.items()}, remark, verdicts, details
    )


def collapse_verdict(collapsed: int, latents: int) -> str:
    """`2 of 16 dimensions carry less than 0.01 nats: collapsed.`"""
    if not collapsed:
        which = "The dimension carries" if latents == 1 else f"All {latents} dimensions carry"
        return f"{which} at least {COLLAPSED} nats: none is collapsed."
    dimensions = f"dimension{'s' if latents > 1 else ''} {'carry' if collapsed > 1 else 'carries'}"
    return f"{collapsed} of {latents} {dimensions} less than {COLLAPSED} nats: collapsed."


def measure_classes(subject: Subject, say: Saying) -> Section:
    if subject.split.name == "train":
        raise CannotMeasure("the probes are fitted on the training images: type split=test or split=val")
    scored_labels = subject.split.labels[: len(subject.posterior.mean)].cpu().numpy()
    if len(np.unique(scored_labels)) < 2:
        raise CannotMeasure("it takes images of at least two classes")
    train_labels = subject.data.train.labels.cpu().numpy()
    if len(train_labels) < classes.NEIGHBOURS or len(np.unique(train_labels)) < 2:
        raise CannotMeasure(f"it takes {classes.NEIGHBOURS} training images, of at least two classes")
    latent = (
        Labelled(subject.train_posterior.mean.cpu().numpy(), train_labels),
        Labelled(subject.posterior.mean.float().cpu().numpy(), scored_labels),
    )
    images = (subject.train_images, subject.images[: len(scored_labels)])
    pixels = tuple(x.flatten(1).cpu().numpy() for x in images)
    raw = Labelled(pixels[0], train_labels), Labelled(pixels[1], scored_labels)
    dimensions = min(subject.model.latent_dim, *raw[0].features.shape)
    basis = subject.basis(len(scored_labels))
    rows: dict[str, dict[str, Number]] = {"knn_accuracy": {}, "linear_probe_accuracy": {}, "silhouette": {}}

    def probed(train: Labelled, scored: Labelled) -> tuple[float, float, float]:
        accuracies = classes.knn_accuracy(train, scored), classes.linear_accuracy(train, scored)
        return *accuracies, classes.silhouette(scored)

    def probed_components() -> tuple[float, float, float]:
        return probed(*classes.principal_components(*raw, dimensions, subject.numpy_seed))

    for of, probe in {
        "posterior means": lambda: probed(*latent),
        f"{dimensions} principal component{'s' if dimensions > 1 else ''}": lambda: subject.once(
            "probes of components", dimensions, compute=probed_components
        ),
        "raw pixels": lambda: subject.once("probes of pixels", compute=lambda: probed(*raw)),
    }.items():
        say(of)
        knn, linear, silhouette = probe()
        rows["knn_accuracy"][of] = Number(knn, "share of images", basis)
        rows["linear_probe_accuracy"][of] = Number(linear, "share of images", basis)
        rows["silhouette"][of] = Number(silhouette, "−1 to 1", basis)
    remark = (
        f"{classes.NEIGHBOURS} nearest neighbours, and a logistic regression on standardised features, both "
        f"fitted on {len(train_labels):,} training images; the silhouette needs no fit. Scikit-learn."
    )
    return Section("What the latent space knows of the classes", rows, remark)


FLOOR = "real images (floor)"


def measure_samples(subject: Subject, say: Saying) -> Section:
    network = subject.feature_network
    features = network.network.FEATURES
    if subject.count <= features:
        raise CannotMeasure(
            f"{subject.count} images are too few for the covariance of {features} features: it takes more "
            "of both training and scored images"
        )

    def described(images: Tensor) -> tuple[Tensor, Manifold]:
        found = network(images)
        return found, Manifold.around(found)

    real, real_manifold = subject.once(
        "features of real images", compute=lambda: described(subject.real_images)
    )
    basis = subject.basis(subject.count)
    floor = replace(basis, split=f"{subject.other_split.name} against {subject.split.name}")
    size = min(subject.count, generation.KID_SUBSET_SIZE)
    rows: dict[str, dict[str, Number]] = {}
    for of, images in (
        ("prior samples", lambda: subject.prior_samples),
        ("mixture samples", lambda: subject.mixture_samples),
        ("reconstructions", lambda: subject.reconstructions),
        (FLOOR, lambda: subject.real(subject.other_split)),
    ):
        say(of)
        other, other_manifold = (
            subject.once(
                "features of the floor", compute=lambda: described(subject.real(subject.other_split))
            )
            if of == FLOOR
            else described(images())
        )
        distance = generation.kid(real, other, subject.numpy_seed)
        on = floor if of == FLOOR else basis
        in_subsets = replace(on, draws=generation.KID_SUBSETS, kind_of_draws=f"subsets of {size:,} a set")
        precision, recall = generation.precision_recall(real_manifold, other_manifold)
        for name, number in {
            "fid": Number(generation.fid(real, other), "Fréchet distance, squared", on),
            "kid": Number(distance, "kernel distance, squared", in_subsets),
            "precision": Number(precision, "share of that set", on),
            "recall": Number(recall, "share of real images", on),
        }.items():
            rows.setdefault(f"{name}_{network.name}", {})[of] = number
    remark = (
        f"Against real {subject.split.name} images on {features} features of vaelab's {network.name} (test "
        f"accuracy {percent(network.test_accuracy, 2)}, SHA-256 {network.sha256[:12]}…), no Inception "
        f"network: compare with scores on {network.name} of equally many images only. mixture: 10 Gaussians "
        f"fitted to codes of {subject.mixture_images:,} training images. Floor: {subject.other_split.name} "
        f"images. Manifolds of precision and recall reach to the {generation.NEIGHBOURS} nearest neighbours."
    )
    scores = {of: number.value for of, number in rows[f"fid_{network.name}"].items()}
    verdict = sampling_verdict(scores["prior samples"], scores["mixture samples"])
    return Section("Samples", rows, remark, [verdict], details={"features": network.facts()})


def sampling_verdict(prior: float, mixture: float) -> str:
    """Whether the prior is a good place to draw from, by the FIDs of both ways of sampling."""
    change = f"FID {mixture:.4g} from a mixture fitted to the codes, {prior:.4g} from the prior"
    if mixture < WORTH_A_MIXTURE * prior:
        return f"{change}: the codes are not where the prior draws."
    return f"{change}: the prior is about as good a place to draw from."


def measure_images(subject: Subject, say: Saying) -> Section:
    count = subject.count
    if count < 2:
        raise CannotMeasure("it takes at least two images")
    basis = subject.basis(count)
    pairs = subject.basis(min(count, generation.PAIRED), None)
    real = as_arrays(subject.real_images)
    sharp, diverse = generation.sharpness(real), generation.diversity(real)
    rows: dict[str, dict[str, Number]] = {
        "sharpness": {},
        "sharpness_ratio": {},
        "diversity": {},
        "diversity_ratio": {},
    }
    for of, images in (
        ("real images", lambda: subject.real_images),
        ("reconstructions", lambda: subject.reconstructions),
        ("prior samples", lambda: subject.prior_samples),
        ("mixture samples", lambda: subject.mixture_samples),
    ):
        say(of)
        grey = as_arrays(images())
        sharpness, diversity = generation.sharpness(grey), generation.diversity(grey)
        rows["sharpness"][of] = Number(sharpness, "variance of the Laplacian", basis)
        rows["sharpness_ratio"][of] = Number(sharpness / sharp, "of real images'", basis)
        rows["diversity"][of] = Number(diversity, "mean L2 distance of a pair", pairs)
        rows["diversity_ratio"][of] = Number(diversity / diverse, "of real images'", pairs)
    psnr, ssim = generation.psnr_ssim(subject.real_images, subject.reconstructions)
    rows["psnr"] = {"reconstructions": mean_of(psnr, "dB", basis)}
    rows["ssim"] = {"reconstructions": mean_of(ssim, "−1 to 1", basis)}
    remark = (
        "Grey values from 0 to 1. psnr, ssim: each image against its reconstruction from the posterior mean."
    )
    return Section("Statistics of the images", rows, remark)


def measure_frozen_latent(subject: Subject, say: Saying) -> Section:
    count = min(subject.count, generation.PAIRED)
    if count < 2:
        raise CannotMeasure("it takes at least two images")
    noise = stream(subject.seed, "frozen latents", device=subject.device)
    draws = torch.randn(count, subject.model.latent_dim, generator=noise, device=subject.device)
    basis = subject.basis(count, count, "latents")
    sets = {f"σ = {sigma:g}": subject.decoded(sigma * draws) for sigma in FROZEN_SIGMAS}
    sets |= {"prior samples": subject.prior_samples, "real images": subject.real_images}
    real = subject.basis(count)
    numbers = {
        of: Number(
            generation.diversity(as_arrays(images)),
            "mean L2 distance of a pair",
            real if of == "real images" else basis,
        )
        for of, images in sets.items()
    }
    remark = "z = σ · ε with ε from N(0, I): decoded ever nearer to the prior's mean; σ = 1 is the prior."
    return Section("Frozen latent", {"diversity": numbers}, remark)


MEASURES: dict[str, Callable[[Subject, Saying], Section]] = {
    "bound": measure_bound,
    "nll": measure_nll,
    "latent": measure_latent,
    "classes": measure_classes,
    "samples": measure_samples,
    "images": measure_images,
    "frozen_latent": measure_frozen_latent,
}
"""By the name of the setting that switches it off, `metrics.<name>=false`."""
