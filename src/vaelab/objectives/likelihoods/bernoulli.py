"""Bernoulli: binary cross-entropy of 0/1 pixels, and of grey ones, as is common practice."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from vaelab.objectives.likelihoods import Likelihood, likelihoods


@likelihoods.register("bernoulli")
class Bernoulli(Likelihood):
    """Independent Bernoulli pixels; the decoder's output is their logits.

    For grey pixels, exp(log_prob) is not a probability of the data, and the minimum of −log_prob is the
    entropy of the pixels, not 0.
    """

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            cross_entropy = F.binary_cross_entropy_with_logits(parameters, x, reduction="none")
            return -cross_entropy.flatten(1).sum(dim=1)
        # The same value, four times as fast but slow to differentiate: Σ (x − ½) l − ½ |l| −
        # log(1 + exp(−|l|)), with one logarithm for the product of up to 64 terms of at most 2 each.
        logits, magnitude = parameters.flatten(1), parameters.flatten(1).abs()
        linear = (logits * (x.flatten(1) - 0.5)).sub_(0.5 * magnitude).sum(dim=1)  # exact for 0/1 pixels
        terms = magnitude.neg_().exp_().add_(1).unflatten(1, (-1, math.gcd(logits.shape[1], 64)))
        return linear - terms.prod(dim=2).log_().sum(dim=1)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.sigmoid()

    def sample(self, parameters: Tensor, noise: Generator) -> Tensor:
        return torch.bernoulli(self.mean(parameters), generator=noise)
