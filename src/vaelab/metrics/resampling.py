"""Standard errors by the bootstrap (Efron 1979), for numbers without a formula for theirs."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

REPLICATES = 200


class Score(NamedTuple):
    """A number and its standard error, in the same unit."""

    value: float
    standard_error: float


def bootstrap_counts(images: int, seed: int) -> Tensor:
    """How often each image is in each of 200 samples with replacement, shape (200, images), float32."""
    generator = np.random.default_rng(seed)
    share = np.full(images, 1 / images)
    return torch.from_numpy(generator.multinomial(images, share, REPLICATES).astype(np.float32))
