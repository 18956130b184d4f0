"""Scores with standard errors: from a formula where there is one, else from the bootstrap (Efron 1979).

Shapes: N images, M images of another set.
"""

from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

REPLICATES = 200


class Score(NamedTuple):
    """A number and its standard error, in the same unit."""

    value: float
    standard_error: float


@lru_cache(maxsize=4)
def bootstrap_counts(images: int, seed: int) -> Tensor:
    """How often each image occurs in each of 200 bootstrap samples, shape (200, images), float32.

    >>> bootstrap_counts(5, seed=0).sum(dim=1).unique()
    tensor([5.])
    """
    generator = np.random.default_rng(seed)
    share = np.full(images, 1 / images)
    return torch.from_numpy(generator.multinomial(images, share, REPLICATES).astype(np.float32))


def standard_error(values_N: Tensor) -> float:
    """The standard error of the mean of independent values (N,); 0 for a single value.

    >>> standard_error(torch.tensor([1.0, 3.0]))
    1.0
    """
    return values_N.double().std().item() / sqrt(len(values_N)) if len(values_N) > 1 else 0.0


def mean_score(values_N: Tensor) -> Score:
    """The mean of independent values with its standard error.

    >>> mean_score(torch.tensor([1.0, 3.0]))
    Score(value=2.0, standard_error=1.0)
    """
    return Score(values_N.double().mean().item(), standard_error(values_N))


def share_score(members_N: Tensor) -> Score:
    """The share of True among booleans (N,), with its binomial standard error.

    The error is computed as in Agresti & Coull (1998), with two successes and two failures added, so that it
    is not 0 if all values are equal.

    >>> share_score(torch.tensor([True, True, False, False])).value
    0.5
    """
    count, members = len(members_N), int(members_N.sum())
    share = (members + 2) / (count + 4)
    return Score(members / count, sqrt(share * (1 - share) / (count + 4)))


def auroc(inside_N: Tensor, outside_M: Tensor) -> Score:
    """Area under the ROC curve: the probability that a value outside exceeds one inside; ties count half.

    The standard error is that of DeLong et al. (1988).

    >>> auroc(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0])).value
    0.875
    """
    higher_NM = (outside_M > inside_N[:, None]).double() + 0.5 * (outside_M == inside_N[:, None]).double()
    inside, outside = higher_NM.mean(dim=1), higher_NM.mean(dim=0)
    return Score(inside.mean().item(), sqrt(standard_error(inside) ** 2 + standard_error(outside) ** 2))
