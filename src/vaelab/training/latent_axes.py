"""The directions of the latent space that all figures of a model share.

Shapes: N images, L latent dimensions, D directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import VaelabError
from vaelab.metrics.latent import ACTIVE_VARIANCE, principal_directions

MANIFOLD = 15  # rows and columns of the decoder manifold
PROBABILITIES = (torch.arange(MANIFOLD, dtype=torch.float64) + 0.5) / MANIFOLD
PRIOR_STEPS = torch.special.ndtri(PROBABILITIES)
REACH = PRIOR_STEPS[-1].item()
WHERE_THE_PRIOR_IS = 0.5
"""If less than this share of the posterior means lies within the range of the manifold's grid over the prior,
figures cover the range of those means instead. In each direction, 93 % of prior draws lie in that range."""


class NothingToShow(VaelabError):
    """A figure would be empty or uninformative; the message says why. The other figures are drawn."""


@dataclass(frozen=True, eq=False)
class LatentAxes:
    """D directions of the latent space, and the coordinates of the posterior means on them; float64."""

    directions_LD: Tensor  # orthonormal
    names: Sequence[str]
    means_ND: Tensor  # along the directions
    mean_L: Tensor  # of all posterior means

    @classmethod
    def of(cls, means_NL: NDArray[np.floating]) -> "LatentAxes":
        """The axes for posterior means (N, L).

        With up to two latent dimensions, they are the coordinate axes. With more, they are the principal
        directions of the posterior means: no other plane shows more of how images differ, with or without KL,
        and the prior is isotropic.
        """
        means = torch.from_numpy(means_NL).double()
        directions_LD, names = torch.eye(means_NL.shape[1], dtype=torch.float64), ["z₁", "z₂"]
        if means_NL.shape[1] > 2:
            directions_LD = principal_directions(means, means_NL.shape[1])
            names = [f"{ordinal(place)} principal direction" for place in range(directions_LD.shape[1])]
        return cls(directions_LD, names, means @ directions_LD, means.mean(dim=0))

    @cached_property
    def variances(self) -> Tensor:
        return self.means_ND.var(dim=0, correction=0)

    @cached_property
    def varying(self) -> list[int]:
        """The directions along which images differ.

        Their variance is above that of an inactive unit and, of more than two, above 1 % of the total or half
        of the largest, because each of many similar ones has less than 1 %. Raises NothingToShow if there
        is none.
        """
        least = ACTIVE_VARIANCE
        if len(self.names) > 2:
            shares = 0.01 * self.variances.sum().item(), 0.5 * self.variances.max().item()
            least = max(least, min(shares))
        found: list[int] = (self.variances > least).nonzero().flatten().tolist()
        if not found:
            where = "along every direction" if len(self.names) > 2 else "in every latent dimension"
            raise NothingToShow(
                "the posterior means of the test images are nearly the same, with a variance of at most "
                f"{ACTIVE_VARIANCE} {where}"
            )
        return found

    @cached_property
    def inside(self) -> float:
        """Share of the posterior means within the range of the manifold's grid over the prior."""
        return (self.means_ND[:, self.varying[:2]].abs() <= REACH).all(dim=1).double().mean().item()

    @property
    def prior_fits(self) -> bool:
        """Whether the posterior means lie where the prior does; if not, figures cover the means' range."""
        return self.inside >= WHERE_THE_PRIOR_IS

    @property
    def elsewhere(self) -> str:
        """Why figures are not drawn where the prior is."""
        steps = f"the prior's steps, from −{REACH:.2f} to {REACH:.2f}"
        return f":\nonly {100 * self.inside:.0f} % of the posterior means are within {steps}"

    def label(self, place: int) -> str:
        """The name of a direction, with its share of the posterior means' variance."""
        if len(self.variances) == 1:
            return self.names[place]
        return f"{self.names[place]}, {100 * self.variances[place] / self.variances.sum():.0f} % of variance"


def ordinal(place: int) -> str:
    """1st for place 0."""
    number = place + 1
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
