"""Bernoulli: binary cross-entropy of 0/1 pixels, and of grey ones, as is common practice."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from vaelab.objectives.likelihoods import Likelihood, likelihoods


@likelihoods.register("bernoulli")
class Bernoulli(Likelihood):
    """The decoder gives logits.

    On grey pixels this is no probability of the data, and its floor is the pixels' own entropy, not 0.
    """

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(parameters, x, reduction="none").flatten(1).sum(dim=1)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.sigmoid()

    def sample(self, parameters: Tensor, noise: Generator) -> Tensor:
        return torch.bernoulli(self.mean(parameters), generator=noise)
