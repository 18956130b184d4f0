"""Numbers about the latent space.

Shapes: N images, Z points of the latent space, L latent dimensions.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vaelab.models import Gaussian

ACTIVE_VARIANCE = 0.01  # the threshold of Burda et al. (2016)
POINTS_AT_ONCE = 250  # rows of the (Z, N) table of distances that exist at one time


def active_units(mean_NL: Tensor) -> int:
    """How many latent dimensions have a posterior mean whose variance over the images exceeds 0.01."""
    return int((mean_NL.var(dim=0, correction=0) > ACTIVE_VARIANCE).sum())


def principal_directions(mean_NL: Tensor, count: int = 2) -> Tensor:
    """Orthonormal directions of most variance, shape (L, count), float64, largest first.

    Signs are fixed by making the largest entry of each direction positive, so that a plot doesn't flip.
    """
    centred = mean_NL.double() - mean_NL.double().mean(dim=0)
    _, _, rows = torch.linalg.svd(centred, full_matrices=False)
    directions = rows[:count].T
    signs = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
    return directions * signs


class KLParts(NamedTuple):
    """What the average KL is made of (Hoffman & Johnson 2016), in nats; the two add up to it.

    The aggregate posterior is q(z) = 1/N sum_n q(z|x_n).
    """

    mutual_information: float
    """I(x; z) under q: how much a latent tells about which image it came from, at most ln N."""
    marginal_kl: float
    """KL(q(z) || p(z)): how far the aggregate posterior is from the prior that samples are drawn from."""


def kl_parts(posterior: Gaussian, z_NL: Tensor) -> KLParts:
    """Split the average KL of N posteriors, from one sample `z_NL` of each, shape (N, L).

    I(x; z) is the mean of log q(z|x) - log q(z) at the samples. It can't come out above ln N: where it comes
    near that, it is a lower bound, and the marginal KL an upper one.
    """
    latents = posterior.mean.shape[1]
    normaliser_N = posterior.log_variance.double().sum(dim=1) + latents * math.log(2 * math.pi)
    parts = []
    for first, square_ZN in squared_distances(posterior, z_NL):
        density_ZN = -0.5 * (square_ZN + normaliser_N)  # log q(z|x)
        own = density_ZN.diagonal(offset=first)
        parts.append(math.log(len(z_NL)) + own - density_ZN.logsumexp(dim=1))
    mutual_information = torch.cat(parts).mean().item()
    return KLParts(mutual_information, posterior.kl().double().mean().item() - mutual_information)


def uncovered(posterior: Gaussian, z_ZL: Tensor, share: float = 0.95, *, own: bool = True) -> Tensor:
    """Which points are outside the central `share` of every image's posterior, shape (Z,), bool.

    The central region of a Gaussian is the ellipsoid that holds that share of it. With `own` false, point n
    is a sample of posterior n, and that one is left out: how well images cover what isn't theirs.
    """
    from scipy.special import gammaincinv  # half a second, for evaluations only

    reach = 2 * float(gammaincinv(posterior.mean.shape[1] / 2, share))  # the chi-square quantile
    rows = []
    for first, square_ZN in squared_distances(posterior, z_ZL):
        if not own:
            square_ZN.diagonal(offset=first).fill_(math.inf)
        rows.append((square_ZN > reach).all(dim=1))
    return torch.cat(rows)


def squared_distances(posterior: Gaussian, z_ZL: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Squared distances in units of each posterior's sigma, float64, some rows (Z, N) and the first's number.

    As three matrix products. Their terms are centred first, because they cancel where sigma is small.
    """
    centre_L = posterior.mean.double().mean(dim=0)
    mean_NL = posterior.mean.double() - centre_L
    precision_NL = (-posterior.log_variance.double()).exp()
    constant_N = (mean_NL.square() * precision_NL).sum(dim=1)
    for chunk, z in enumerate((z_ZL.double() - centre_L).split(POINTS_AT_ONCE)):
        square_ZN = z.square() @ precision_NL.T - 2 * z @ (mean_NL * precision_NL).T + constant_N
        yield chunk * POINTS_AT_ONCE, square_ZN.clamp(min=0)
