"""Verdicts of a comparison: the tests behind them, how often they are wrong, and what they find."""

import math
import re
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from vaelab.comparison.findings import ONE_SEED, findings, in_short
from vaelab.comparison.report import conclusion
from vaelab.comparison.statistics import Estimate, differences, holm, t_test
from vaelab.comparison.table import (
    Column,
    answers,
    by_seed,
    cell,
    columns,
    epochs_of,
    estimate,
    on_terminal,
)
from vaelab.evaluation.runs import Family, Model
from vaelab.pages.numbers import written

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


# --- what a comparison says of models that are the same ---------------------------------------------------

NOISE = {"val/neg_elbo": (280, 0.4), "val/reconstruction": (275, 0.4), "fid_mnist_cnn": (50, 4)}
"""Mean and standard deviation over seeds of some numbers."""
CLAIM = re.compile(r" (?:is|are) (?:lower|higher) |further clear")


def family_of(noise: np.random.Generator, models: int, seeds: int, same_seeds: bool = True) -> Family:
    """Models whose numbers are all draws from one distribution. The first two are without KL."""

    def member(k: int, seed: int) -> Any:
        def normal(name: str) -> float:
            return float(noise.normal(*NOISE[name]))

        def fid() -> dict[str, float]:
            return {"value": normal("fid_mnist_cnn")}

        return SimpleNamespace(
            config=SimpleNamespace(
                seed=seed if same_seeds else 100 * k + seed,
                kl_off=k < 2,
                model={"latent_dim": 2},
                dataset=SimpleNamespace(binarize="none"),
                conditional=False,
                loss=SimpleNamespace(likelihood_name="bernoulli"),
            ),
            facts={"data": {"name": "mnist", "binarize": "none", "classes": [], "complete": True}},
            rows=[{name: normal(name) for name in ("val/neg_elbo", "val/reconstruction")}],
            evaluation={
                "numbers": {
                    "classes": {  # shares of 400 images: in steps
                        "knn_accuracy": {"posterior means": {"value": noise.binomial(400, 0.8) / 400}},
                        "silhouette": {"posterior means": {"value": float(noise.normal(0.1, 0.01))}},
                    },
                    "images": {
                        "sharpness_ratio": {"prior samples": {"value": float(noise.normal(0.6, 0.02))}},
                        "diversity_ratio": {"prior samples": {"value": float(noise.normal(0.7, 0.02))}},
                    },
                    "latent": {"prior_not_covered": {"model": {"value": noise.binomial(1000, 0.3) / 1000}}},
                    "samples": {"fid_mnist_cnn": {"prior samples": fid(), "mixture samples": fid()}},
                }
            },
        )

    return Family(
        "MNIST",
        [Model(f"model {k}", [member(k, seed) for seed in range(seeds)]) for k in range(models)],
        "val",
    )


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


@pytest.mark.parametrize("same_seeds", [True, False])
def test_findings_of_identical_models_name_a_winner_in_at_most_one_of_twenty_columns(
    same_seeds: bool,
) -> None:
    noise, repetitions = np.random.default_rng(3), 300
    rates: dict[str, dict[tuple[int, int], float]] = {}
    whole, old = {}, {}
    for models, seeds in product(MODELS, SEEDS):
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
    allowed = 0.05 + 4 * math.sqrt(0.05 * 0.95 / repetitions)  # the largest of 96 rates
    means = {name: sum(each.values()) / len(each) for name, each in rates.items()}
    assert max(max(each.values()) for each in rates.values()) <= allowed, (rates, "whole comparison:", whole)
    assert max(means.values()) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repetitions / 12), (means, whole)
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


def column_of(family: Family, name: str) -> Column:
    return next(column for column in columns(family) if column.name == name)


def test_a_verdict_is_short_in_the_table_and_none_is_drawn_from_sharpness() -> None:
    """The second model is better in everything, and sharper: noise is sharp too."""
    family = family_of(np.random.default_rng(4), models=2, seeds=3)
    for seed, (first, second) in enumerate(zip(*(model.members for model in family.models), strict=True)):
        for name in ("val/neg_elbo", "val/reconstruction"):
            first.rows[0][name], second.rows[0][name] = 260 + seed, 250.5 + 1.01 * seed
        for member, value in ((first, 0.2), (second, 0.9 + 0.01 * seed)):
            member.evaluation["numbers"]["images"]["sharpness_ratio"]["prior samples"]["value"] = value
            member.evaluation["numbers"]["latent"]["prior_not_covered"]["model"]["value"] = 1 - value
    said = {column.name: in_short(family, column) for column, _, _ in answers(family)}
    assert said["sharpness"] == "none: noise is sharp too"
    assert not any("sharp" in sentence for sentence in findings(family))
    assert said["val/reconstruction"] == "model 1 lower than model 0 (p < 0.001)"
    assert re.fullmatch(
        r"model 1 higher than model 0 \(p (= 0\.\d+|< 0.001)\)", said["prior_covered_percent"]
    )
    assert cell(family.models[1], column_of(family, "prior_covered_percent")) == "91.0 ± 1.0"
    alone = family_of(np.random.default_rng(4), models=2, seeds=1)
    assert in_short(alone, column_of(alone, "val/neg_elbo")) == ONE_SEED == "one seed each: not tested"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (0.004, "no clear difference (smaller than the error of the measure, 0.004, p"),
        (0.001, "model 1 higher"),
    ],
)
def test_no_verdict_on_differences_below_what_a_measure_resolves(error: float, verdict: str) -> None:
    """A difference of 0.003 in a share of images, the same for all seeds but for rounding."""
    family = family_of(np.random.default_rng(4), models=2, seeds=3)
    for k, model in enumerate(family.models):
        for seed, member in enumerate(model.members):
            found = member.evaluation["numbers"]["classes"]["knn_accuracy"]  # type: ignore[index]
            value = 0.8 + 0.01 * seed + k * (0.003 + 0.0001 * seed)
            found["posterior means"] = {"value": value, "standard_error": error}
    said = next(sentence for sentence in findings(family) if sentence.startswith("k-NN"))
    assert in_short(family, column_of(family, "knn_accuracy")).startswith(verdict)
    assert ("no clear difference" in said) == (error > 0.003)
    assert (f"smaller than the error of the measure ({error:g})" in said) == (error > 0.003)


@pytest.mark.parametrize(
    ("precision", "recall", "explained"), [(0.97, 0.001, True), (0.97, 0.5, False), (0.8, 0.001, False)]
)
def test_a_precision_above_that_of_real_images_is_explained(
    precision: float, recall: float, explained: bool
) -> None:
    family = family_of(np.random.default_rng(4), models=1, seeds=1)
    scores = family.members[0].evaluation["numbers"]["samples"]  # type: ignore[index]
    for name, own, real in (("precision", precision, 0.88), ("recall", recall, 0.88)):
        floor = {"value": real, "standard_error": 0.01}
        scores[f"{name}_mnist_cnn"] = {
            "prior samples": {"value": own, "standard_error": 0.01},
            "real images (floor)": floor,
        }
    said = " ".join(findings(family))
    assert ("does not indicate quality" in said) == explained


@pytest.mark.parametrize(("models", "ranked"), [(2, False), (3, True)])
def test_holes_are_not_ranked_where_posteriors_are_too_narrow(models: int, ranked: bool) -> None:
    family = family_of(np.random.default_rng(4), models, seeds=2)
    for k, model in enumerate(family.models):
        for member in model.members:
            latent = member.evaluation["numbers"]["latent"]  # type: ignore[index]
            latent["posterior_not_covered"] = {"model": {"value": 0.998 if k == 0 else 0.001}}
    verdict = in_short(family, column_of(family, "prior_covered_percent"))
    said = [sentence for sentence in findings(family) if sentence.startswith("latent space: continuity")]
    assert "σ too small: model 0)" in verdict
    assert verdict.startswith("–") != ranked
    assert bool(said) == ranked
    assert not any("model 0" in sentence for sentence in said)
    assert conclusion("latent_holes", family).startswith(
        "Prior draws that fall where a training image was encoded, %: model 0 unknown, σ is too small; model 1 "
    )


def test_numbers_for_readers_have_a_minus_sign() -> None:
    assert [written(each, digits=2) for each in (-1.5, -0.001, 0.0, -1234.5)] == [
        "−1.50", "0.00", "0.00", "−1,234.50"
    ]  # fmt: skip
    assert [written(each) for each in (-1e-5, 10.0, 9.87654, 12345, math.nan)] == [
        "−1e-05", "10.00", "9.877", "12,345", "nan"
    ]  # fmt: skip
    assert [written(0.28313, each) for each in (0.0123, 0.0, None)] == [
        "0.283 ± 0.012",
        "0.2831 ± 0",
        "0.2831",
    ]
    assert Estimate.of([-1.0, -2.0]).show(1) == "−1.5 ± 0.7"


@pytest.mark.parametrize(
    ("epochs", "objective", "binarize", "reference"),
    [
        (20, "beta_vae", "none", "209.79, 210.55 (published)"),
        (10, "beta_vae", "none", ""),
        (20, "iwae", "none", ""),
        (20, "beta_vae", "static", ""),
    ],
)
def test_published_numbers_stand_beside_those_of_the_same_settings(
    epochs: int, objective: str, binarize: str, reference: str
) -> None:
    data = {
        "name": "fashion_mnist", "complete": True, "binarize": binarize, "classes": {"0": "", "1": "", "7": ""},
    }  # fmt: skip
    configs = [
        SimpleNamespace(
            kl_off=False,
            beta=beta,
            epochs=epochs,
            objective_name=objective,
            model={"name": "conv", "latent_dim": 2},
            dataset=SimpleNamespace(binarize=binarize),
            conditional=False,
            loss=SimpleNamespace(likelihood_name="bernoulli"),
        )
        for beta in (0.5, 1.0)
    ]
    members: list[Any] = [
        SimpleNamespace(config=each, facts={"data": data}, evaluation=None) for each in configs
    ]
    family = Family("Fashion-MNIST", [Model("", [member]) for member in members], "test")
    assert column_of(family, "train/reconstruction").show_reference(family) == reference


@pytest.mark.parametrize(
    ("models", "label"), [(2, "beta {}"), (7, "beta {}"), (12, "conv, latent_dim 16, lr 0.0005, beta {}")]
)
def test_the_table_fits_a_terminal(models: int, label: str) -> None:
    """A column per model with its spread; of many models a row each, with means."""
    family = family_of(np.random.default_rng(4), models, seeds=3)
    family = replace(
        family, models=[replace(model, label=label.format(k)) for k, model in enumerate(family.models)]
    )
    narrow = on_terminal(family, 60)
    assert max(map(len, narrow.splitlines())) <= 60
    shown = re.sub(r"\s+", " ", narrow)
    for column, _, _ in answers(family):  # what has no room is named
        assert column.title.split(": ")[-1].split(" ")[0] in shown
    lines = on_terminal(family, 100).splitlines()
    assert max(map(len, lines)) <= 100
    assert ("±" in lines[2]) == (models == 2)
    text = re.sub(r"\s+", " ", " ".join(lines))
    first = estimate(family.models[0], column_of(family, "val/reconstruction"))
    assert first is not None
    assert f"{first.mean:.2f}" in text
    assert "generation" in text
