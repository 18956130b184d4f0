"""Statistics of the latent space.

Shapes: N images, Z points of the latent space, B of them at a time, L latent dimensions.
"""

import math
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.metrics.resampling import Score, mean_score, standard_error
from vaelab.models import Gaussian

ACTIVE_VARIANCE = 0.01  # the threshold of Burda et al. (2016)
FACTORISED = 1000  # samples at which the product of the marginals of q(z) is evaluated
LOG_2PI = math.log(2 * math.pi)
AT_ONCE = 1_000_000  # entries of a (Z, N) matrix of points and images that are in memory at a time


def is_active(mean_NL: Tensor) -> Tensor:
    """Which latent dimensions are active, shape (L,), bool (Burda et al. 2016).

    A dimension is active if the variance of its posterior means over the images is above 0.01.

    >>> is_active(torch.tensor([[0.0, 0.0], [1.0, 0.1]]))  # variances 0.25 and 0.0025
    tensor([ True, False])
    """
    return mean_NL.var(dim=0, correction=0) > ACTIVE_VARIANCE


def active_units(mean_NL: Tensor) -> int:
    """The number of active latent dimensions of posterior means (N, L); see `is_active`.

    >>> active_units(torch.tensor([[0.0, 0.0], [1.0, 0.1]]))
    1
    """
    return int(is_active(mean_NL).sum())


def principal_directions(mean_NL: Tensor, count: int = 2) -> Tensor:
    """Orthonormal directions of largest variance, shape (L, count), float64, in order of decreasing variance.

    The largest entry of each direction is made positive, so that plots of similar data have the same
    orientation.

    >>> principal_directions(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), count=1).flatten()
    tensor([0.6000, 0.8000], dtype=torch.float64)
    """
    centred = mean_NL.double() - mean_NL.double().mean(dim=0)
    _, _, rows = torch.linalg.svd(centred, full_matrices=False)
    directions = rows[:count].T
    signs = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
    return directions * signs


def embedding(mean_NL: Tensor, method: str, seed: int) -> tuple[NDArray[np.float64], str]:
    """An embedding of posterior means (N, L) in two dimensions, shape (N, 2), and the method in words.

    `tsne` (van der Maaten & Hinton 2008) is computed by openTSNE if that is installed, else by scikit-learn;
    `umap` (McInnes et al. 2018) by umap-learn, which must be installed. The same points and seed give the
    same embedding.

    >>> points_N2, method = embedding(torch.eye(20), "tsne", seed=0)
    >>> points_N2.shape
    (20, 2)
    """
    points_NL, seed = mean_NL.double().cpu().numpy(), seed % 2**32
    if method == "umap":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # for TensorFlow, which only a part of it needs
            from umap import UMAP
        neighbours = min(15, len(points_NL) - 1)
        embedded = UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(points_NL)
        return embedded.astype(np.float64), f"UMAP ({neighbours} neighbours)"
    perplexity = min(30, (len(points_NL) - 1) // 3)
    shared: dict[str, Any] = {"perplexity": perplexity, "n_jobs": 1, "random_state": seed}
    if find_spec("openTSNE") is not None:
        import openTSNE

        embedded = np.array(openTSNE.TSNE(**shared, initialization="pca", neighbors="exact").fit(points_NL))
        return embedded, f"t-SNE (openTSNE, perplexity {perplexity})"
    from sklearn.manifold import TSNE

    embedded = TSNE(**shared, init="pca").fit_transform(points_NL)
    return embedded.astype(np.float64), f"t-SNE (scikit-learn, perplexity {perplexity})"


class KLParts(NamedTuple):
    """The parts of the average KL, in nats: it is `mutual_information + marginal_kl`.

    Hoffman & Johnson (2016), with the aggregate posterior q(z) = 1/N Σ q(z|x_n). The marginal KL in turn is
    `total_correlation + dimension_wise_kl` (Chen et al. 2018).
    """

    mutual_information: Score  # I(x; z) under q: how much a latent says about its image, at most ln N
    marginal_kl: Score  # KL(q(z) ‖ p(z)): how far the aggregate posterior is from the prior
    total_correlation: Score  # KL(q(z) ‖ Π q(z_j)): how dependent the latent dimensions are
    dimension_wise_kl: Score  # Σ KL(q(z_j) ‖ p(z_j)): how far each dimension is from the prior


def kl_parts(posterior: Gaussian, z_NL: Tensor) -> KLParts:
    """Estimate the parts of the average KL of N posteriors, from one sample `z_NL` of each, shape (N, L).

    I(x; z) is the mean of log q(z|x) − log q(z) over the samples. The estimate can't exceed ln N: close to
    that bound it is too low, and the marginal KL too high. The last two parts are means over the first 1,000
    samples. Standard errors are over images; those of the first two parts are the infinitesimal jackknife's
    (Efron 1982), because every image also contributes to q(z).

    >>> prior = Gaussian(torch.zeros(50, 2), torch.zeros(50, 2))  # each posterior is the prior
    >>> parts = kl_parts(prior, torch.randn(50, 2, generator=torch.Generator()))
    >>> abs(parts.mutual_information.value) < 1e-6
    True
    """
    images, latents = z_NL.shape
    log_variance_NL = posterior.log_variance.double()
    normaliser_N = log_variance_NL.sum(dim=1) + latents * LOG_2PI
    own_N, log_q_N, weight_N = normaliser_N.new_zeros(3, images)
    for first, square_ZN in squared_distances(posterior, z_NL):
        density_ZN = -0.5 * (square_ZN + normaliser_N)  # log q(z|x)
        rows = slice(first, first + len(density_ZN))
        own_N[rows], highest_Z = density_ZN.diagonal(offset=first), density_ZN.amax(dim=1)
        relative_ZN = density_ZN.sub_(highest_Z[:, None]).float().exp_()  # single: none is above 1
        total_Z = relative_ZN.sum(dim=1)
        log_q_N[rows] = highest_Z + total_Z.double().log() - math.log(images)
        weight_N += total_Z.reciprocal() @ relative_ZN
    information_N = own_N - log_q_N
    influence_N = information_N + 1 - weight_N  # of each image, as sample and as part of q(z)
    kl_N = posterior.kl().double()
    z_ZL = z_NL[:FACTORISED].double()
    log_q_ZL = log_marginals(posterior, z_ZL)
    log_p_Z = -0.5 * (z_ZL.square() + LOG_2PI).sum(dim=1)
    return KLParts(
        Score(information_N.mean().item(), standard_error(influence_N)),
        Score((kl_N - information_N).mean().item(), standard_error(kl_N - influence_N)),
        mean_score(log_q_N[:FACTORISED] - log_q_ZL.sum(dim=1)),
        mean_score(log_q_ZL.sum(dim=1) - log_p_Z),
    )


def log_marginals(posterior: Gaussian, z_ZL: Tensor) -> Tensor:
    """log q(z_j) of each dimension of points (Z, L): shape (Z, L), in nats, float64."""
    mean_LN, log_variance_LN = posterior.mean.double().T, posterior.log_variance.double().T
    rows = []
    for z_BL in z_ZL.split(max(1, AT_ONCE // len(posterior.mean))):
        columns = []
        for z_B, mean_N, log_variance_N in zip(z_BL.T, mean_LN, log_variance_LN, strict=True):
            square_BN = (z_B[:, None] - mean_N).square() / log_variance_N.exp()
            columns.append((-0.5 * (square_BN + log_variance_N)).logsumexp(dim=1))
        rows.append(torch.stack(columns, dim=1))
    return torch.cat(rows) - 0.5 * LOG_2PI - math.log(len(posterior.mean))


def chi_square(share: float, dimensions: int) -> float:
    """The quantile of the χ² distribution: `share` of N(0, I) lies within its square root of the mean.

    >>> round(chi_square(0.95, 2) ** 0.5, 2)
    2.45
    """
    from scipy.special import gammaincinv  # its import takes half a second

    return 2 * float(gammaincinv(dimensions / 2, share))


def uncovered(posterior: Gaussian, z_ZL: Tensor, share: float = 0.95, *, own: bool = True) -> Tensor:
    """Which points (Z, L) are outside the central region of every image's posterior, shape (Z,), bool.

    The central region of a Gaussian is the ellipsoid around its mean that contains `share` of its
    probability. With `own=False`, point n must be a sample of posterior n, which is then left out: the result
    measures how well the images cover the posteriors of other images.

    >>> posterior = Gaussian(torch.zeros(1, 2), torch.zeros(1, 2))
    >>> uncovered(posterior, torch.tensor([[0.0, 2.0], [0.0, 3.0]]))  # the region's radius is 2.45
    tensor([False,  True])
    """
    reach, rows = chi_square(share, posterior.mean.shape[1]), []
    for first, square_ZN in squared_distances(posterior, z_ZL):
        if not own:
            square_ZN.diagonal(offset=first).fill_(math.inf)
        rows.append((square_ZN > reach).all(dim=1))
    return torch.cat(rows)


def uncovered_grid(posterior: Gaussian, reach: float, points: int, share: float = 0.95) -> Tensor:
    """`uncovered` on a square grid from −reach to reach in two latent dimensions, shape (Y, X), bool.

    `points` is the number per side; rows are in the order of increasing z₂.

    >>> uncovered_grid(Gaussian(torch.zeros(1, 2), torch.zeros(1, 2)), reach=3, points=3).sum()
    tensor(8)
    """
    axis = torch.linspace(-reach, reach, points, dtype=torch.float64, device=posterior.mean.device)
    sigma_N, rows = posterior.sigma[:, 1], []
    most_N = 1.1 * chi_square(share, 2) ** 0.5 * sigma_N  # more than enough, however numbers are rounded
    for z in axis:  # a point is only covered by a posterior that reaches its row
        near = (posterior.mean[:, 1] - z).abs() < most_N
        reaching = Gaussian(posterior.mean[near], posterior.log_variance[near])
        rows.append(uncovered(reaching, torch.stack([axis, z.expand(points)], dim=1), share))
    return torch.stack(rows)


def squared_distances(posterior: Gaussian, z_ZL: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Squared distances of points to posterior means in units of the posterior's σ, float64, in blocks.

    Yields the number of a block's first row and the block, (rows, N). Computed as one matrix product, whose
    terms are centred first because they cancel where σ is small.
    """
    centre_L = posterior.mean.double().mean(dim=0)
    mean_NL = posterior.mean.double() - centre_L
    precision_NL = (-posterior.log_variance.double()).exp()
    constant_N = (mean_NL.square() * precision_NL).sum(dim=1)
    factors_NL = torch.hstack([precision_NL, -2 * mean_NL * precision_NL])  # of z² and of z
    rows = max(1, AT_ONCE // max(1, len(mean_NL)))
    for chunk, z in enumerate((z_ZL.double() - centre_L).split(rows)):
        yield chunk * rows, torch.addmm(constant_N, torch.hstack([z.square(), z]), factors_NL.T).clamp_(min=0)
