"""What a comparison says in words: of each column which models differ clearly, from t-tests over seeds."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean

from vaelab.comparison.statistics import Difference, differences, tested
from vaelab.comparison.table import Column, by_seed, columns, estimate
from vaelab.evaluation.runs import Family


def findings(family: Family) -> list[str]:
    """Sentences, each from numbers of the table."""
    by_name = {column.name: column for column in columns(family)}
    fid = next(name for name in by_name if name.startswith("fid_"))
    named = [f"{family.scored}/neg_elbo", f"{family.scored}/reconstruction", "knn_accuracy", "sharpness", fid]
    return [
        *not_tested(family),
        *(sentence for name in named for sentence in verdict(family, by_name[name])),
        *sampling_without_kl(family, by_name[fid], by_name[f"{fid}_mixture"]),
        *collapse(family, by_name["collapsed"], "are collapsed to the prior, with less than 0.01 nats of KL"),
        *collapse(family, by_name["constant"], "have nearly the same posterior mean for all images"),
    ]


def not_tested(family: Family) -> Iterator[str]:
    """Whether models have too few seeds, and what to type."""
    alone = [model.label for model in family.models if len(model.members) < 2]
    if alone and len(family.models) > 1:
        some = f" from {' and from '.join(alone)}" if len(alone) < len(family.models) else ""
        yield (
            f"Differences{some} were not tested: a test takes two or more seeds of each model, so add "
            "seed=1,2,3 (for example) to the sweep."
        )


def verdict(family: Family, column: Column) -> Iterator[str]:
    """Which models differ clearly in a column; nothing where fewer than two have seeds to test."""
    values = {model.label: by_seed(model, column) for model in family.models}
    means = {label: fmean(each.values()) for label, each in values.items() if len(each) > 1}
    order = sorted(means, key=means.__getitem__, reverse=not column.lower_is_better)
    place = {label: number for number, label in enumerate(order)}
    pairs = [
        each.against(min(each.first, each.second, key=place.__getitem__)) for each in differences(values)
    ]
    pairs.sort(key=lambda each: (place[each.first], place[each.second]))
    if not pairs:
        return
    clear = [each for each in pairs if each.clear]
    neighbours = list(pairwise(order))
    shown = [each for each in clear if each.first == order[0] or (each.first, each.second) in neighbours]
    word = "lower" if column.lower_is_better else "higher"
    parts = []
    for first in dict.fromkeys(each.first for each in shown):
        others = [f"than {each.second} by {effect(each, column)}" for each in shown if each.first == first]
        parts.append(f"{first} is {word} {', '.join(others)}")
    alike = [each for each in pairs if each.first == order[0] and not each.clear]
    if not clear and len(order) > 2:
        most = f"the largest is between {order[0]} and {order[-1]}, {effect(alike[-1], column)}"
        parts.append(f"no clear difference between any two of {len(order)} models; {most}")
    elif alike:
        others = [f"{each.second}: {effect(each, column)}" for each in alike]
        parts.append(f"no clear difference between {order[0]} and {', and '.join(others)}")
    if len(shown) < len(clear):
        parts.append(f"further clear differences: {len(clear) - len(shown)}")
    yield f"{column.heading}: {'; '.join(parts)}. {method(pairs, [len(values[label]) for label in order])}"


def effect(difference: Difference, column: Column) -> str:
    """`1.24 (0.90 to 1.58, p = 0.004)`: the size of a difference, its 95 % interval, and p."""
    larger = difference if difference.mean >= 0 else difference.against(difference.second)
    numbers = (round(value, column.digits) + 0.0 for value in (larger.mean, *larger.interval))  # no −0.00
    size, low, high = (f"{value:.{column.digits}f}" for value in numbers)
    if math.isinf(larger.interval[1]):
        return f"{size} (the same for every seed, which no test can judge)"
    p = "p < 0.001" if larger.p < 0.001 else f"p = {larger.p:.2g}"
    return f"{size} ({low} to {high}, {p})"


def method(pairs: Sequence[Difference], seeds: Sequence[int]) -> str:
    """`Paired t-test over 3 seeds: 95 % interval and p.`"""
    paired = {each.paired for each in pairs}
    test = "Paired t-test" if paired == {True} else "Welch's t-test"
    if len(paired) > 1:
        test = "Paired t-test where two models have the same seeds, else Welch's,"
    count = " to ".join(map(str, sorted({min(seeds), max(seeds)})))
    several = f" of each pair alone, p after Holm's correction for {len(pairs)} pairs"
    return f"{test} over {count} seeds: 95 % interval{several if len(pairs) > 1 else ' and p'}."


def sampling_without_kl(family: Family, prior: Column, mixture: Column) -> Iterator[str]:
    """Whether the models without KL are sampled better from the prior or from what their encoder makes."""
    without_kl = [model for model in family.models if model.kl_off]
    both = [(model, by_seed(model, prior), by_seed(model, mixture)) for model in without_kl]
    both = [each for each in both if min(map(len, each[1:])) > 1]
    pairs = tested([(("prior samples", own), ("mixture samples", fitted)) for _, own, fitted in both])
    used = method(pairs, [len(own) for _, own, _ in both]) if pairs else ""
    for (model, _, _), each in zip(both, pairs, strict=True):
        lower, higher = (each.first, each.second) if each.mean < 0 else (each.second, each.first)
        found = f"{lower} are lower than {higher} by {effect(each, prior)}"
        if not each.clear:
            found = f"no clear difference between {lower} and {higher}: {effect(each, prior)}"
        yield f"{prior.name} of {model.label}: {found}. {used}"


def collapse(family: Family, column: Column, words: str) -> Iterator[str]:
    """The models with latent dimensions that tell nothing of the image."""
    for model in family.models:
        numbers = estimate(model, column)
        if numbers is not None and numbers.mean > 0:
            dimensions = model.config.model.get("latent_dim", "its")
            yield f"{model.label}: {numbers.show(1)} of {dimensions} latent dimensions {words}."
