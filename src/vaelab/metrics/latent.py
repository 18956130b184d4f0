"""Numbers about the latent space.

Shapes: N images, L latent dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

ACTIVE_VARIANCE = 0.01
"""The threshold of Burda et al. (2016) on the variance of the posterior mean over the data."""


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
