"""Verdicts of a comparison: the tests behind them, how often they are wrong, and what they find."""

import math

import numpy as np
import pytest
from scipy import stats

from vaelab.comparison.statistics import Estimate, differences, holm, t_test

REPETITIONS = 2000
MODELS, SEEDS = (2, 3, 5, 8), (2, 3, 5)


def models_of(values_KS: np.ndarray, same_seeds: bool) -> dict[str, dict[int, float]]:
    """K models with S seeds each, the same seeds for all or others for each."""
    return {
        f"model {k}": {seed if same_seeds else 100 * k + seed: float(value) for seed, value in enumerate(row)}
        for k, row in enumerate(values_KS)
    }


@pytest.mark.parametrize("same_seeds", [True, False])
def test_tests_agree_with_scipy(same_seeds: bool) -> None:
    values = np.random.default_rng(0).normal(size=(2, 4))
    first, second = models_of(values, same_seeds).values()
    mean, interval, p, paired = t_test(first, second)
    scipys = stats.ttest_rel(*values) if same_seeds else stats.ttest_ind(*values, equal_var=False)
    assert paired == same_seeds
    assert mean == pytest.approx(values[0].mean() - values[1].mean())
    assert p == pytest.approx(scipys.pvalue)
    assert interval == pytest.approx(tuple(scipys.confidence_interval(0.95)))


def test_an_interval_is_students() -> None:
    values = [1.0, 2.0, 4.0]
    found = Estimate.of(values)
    assert (found.mean, found.count, found.standard_deviation) == pytest.approx(
        (7 / 3, 3, np.std(values, ddof=1))
    )
    assert found.interval == pytest.approx(stats.t.interval(0.95, 2, np.mean(values), stats.sem(values)))
    assert Estimate.of([1.0]).interval is None


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_one_seed_is_never_tested_and_no_spread_is_no_chance() -> None:
    assert differences({"a": {0: 1.0}, "b": {0: 2.0}}) == []
    equal, apart = {0: 1.0, 1: 1.0}, {0: 2.0, 1: 2.0}
    assert [each.p for each in differences({"a": equal, "b": dict(equal), "c": apart})] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("same_seeds", [True, False])
def test_identical_models_are_told_apart_in_at_most_one_of_twenty_comparisons(same_seeds: bool) -> None:
    noise = np.random.default_rng(1)
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)  # three standard errors of the simulation
    rates = {}
    for models in MODELS:
        for seeds in SEEDS:
            draws = noise.normal(size=(REPETITIONS, models, seeds))
            claims = sum(any(each.clear for each in differences(models_of(x, same_seeds))) for x in draws)
            rates[models, seeds] = claims / REPETITIONS
    assert max(rates.values()) <= allowed, rates
    assert max(rates.values()) > 0.03, "the tests of two models should use their level"


@pytest.mark.parametrize(
    ("models", "seeds", "power"), [(2, 2, 0.12), (2, 3, 0.45), (2, 5, 0.9), (3, 5, 0.75), (5, 5, 0.3)]
)
def test_three_standard_deviations_are_found(models: int, seeds: int, power: float) -> None:
    """How often a model that is 3 standard deviations apart is distinguished from another one, with the same seeds."""
    noise, found = np.random.default_rng(2), 0
    for _ in range(REPETITIONS):
        values = noise.normal(size=(models, seeds))
        values[0] += 3
        found += differences(models_of(values, same_seeds=True))[0].clear
    assert found / REPETITIONS > power
