"""What each number means, in a sentence: for those who open a report and not the README."""

from __future__ import annotations

import re

MEANINGS = {
    "reconstruction": "−log p(x|z) of the image from one posterior sample: how much the decoder misses.",
    "kl": "KL(q(z|x) ‖ N(0, I)): what the latents say about the image beyond the prior.",
    "neg_elbo": "reconstruction + kl, never weighted: the bound on −log p(x). Lower is better.",
    "loss": "What is minimised: reconstruction + weight · kl.",
    "bits_per_dim": "neg_elbo in bits, per pixel.",
    "kl_weight": "The weight of the KL term in the loss of that epoch.",
    "active_units": "Latent dimensions whose posterior mean varies over the images (variance above 0.01).",
    "collapsed_dimensions": "Latent dimensions that carry less than 0.01 nats: the decoder ignores them.",
    "images_per_second": "Training images a second, pictures not counted.",
    "seconds": "Training time of the epoch, pictures not counted.",
    "nll": "A tighter bound on −log p(x), from K importance samples. Lower is better.",
    "neg_elbo - nll": "What the importance samples gain: how far the posteriors are from the true ones.",
    "mutual_information": "I(x; z): how many nats the latents know of which image it was.",
    "marginal_kl": "KL(q(z) ‖ p(z)): how far the codes of all images together are from the prior.",
    "prior_not_covered": "Prior draws where no image's posterior lies: the decoder never learned them.",
    "codes_not_covered": "The same for codes of images: how empty the space is around them.",
    "knn_accuracy": "Test images whose 10 nearest training images agree on their class.",
    "linear_probe_accuracy": "Test images that a logistic regression on the latents classifies rightly.",
    "silhouette": "How well the classes are separated, from −1 to 1.",
    "fid": "Distance between features of these images and of real ones, not Inception's. Lower is better.",
    "kid": "Another such distance, without FID's bias at few images. Lower is better.",
    "precision": "How many of these images lie among real ones: are they plausible?",
    "recall": "How many real images lie among these: is everything there?",
    "sharpness": "Variance of the Laplacian: blurred images have little.",
    "sharpness_ratio": "The same as a share of real images'.",
    "diversity": "Mean distance between two images: samples that all look alike have little.",
    "diversity_ratio": "The same as a share of real images'.",
    "psnr": "Peak signal-to-noise ratio of the reconstructions. Higher is better.",
    "ssim": "Structural similarity of the reconstructions to the originals, 1 at most.",
}


def meaning(name: str) -> str:
    """The sentence for a number's name: of `val/kl` that of `kl`, of `fid_mnist_cnn` that of `fid`."""
    bare = name.rpartition("/")[2]
    return MEANINGS.get(bare) or MEANINGS.get(re.sub(r"_\w+_cnn$", "", bare), "")
