"""What each number means, in a sentence, for readers of a report."""

import math
import re
from collections.abc import Mapping
from typing import TypeVar

Row = TypeVar("Row")

MEANINGS = {
    "reconstruction": (
        "−log p(x|z), averaged over the posterior samples of z per image (one, except for iwae): what the "
        "decoder fails to explain."
    ),
    "kl": "KL(q(z|x) ‖ N(0, I)): how far an image's posterior is from the prior.",
    "neg_elbo": (
        "reconstruction + kl, unweighted: an upper bound on −log p(x), or on −log p(x|y) given the class."
    ),
    "neg_elbo - log p(y)": (
        "For a class-conditional model: an upper bound on −log p(x, y), and so on −log p(x)."
    ),
    "loss": "What is minimised: for train with the KL weight of each step, else with the epoch's last one.",
    "bits_per_dim": "The bound of the same table, neg_elbo or nll, in bits per pixel and channel.",
    "kl_weight": (
        "The KL weight at the end of that epoch; with loss=capacity, beta times C as a fraction of its final "
        "value."
    ),
    "kl_weight_mean": "The mean of the KL weight over the steps of that epoch.",
    "capacity": "C, the KL that is aimed at, in nats per image.",
    "mmd": "Squared maximum mean discrepancy of q(z) and p(z): 0 where they are equal, at most 2.",
    "multiplier": "λ, the weight of the reconstruction term: learned so that the tolerance is met.",
    "clipped_gradients": "Steps whose gradient was scaled down to optimizer.clip_norm.",
    "zeroed_gradients": "Steps whose gradient was not finite and was set to 0.",
    "active_units": "Latent dimensions whose posterior mean varies over the images (variance above 0.01).",
    "collapsed_dimensions": "Latent dimensions that are not active, with a KL below 0.01 nats.",
    "constant_dimensions": (
        "Latent dimensions that are not active, with posteriors away from the prior but nearly the same "
        "for all images."
    ),
    "images_per_second": "Training images per second, without the time for figures.",
    "seconds": "Training time of the epoch, without the time for figures.",
    "nll": (
        "A tighter upper bound on −log p(x), or on −log p(x|y) given the class, from K importance samples."
    ),
    "nll - log p(y)": "For a class-conditional model: an upper bound on −log p(x, y), and so on −log p(x).",
    "nll_8bit": "nll with the probability of the 8-bit grey values instead of a density.",
    "bits_per_dim_8bit": "nll_8bit in bits per pixel and channel.",
    "effective_samples": "Effective sample size (Σw)² / Σw²: below 10, nll is only a loose upper bound.",
    "effective_samples_5_percent": "Effective sample size that 5 % of the images fall below.",
    "neg_elbo - nll": (
        "What importance sampling gains: on average at most the KL between approximate and true posterior."
    ),
    "mutual_information": "I(x; z): information that the latents carry about the image.",
    "marginal_kl": "KL(q(z) ‖ p(z)): how far the aggregate posterior is from the prior.",
    "total_correlation": "KL(q(z) ‖ Π q(z_j)): how dependent the latent dimensions are on each other.",
    "dimension_wise_kl": "Σ KL(q(z_j) ‖ p(z_j)): how far the individual dimensions are from the prior.",
    "prior_not_covered": "Share of prior draws outside the 95 % region of every training image's posterior.",
    "posterior_not_covered": "The same share of posterior samples: the reference for prior_not_covered.",
    "knn_accuracy": "Share of images whose class the 10 nearest training images predict correctly.",
    "linear_probe_accuracy": "Share of images that a logistic regression classifies correctly.",
    "silhouette": "How well the classes are separated, from −1 to 1.",
    "fid": "Fréchet distance between features of these and of real images (not Inception features).",
    "fid_untrained": "FID on the same network with random weights: it measures nothing.",
    "kid": "Kernel distance between the features that fid uses, unbiased also for few images.",
    "precision": "Share of these images on the manifold of real images (fidelity).",
    "recall": "Share of real images on the manifold of these images (diversity).",
    "density": "How densely real images surround these images, relative to real ones (fidelity).",
    "coverage": "Share of real images that have one of these images nearby (diversity).",
    "sharpness": (
        "How strongly neighbouring pixels differ: low for blurred images, but high for noise too, so read it "
        "beside fid."
    ),
    "sharpness_ratio": "Sharpness relative to real images.",
    "diversity": "Mean distance between two images: low for samples that look alike.",
    "diversity_ratio": "Diversity relative to real images.",
    "psnr": "Peak signal-to-noise ratio of the reconstructions.",
    "ssim": "Structural similarity of the reconstructions to the originals, 1 at most.",
    "auroc_nll": "Probability that an image of the other data set has the higher nll.",
    "auroc_neg_elbo": "The same for neg_elbo.",
    "auroc_reconstruction": "The same for reconstruction.",
}

ARROWS = {
    "↓": (
        "reconstruction", "neg_elbo", "loss", "bits_per_dim", "nll", "nll_8bit", "bits_per_dim_8bit",
        "fid", "kid", "neg_elbo - nll", "neg_elbo - log p(y)", "nll - log p(y)",
        "collapsed_dimensions", "constant_dimensions", "prior_not_covered",
    ),
    "↑": (
        "effective_samples", "effective_samples_5_percent", "knn_accuracy", "linear_probe_accuracy",
        "silhouette", "precision", "recall", "density", "coverage", "psnr", "ssim",
        "auroc_nll", "auroc_neg_elbo", "auroc_reconstruction", "images_per_second",
    ),
    "→": ("sharpness", "sharpness_ratio", "diversity", "diversity_ratio"),
}  # fmt: skip
ARROWS_MEAN = "↑ higher is better, ↓ lower is better, → closer to real images is better; no arrow: neither."


def bare(name: str) -> str:
    """A number's name without split or network: `kl` for `val/kl`, `fid` for `fid_mnist_cnn`."""
    return re.sub(r"_.+_cnn$", "", name.rpartition("/")[2])


def row_of(rows: Mapping[str, Row], name: str) -> Row | None:
    """The row of a number among those of a section: `fid` is that of any network. None if there is none."""
    return next((row for each, row in rows.items() if bare(each) == name), None)


def meaning(name: str) -> str:
    """The sentence for a number's name, or nothing."""
    return MEANINGS.get(bare(name), "")


def with_arrow(name: str) -> str:
    """A name with an arrow that says whether higher or lower is better: `fid_mnist_cnn ↓`."""
    return " ".join([name, *(arrow for arrow, names in ARROWS.items() if bare(name) in names)])


NEAR_CEILING = 1.5
"""A measured I(x; z) is unreliable within this many nats of ln N: at ln N − 1.2 it is 0.3 nats too low, and
the error grows rapidly towards ln N."""


def near_ceiling(information: float, images: int) -> bool:
    """Whether `images` are too few to measure an I(x; z) of `information` nats, and so KL(q(z) ‖ p(z))."""
    return information > math.log(images) - NEAR_CEILING
