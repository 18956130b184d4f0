"""What each number means, in a sentence, for readers of a report."""

import re

MEANINGS = {
    "reconstruction": "−log p(x|z) of the image for one posterior sample: what the decoder fails to explain.",
    "kl": "KL(q(z|x) ‖ N(0, I)): how many nats the latents carry about the image.",
    "neg_elbo": "reconstruction + kl, never weighted: the bound on −log p(x). Lower is better.",
    "loss": "What is minimised, with the KL weight of that epoch.",
    "bits_per_dim": "neg_elbo in bits, per pixel.",
    "kl_weight": "The weight of the KL term in the loss of that epoch.",
    "active_units": "Latent dimensions whose posterior mean varies over the images (variance above 0.01).",
    "collapsed_dimensions": "Latent dimensions that are not active, with a KL below 0.01 nats.",
    "constant_dimensions": (
        "Latent dimensions that are not active, with posteriors away from the prior but nearly the same "
        "for all images."
    ),
    "images_per_second": "Training images per second, without the time for figures.",
    "seconds": "Training time of the epoch, without the time for figures.",
    "nll": "A tighter bound on −log p(x), from K importance samples. Lower is better.",
    "nll_8bit": "The same for the probability of the 8-bit grey values. Lower is better.",
    "bits_per_dim_8bit": "nll_8bit in bits, per pixel.",
    "effective_samples": "Importance samples that count, (Σw)² / Σw²: below 10, nll is only an upper bound.",
    "effective_samples_5_percent": "The same of the 5 % of images with the fewest.",
    "neg_elbo - nll": "What importance sampling gains: the gap between approximate and true posterior.",
    "mutual_information": "I(x; z): information in the latents about which image they came from.",
    "marginal_kl": "KL(q(z) ‖ p(z)): how far the aggregate posterior is from the prior.",
    "total_correlation": "KL(q(z) ‖ Π q(z_j)): how dependent the latent dimensions are on each other.",
    "dimension_wise_kl": "Σ KL(q(z_j) ‖ p(z_j)): how far the single dimensions are from the prior.",
    "prior_not_covered": "Prior draws that are outside every training image's posterior.",
    "posterior_not_covered": "Posterior samples that are outside every training image's posterior.",
    "knn_accuracy": "Test images whose class the 10 nearest training images predict.",
    "linear_probe_accuracy": "Test images that a logistic regression on the latents classifies correctly.",
    "silhouette": "How well the classes are separated, from −1 to 1.",
    "fid": "Fréchet distance of features from real images' (not Inception's). Lower is better.",
    "kid": "Kernel distance of those features, unbiased for few images. Lower is better.",
    "precision": "Share of these images on the manifold of real ones (fidelity).",
    "recall": "Share of real images on the manifold of these (diversity).",
    "density": "Balls of real images around each of these images, relative to real ones (fidelity).",
    "coverage": "Share of real images with one of these images near them (diversity).",
    "sharpness": "Variance of the Laplacian: low for blurred images.",
    "sharpness_ratio": "Sharpness relative to real images.",
    "diversity": "Mean distance between two images: low for samples that look alike.",
    "diversity_ratio": "Diversity relative to real images.",
    "psnr": "Peak signal-to-noise ratio of the reconstructions. Higher is better.",
    "ssim": "Structural similarity of the reconstructions to the originals, 1 at most.",
}


def meaning(name: str) -> str:
    """The sentence for a number's name: of `val/kl` that of `kl`, of `fid_mnist_cnn` that of `fid`."""
    bare = name.rpartition("/")[2]
    return MEANINGS.get(bare) or MEANINGS.get(re.sub(r"_\w+_cnn$", "", bare), "")
