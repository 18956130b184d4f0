"""Tests of differences between models: t-tests over seeds with Holm's correction.

The result of a training varies with its seed. The seeds of a model are a sample, and two models differ
clearly if a t-test over their seeds is significant after correction for all pairs compared.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean

from scipy.special import stdtr, stdtrit

from vaelab.pages.numbers import written

LEVEL = 0.05
"""Family-wise error rate: the highest probability that any difference in a column is wrongly called clear."""

BySeed = Mapping[int, float]
"""A model's number for each of its seeds."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds, in the unit of the values."""

    mean: float
    count: int
    standard_deviation: float | None
    """The sample's standard deviation, with n − 1; None for one seed."""
    interval: tuple[float, float] | None
    """The 95 % confidence interval of the mean, by Student's t; None for one seed."""

    @classmethod
    def of(cls, values: Collection[float]) -> "Estimate":
        mean, count = fmean(values), len(values)
        if count < 2:
            return cls(mean, count, None, None)
        deviation = math.sqrt(variance(values))
        half = float(stdtrit(count - 1, 1 - LEVEL / 2)) * deviation / math.sqrt(count)
        return cls(mean, count, deviation, (mean - half, mean + half))

    def show(self, digits: int) -> str:
        return written(self.mean, self.standard_deviation, digits)


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between two models in one column."""

    first: str
    second: str
    mean: float
    """Mean of the first minus mean of the second."""
    interval: tuple[float, float]
    """95 % confidence interval of that difference, not corrected for other pairs."""
    p: float
    """p-value of a two-sided test, after Holm's correction for all pairs of the column."""
    paired: bool
    """Whether both have the same seeds, so that seeds are compared one by one."""
    seeds: int
    """Number of seeds of the model that has fewer."""

    @property
    def clear(self) -> bool:
        return self.p <= LEVEL

    def against(self, first: str) -> "Difference":
        """The same difference with `first` as the first of the two models."""
        if first == self.first:
            return self
        low, high = self.interval
        return replace(self, first=self.second, second=self.first, mean=-self.mean, interval=(-high, -low))


def t_test(first: BySeed, second: BySeed) -> tuple[float, tuple[float, float], float, bool]:
    """Mean difference, its 95 % interval, the two-sided p-value, and whether the test was paired.

    Paired over seeds (Student's t) if both models have the same ones, else Welch's (1947) test for unequal
    variances. Raises ValueError for fewer than two seeds of either model.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("a test requires at least two seeds of each model")
    paired = first.keys() == second.keys()
    samples = (
        [[first[seed] - second[seed] for seed in first]] if paired else [first.values(), second.values()]
    )
    difference = fmean(first.values()) - fmean(second.values())
    # The squared standard error that each sample adds, and Welch and Satterthwaite's degrees of freedom.
    parts = [(variance(sample) / len(sample), len(sample) - 1) for sample in samples]
    error = math.sqrt(sum(part for part, _ in parts))
    largest = max(map(abs, [*first.values(), *second.values()]))
    if error <= 1e-9 * largest:  # shares of few images may agree by chance: a lack of spread proves nothing
        return difference, (-math.inf, math.inf), 1.0, paired
    freedom = error**4 / sum(part**2 / free for part, free in parts)
    p = 2 * float(stdtr(freedom, -abs(difference) / error))
    half = float(stdtrit(freedom, 1 - LEVEL / 2)) * error
    return difference, (difference - half, difference + half), p, paired


def variance(values: Collection[float]) -> float:
    """Unbiased sample variance, with n − 1."""
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values after Holm's (1979) correction, in the given order.

    Of k p-values, the smallest is multiplied by k, the next by k − 1, and so on; none is below its
    predecessor or above 1.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def tested(pairs: Sequence[tuple[tuple[str, BySeed], tuple[str, BySeed]]]) -> list[Difference]:
    """The differences of labelled pairs of models, each with two or more seeds, corrected together."""
    tests = [t_test(first, second) for (_, first), (_, second) in pairs]
    corrected = holm([p for _, _, p, _ in tests])
    return [
        Difference(first, second, mean, interval, p, paired, min(len(one), len(other)))
        for ((first, one), (second, other)), (mean, interval, _, paired), p in zip(
            pairs, tests, corrected, strict=True
        )
    ]


def differences(models: Mapping[str, BySeed]) -> list[Difference]:
    """The differences of all pairs of models. Models with one seed are left out: their spread is unknown."""
    return tested(list(combinations([each for each in models.items() if len(each[1]) > 1], 2)))
