"""Verdicts and numbers of comparison tables in words."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from families import family_of
from harness import settings
from vaelab.comparison.findings import ONE_SEED, findings, in_short
from vaelab.comparison.report import conclusion
from vaelab.comparison.statistics import Estimate
from vaelab.comparison.table import (
    Column,
    answers,
    cell,
    columns,
    estimate,
    on_terminal,
)
from vaelab.evaluation.runs import Family, Model
from vaelab.pages.numbers import written
from vaelab.pages.published import published


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
        (0.004, "no clear difference (below the resolution of the measure, 0.004, p"),
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
    assert (f"below the resolution of the measure ({error:g})" in said) == (error > 0.003)


def test_diversity_is_ranked_by_its_distance_from_that_of_real_images() -> None:
    """0.9, 0.5 and 1.3 times that of real images: the lowest and the highest are the worse ones."""
    family = family_of(np.random.default_rng(4), models=3, seeds=3)
    for model, value, spread in zip(family.models, (0.9, 0.5, 1.3), (0.01, 0.02, 0.03), strict=True):
        for seed, member in enumerate(model.members):
            found = member.evaluation["numbers"]["images"]["diversity_ratio"]  # type: ignore[index]
            found["prior samples"]["value"] = value + spread * seed
    verdict = in_short(family, column_of(family, "diversity"))
    assert verdict == "model 0 closer to 1 than all others; model 2 closer to 1 than model 1"
    (said,) = (sentence for sentence in findings(family) if sentence.startswith("diversity: "))
    assert said.startswith("diversity: model 0 is closer to 1 than model 2 by 0.2")


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


THREE_CLASSES = ("model=conv", "dataset.classes=[0,1,7]", "dataset.val_size=0")


@pytest.mark.parametrize(
    ("other", "reference"),
    [
        *((each, "209.79, 210.55 (published)") for each in ("", "seed=1", "device=cpu")),
        *(
            (each, "")
            for each in (
                "epochs=10", "batch_size=7", "precision=bf16", "kl=false", "dataset.val_size=null",
                "dataset.binarize=static", "model=mlp", "model.latent_dim=3", "model.channels=[4]", "model.kernel=4",
                "model.conditional=true", "optimizer.lr=0.1", "optimizer.schedule=cosine", "optimizer.weight_average=0.9",
                "loss=iwae", "loss.likelihood=gaussian", "loss.warmup_epochs=19", "loss.free_bits=3",
            )
        ),
    ],
)  # fmt: skip
def test_published_numbers_stand_beside_those_of_the_same_settings(other: str, reference: str) -> None:
    changes = [other] if other else []
    data = {"name": "fashion_mnist", "complete": True, "binarize": "none", "classes": dict.fromkeys("017")}
    config = settings(*THREE_CLASSES, *changes)
    members: list[Any] = [
        SimpleNamespace(config=config.replace(beta=beta), facts={"data": data}, evaluation=None)
        for beta in (0.5, 1)
    ]
    family = Family("Fashion-MNIST", [Model("", [member]) for member in members], "test")
    assert column_of(family, "train/reconstruction").show_reference(family) == reference


@pytest.mark.parametrize(
    ("overrides", "value"),
    [
        (["experiment=conv16"], 242.31),
        (["dataset=mnist", "model.latent_dim=20", "epochs=10", "dataset.val_size=0"], 105.59),
    ],
)
def test_runs_that_repeat_published_ones_find_their_numbers(overrides: list[str], value: float) -> None:
    config = settings(*overrides)
    data = {"name": config.dataset.name, "complete": True, "classes": dict.fromkeys("0123456789")}
    for changes, expected in (([], value), (["beta=0.3"], None), (["model.latent_dim=7"], None)):
        found = published(settings(*overrides, *changes), data, "test/neg_elbo")
        assert (found and found[0]) == expected
    assert published(config, data | {"complete": False}, "test/neg_elbo") is None


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
