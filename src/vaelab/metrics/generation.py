"""The quality of generated images: distances between the features of real images and of others.

Shapes: N real and M other images, D features of each, R bootstrap replicates, B rows at a time, L latent
dimensions.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from vaelab.metrics.resampling import Score, bootstrap_counts, share_score

NEIGHBOURS = 3
"""k of precision and recall, as in Kynkäänniemi et al. (2019)."""

NEIGHBOURS_OF_DENSITY = 5
"""k of density and coverage, as in Naeem et al. (2020)."""

ROWS = 250
"""Rows of a pairwise matrix that are in memory at a time."""

COLUMNS = 2000
"""Columns of such a matrix, where it is computed in blocks."""

COMPONENTS = 10
FULL_COVARIANCE_UP_TO = 64
"""Latent dimensions up to which a mixture's components have full covariances; beyond, diagonal ones."""


# --- Fréchet distance -------------------------------------------------------------------------------------


Moments = tuple[Tensor, Tensor]
"""Means (1 + R, D) and covariances (1 + R, D, D), float64: of the features, then of R bootstrap samples."""


def fid(real: Moments, other: Moments) -> Score:
    """Squared Fréchet distance of Gaussians fitted to two sets of features (Heusel et al. 2017).

    Its unit is that of squared features; the standard error is the bootstrap's. It is biased upwards for
    small sets, so compare only scores of equally many images.

    >>> features_ND = torch.tensor([[0.0], [2.0]]).repeat(50, 1)
    >>> real, other = (replicated_moments(each, seed=0) for each in (features_ND, features_ND + 3))
    >>> round(fid(real, other).value, 6)
    9.0
    """
    distances = frechet_distance(*real, *other)
    return Score(distances[0].item(), distances[1:].std().item())


def replicated_moments(features_ND: Tensor, seed: int) -> Moments:
    """Mean and covariance of features (N, D), and of 200 bootstrap samples: an argument of `fid`.

    >>> means, covariances = replicated_moments(torch.eye(3), seed=0)
    >>> means.shape, covariances.shape
    (torch.Size([201, 3]), torch.Size([201, 3, 3]))
    """
    count = len(features_ND)
    centre_D = features_ND.mean(dim=0)
    centred_ND = (features_ND - centre_D).double()
    weight_RN = torch.cat([torch.ones(1, count), bootstrap_counts(count, seed)]).to(features_ND.device)
    mean_RD = weight_RN.double() @ centred_ND / count
    second_RDD = centred_ND.new_zeros(*mean_RD.shape, mean_RD.shape[1])
    single_ND = centred_ND.float()  # the samples are only for the standard error
    for x_BD, weight_RB in zip(single_ND.split(ROWS), weight_RN.split(ROWS, dim=1), strict=True):
        products_BDD = x_BD[:, :, None] * x_BD[:, None]
        second_RDD += (weight_RB @ products_BDD.flatten(1)).view_as(second_RDD)
    second_RDD[0] = centred_ND.T @ centred_ND
    second_RDD /= count
    covariance_RDD = (second_RDD - mean_RD[:, :, None] * mean_RD[:, None]) * count / (count - 1)
    return mean_RD + centre_D.double(), covariance_RDD


def frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> Tensor:
    """|μa − μb|² + tr(Σa + Σb − 2 (Σa Σb)^½) of Gaussians, shape (...).

    Means have the shape (..., D) and covariances (..., D, D). Dowson & Landau (1982).

    >>> mean_a, mean_b, covariance = torch.zeros(1), torch.full((1,), 3.0), torch.eye(1)
    >>> frechet_distance(mean_a, covariance, mean_b, 4 * covariance)  # 3² + 1 + 4 − 2 · 2
    tensor(10.)
    """
    # With S = Σa^½, Σa Σb and the symmetric S Σb S have the same eigenvalues; the trace sums their roots.
    values, vectors = torch.linalg.eigh(covariance_a)
    root = (vectors * values.clamp(min=0).sqrt().unsqueeze(-2)) @ vectors.mT
    overlap = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0).sqrt().sum(dim=-1)
    traces = sum(each.diagonal(dim1=-2, dim2=-1).sum(dim=-1) for each in (covariance_a, covariance_b))
    return ((mean_a - mean_b).square().sum(dim=-1) + traces - 2 * overlap).clamp(min=0)


# --- kernel distance --------------------------------------------------------------------------------------


def kid(real_ND: Tensor, other_ND: Tensor) -> Score:
    """Kernel distance of two equally large sets of features (N, D): unbiased MMD² (Bińkowski et al. 2018).

    The mean of h(i, j) = k(x_i, x_j) + k(y_i, y_j) − k(x_i, y_j) − k(y_i, x_j) over all pairs with i ≠ j,
    where k(a, b) = (a·b / D + 1)³. It can be negative. Its variance is that of a U-statistic (Hoeffding
    1948).

    >>> kid(torch.zeros(4, 1), torch.ones(4, 1)).value  # 1 + 8 − 1 − 1
    7.0
    """
    count = len(real_ND)
    x, y = real_ND.float(), other_ND.float()
    rows_N, squares, pairs = x.new_zeros(count, dtype=torch.float64), 0.0, count * (count - 1)
    for first in range(0, count, ROWS):  # each pair once, j > i, in blocks that fit a CPU's cache
        i = slice(first, first + ROWS)
        for second in range(first, count, COLUMNS):
            j = slice(second, second + COLUMNS)
            h_BN = kernel(x[i], x[j]).add_(kernel(y[i], y[j]))
            h_BN.sub_(kernel(x[i], y[j])).sub_(kernel(y[i], x[j]))
            if second == first:
                h_BN.triu_(diagonal=1)
            rows_N[i] += h_BN.sum(dim=1)
            rows_N[j] += h_BN.sum(dim=0)
            squares += 2 * h_BN.square_().sum().item()
    value = rows_N.sum().item() / pairs
    of_pairs = squares / pairs - value**2
    of_rows = max(0.0, (rows_N / (count - 1)).var().item() - of_pairs / (count - 1))
    return Score(value, sqrt((4 * (count - 2) * of_rows + 2 * of_pairs) / pairs))


def kernel(a_BD: Tensor, b_ND: Tensor) -> Tensor:
    """The polynomial kernel (a·b / D + 1)³ of all pairs, shape (B, N)."""
    base_BN = torch.addmm(a_BD.new_ones(()), a_BD, b_ND.T, alpha=1 / a_BD.shape[1])
    return base_BN.square().mul_(base_BN)


# --- manifolds --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Manifold:
    """A set of features with balls around each, which reach to its nearest neighbours in the set."""

    features: Tensor  # (N, D), float32
    radii: Tensor  # (N, 5): distances to the five nearest other features, ascending

    @classmethod
    def around(cls, features_ND: Tensor) -> "Manifold":
        """The manifold of features (N, D); with five or fewer, it has fewer radii."""
        features, radii = features_ND.float(), []
        for start in range(0, len(features), ROWS):
            distance_BN = torch.cdist(features[start : start + ROWS], features)
            distance_BN.diagonal(offset=start).fill_(torch.inf)
            nearest = min(NEIGHBOURS_OF_DENSITY, len(features) - 1)
            radii.append(distance_BN.topk(nearest, largest=False).values)
        return cls(features, torch.cat(radii))


def manifold_scores(real: Manifold, other: Manifold, seed: int) -> dict[str, Score]:
    """Precision, recall, density and coverage of the other images, by name.

    Precision is the share of other images within the ball of any real image, and recall the reverse, with
    balls that reach to the 3rd neighbour (Kynkäänniemi et al. 2019). Density is the mean number of balls of
    real images in which one of the other images lies, divided by 5, and coverage the share of real images
    with any of the other images in their ball, with balls that reach to the 5th neighbour (Naeem et al.
    2020). All but density are in [0, 1]. Standard errors are the bootstrap's, with both sets resampled and
    the radii fixed.

    >>> near, far = (Manifold.around(first + torch.arange(10.0)[:, None]) for first in (0, 100))
    >>> manifold_scores(near, near, seed=0)["precision"].value
    1.0
    >>> manifold_scores(near, far, seed=0)["coverage"].value
    0.0
    """
    count, others = len(real.features), len(other.features)
    in_real, in_wide_real, in_other = membership(real, other)  # (M, N), of other image m and real image n
    real_NR, other_MR = (
        np.vstack([np.ones(each.shape[1]), each]).T
        for each in (bootstrap_counts(count, seed).numpy(), bootstrap_counts(others, seed + 1).numpy())
    )
    of_others = {
        "precision": in_real @ real_NR > 0,
        "density": in_wide_real @ real_NR / NEIGHBOURS_OF_DENSITY,
    }
    of_real = {"recall": in_other.T @ other_MR > 0, "coverage": in_wide_real.T @ other_MR > 0}
    replicates = {name: (each * other_MR).sum(axis=0) / others for name, each in of_others.items()}
    replicates |= {name: (each * real_NR).sum(axis=0) / count for name, each in of_real.items()}
    scores = {name: Score(float(each[0]), float(each[1:].std(ddof=1))) for name, each in replicates.items()}
    images = {"precision": others, "recall": count, "coverage": count}
    for name, score in scores.items():
        if not score.standard_error and name in images:  # all alike, in each sample too
            alike = torch.full((images[name],), score.value > 0)
            scores[name] = Score(score.value, share_score(alike).standard_error)
    return scores


def membership(real: Manifold, other: Manifold) -> list[csr_array]:
    """For each (other, real) pair, whether it is within three kinds of ball, as sparse matrices (M, N).

    The balls reach to the 3rd and the 5th neighbour of the real image, and to the 3rd of the other image.
    """
    shape = (len(other.features), len(real.features))
    rows, columns, members = [], [], []
    for start in range(0, shape[0], ROWS):
        distance_BN = torch.cdist(other.features[start : start + ROWS], real.features)
        wide_N, radius_B = real.radii[:, -1], other.radii[start : start + ROWS, NEIGHBOURS - 1]
        row, column = (distance_BN <= torch.maximum(wide_N, radius_B[:, None])).nonzero(as_tuple=True)
        limits = torch.stack([real.radii[column, NEIGHBOURS - 1], wide_N[column], radius_B[row]])
        members.append(distance_BN[row, column] <= limits)
        rows.append(row + start)
        columns.append(column)
    place = (torch.cat(rows).cpu().numpy(), torch.cat(columns).cpu().numpy())
    return [
        csr_array((each.cpu().numpy().astype(np.float32), place), shape) for each in torch.cat(members, dim=1)
    ]


# --- latents to decode ------------------------------------------------------------------------------------


Mixture: TypeAlias = GaussianMixture
"""A mixture fitted to latents, from which samples are drawn as an alternative to the prior."""


def fitted_mixture(z_NL: NDArray[np.floating], seed: int) -> Mixture:
    """A mixture of 10 Gaussians fitted to latents (N, L) (Ghosh et al. 2020).

    Covariances are full up to 64 latent dimensions, and diagonal beyond.

    >>> fitted_mixture(np.eye(20), seed=0).means_.shape
    (10, 20)
    """
    covariance = "full" if z_NL.shape[1] <= FULL_COVARIANCE_UP_TO else "diag"
    mixture = GaussianMixture(min(COMPONENTS, len(z_NL)), covariance_type=covariance, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(z_NL)


def mixture_draws(mixture: Mixture, count: int, seed: int) -> NDArray[np.float32]:
    """Draws from a fitted mixture, shape (count, L), in random order.

    >>> mixture_draws(fitted_mixture(np.eye(20), seed=0), 5, seed=0).shape
    (5, 20)
    """
    draws, _ = mixture.sample(count)
    return np.random.default_rng(seed).permutation(draws).astype(np.float32)


def batches_of(mixture: Mixture, batch: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """An endless stream of draws, (batch, L) each, from one random stream.

    >>> next(batches_of(fitted_mixture(np.eye(20), seed=0), 5, seed=0)).shape
    (5, 20)
    """
    random = np.random.RandomState(seed % 2**32)  # the kind of generator that scikit-learn takes
    mixture.set_params(random_state=random)
    while True:
        draws, _ = mixture.sample(batch)
        yield random.permutation(draws).astype(np.float32)
