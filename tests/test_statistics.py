"""The tests behind verdicts, and their error rates by simulation."""

import math
import re
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from families import family_of
from vaelab.comparison.findings import findings
from vaelab.comparison.statistics import Estimate, differences, holm, t_test
from vaelab.comparison.table import (
    by_seed,
    columns,
    epochs_of,
)
from vaelab.evaluation.runs import Family, Model

REPETITIONS = 2000


MODELS, SEEDS = (2, 3, 5), (2, 3, 5)


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


def test_holms_correction_agrees_with_a_calculation_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_one_seed_is_never_tested_and_a_lack_of_spread_proves_nothing() -> None:
    assert differences({"a": {0: 1.0}, "b": {0: 2.0}}) == []
    equal, apart = {0: 1.0, 1: 1.0}, {0: 2.0, 1: 2.0}
    assert [each.p for each in differences({"a": equal, "b": dict(equal), "c": apart})] == [1.0, 1.0, 1.0]
    rounded = differences(
        {"a": {0: 0.81, 1: 0.82}, "b": {0: 0.84, 1: 0.85}}
    )  # by 0.03 both, but for rounding
    assert not rounded[0].clear


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


CLAIM = re.compile(r" (?:is|are) (?:lower|higher) |further clear")


def test_runs_that_stopped_early_count_with_their_own_last_epoch() -> None:
    rows = [[{"val/kl": 10.0 * seed + epoch} for epoch in range(seed)] for seed in (4, 6)]
    model = Model("", [SimpleNamespace(rows=each) for each in rows])  # type: ignore[arg-type]
    assert epochs_of(model) == "4 to 6"
    assert model.last("val/kl").tolist() == [[43.0], [65.0]]
    assert model.history("val/kl").shape == (2, 4)


def old_rule(family: Family) -> bool:
    """The rule before version 0.2: a difference is clear that is larger than the root of both variances."""
    column = next(each for each in columns(family) if each.name == "val/neg_elbo")
    numbers = sorted(
        (Estimate.of(by_seed(model, column).values()) for model in family.models), key=lambda each: each.mean
    )
    first, *others = numbers
    spreads = [math.hypot(first.standard_deviation or 0, each.standard_deviation or 0) for each in others]
    return any(each.mean - first.mean > spread for each, spread in zip(others, spreads, strict=True))


@pytest.mark.parametrize("repetitions", [200, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("same_seeds", [True, False])
def test_findings_of_identical_models_name_a_winner_in_at_most_one_of_twenty_columns(
    same_seeds: bool, repetitions: int
) -> None:
    noise = np.random.default_rng(3)
    rates: dict[str, dict[tuple[int, int], float]] = {}
    whole, old = {}, {}
    settings = list(product((2, 8), (2, 5)))
    for models, seeds in settings:
        said = [family_of(noise, models, seeds, same_seeds) for _ in range(repetitions)]
        old[models, seeds] = sum(map(old_rule, said)) / repetitions
        claims = [[CLAIM.search(sentence) is not None for sentence in findings(each)] for each in said]
        # A sentence for each of seven columns, two of KL off, and one of the tests.
        assert {len(each) for each in claims} == {10}
        by_column = np.array([[*each[:7], any(each[7:])] for each in claims])
        for name, rate in zip(
            ("reconstruction", "neg_elbo", "fid", "diversity", "silhouette", "continuity", "knn", "KL off"),
            by_column.mean(axis=0),
            strict=True,
        ):
            rates.setdefault(name, {})[models, seeds] = float(rate)
        whole[models, seeds] = float(by_column.any(axis=1).mean())
    allowed = 0.05 + 4 * math.sqrt(0.05 * 0.95 / repetitions)  # the largest of 32 rates: 0.112
    allowed_mean = 0.05 + 3 * math.sqrt(0.05 * 0.95 / repetitions / len(settings))  # 0.073
    means = {name: sum(each.values()) / len(each) for name, each in rates.items()}
    assert max(max(each.values()) for each in rates.values()) <= allowed, (rates, "whole comparison:", whole)
    assert max(means.values()) <= allowed_mean, (means, whole)
    assert all(rate > allowed for (_, seeds), rate in old.items() if seeds < 5), old
    assert max(old.values()) > 0.8, old
    print(
        f"Rates of false claims, same seeds: {same_seeds}",
        means,
        "whole comparison:",
        whole,
        "old rule:",
        old,
    )


def test_of_one_seed_each_no_winner_is_named() -> None:
    (said,) = findings(family_of(np.random.default_rng(4), models=5, seeds=1))
    assert said == (
        "Differences were not tested: a test needs two or more seeds of each model. Add seed=1,2,3, "
        "for example, to the sweep."
    )
    some = family_of(np.random.default_rng(4), models=3, seeds=2)
    some.models[0].members.pop()
    assert findings(some)[0].startswith("Differences from model 0 were not tested")
    assert not any("model 0 is" in sentence or "model 0," in sentence for sentence in findings(some))
