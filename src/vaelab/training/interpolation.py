"""Paths from one latent to another.

Shapes: K pairs, S steps, L latent dimensions.
"""

import torch
from torch import Tensor

from vaelab.config import unknown
from vaelab.config.errors import must_be


def linear_path(start_KL: Tensor, end_KL: Tensor, share_S: Tensor) -> Tensor:
    """Points on the straight line from each start to its end, shape (K, S, L)."""
    return start_KL[:, None] + share_S[:, None] * (end_KL - start_KL)[:, None]


def spherical_path(start_KL: Tensor, end_KL: Tensor, share_S: Tensor) -> Tensor:
    """Spherical interpolation, shape (K, S, L).

    White (2016), "Sampling generative networks", for the directions; norms are interpolated linearly. Where
    the directions are equal or opposite there is no unique great circle, and the straight line is taken.
    """
    start, end, share = start_KL.double()[:, None], end_KL.double()[:, None], share_S.double()[:, None]
    lengths = [latents.norm(dim=2, keepdim=True) for latents in (start, end)]
    unit = [way / length.clamp(min=1e-12) for way, length in zip((start, end), lengths, strict=True)]
    angle = (unit[0] * unit[1]).sum(dim=2, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    turned = (((1 - share) * angle).sin() * unit[0] + (share * angle).sin() * unit[1]) / sine.clamp(min=1e-12)
    path = turned * (lengths[0] + share * (lengths[1] - lengths[0]))
    line = linear_path(start_KL.double(), end_KL.double(), share_S.double())
    return torch.where(sine > 1e-4, path, line).float()


PATHS = {"linear": linear_path, "spherical": spherical_path}
"""Paths by name. A straight line stays in the region that a VAE's encoder uses; White's great circles are
meant for draws from a prior of many dimensions, which all have nearly the same norm.
"""


def between(start_L: Tensor, end_L: Tensor, steps: int, path: str = "linear") -> Tensor:
    """Latents at equal steps, both ends included, shape (S, L). Raises ConfigError for an unknown path."""
    if steps < 2:
        raise must_be("steps", "a whole number of at least 2", steps)
    if path not in PATHS:
        raise unknown("path", path, PATHS)
    return PATHS[path](start_L[None], end_L[None], torch.linspace(0, 1, steps))[0]
