"""The findings of a comparison in words: which models differ clearly, by t-tests over seeds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from vaelab.comparison.statistics import LEVEL, Difference, differences, tested
from vaelab.comparison.table import NOT_RANKED, Column, by_seed, columns, estimate
from vaelab.evaluation.runs import Family
from vaelab.pages.glossary import bare
from vaelab.pages.numbers import written

TYPICAL_ALONE = (
    "These images lie where real images are densest and cover hardly any of the others, which does not "
    "indicate quality."
)
ONE_SEED = "one seed each: not tested"


def findings(family: Family) -> list[str]:
    """Sentences, each from numbers of the tables, and how they were tested."""
    found = columns(family)
    by_name = {column.name: column for column in found}
    fid = next(name for name in by_name if bare(name) == "fid")
    ranked = [(column, ranking) for column in found if (ranking := ranking_of(family, column))]
    without_kl, pairs = sampling_without_kl(family, by_name[fid], by_name[f"{fid}_mixture"])
    return [
        *not_tested(family),
        *(verdict(column, ranking) for column, ranking in ranked),
        *without_kl,
        *methods([*(ranking.pairs for _, ranking in ranked), pairs]),
        *typical_alone(family, by_name["precision"], by_name["recall"]),
        *collapse(
            family, by_name["collapsed"], "that are collapsed to the prior, with less than 0.01 nats of KL"
        ),
        *collapse(family, by_name["constant"], "with nearly the same posterior mean for all images"),
    ]


def not_tested(family: Family) -> Iterator[str]:
    """A sentence on what to type if models have too few seeds to be tested; else nothing."""
    alone = [model.label for model in family.models if len(model.members) < 2]
    if alone and len(family.models) > 1:
        some = f" from {' and from '.join(alone)}" if len(alone) < len(family.models) else ""
        yield (
            f"Differences{some} were not tested: a test needs two or more seeds of each model. Add "
            "seed=1,2,3, for example, to the sweep."
        )


@dataclass(frozen=True)
class Ranking:
    """The tested models of a column, the best first, and all pairs of them in that order."""

    order: Sequence[str]
    pairs: Sequence[Difference]
    resolution: float
    """The smallest difference that is meaningful, whatever its p-value."""

    def too_small(self, pair: Difference) -> bool:
        return pair.clear and abs(pair.mean) < self.resolution

    @property
    def clear(self) -> list[Difference]:
        return [each for each in self.pairs if each.clear and not self.too_small(each)]


def ranking_of(family: Family, column: Column) -> Ranking | None:
    """The ranking in a column; None if it ranks no models, or fewer than two have several seeds."""
    if not column.ranks:
        return None
    unresolved = column.unresolved(family)
    values = {model.label: column.ranked(model) for model in family.models if model.label not in unresolved}
    means = {label: fmean(each.values()) for label, each in values.items() if len(each) > 1}
    order = sorted(means, key=means.__getitem__, reverse=column.better == "↑")
    place = {label: number for number, label in enumerate(order)}
    pairs = [
        each.against(min(each.first, each.second, key=place.__getitem__)) for each in differences(values)
    ]
    pairs.sort(key=lambda each: (place[each.first], place[each.second]))
    return Ranking(order, pairs, column.resolution(family)) if pairs else None


def in_short(family: Family, column: Column) -> str:
    """The verdict of a column for its row of the table."""
    if unresolved := column.unresolved(family):
        if len(family.models) - len(unresolved) < 2:
            return f"{NOT_RANKED} (σ too small: {', '.join(unresolved)})"
        return f"{ranked_in_short(family, column)} (not ranked, σ too small: {', '.join(unresolved)})"
    return ranked_in_short(family, column)


def ranked_in_short(family: Family, column: Column) -> str:
    if not column.ranks or len(family.models) < 2:
        return column.unranked
    ranking = ranking_of(family, column)
    if ranking is None:
        return ONE_SEED
    clear, single = ranking.clear, len(ranking.pairs) == 1
    if not clear:
        small = any(map(ranking.too_small, ranking.pairs))
        of = [f"below the resolution of the measure, {ranking.resolution:.2g}"] if small else []
        of = [*of, *([p_value(ranking.pairs[0])] if single else [])]
        return f"no clear difference ({', '.join(of)})" if of else "no clear difference"
    parts = []
    for first in dict.fromkeys(each.first for each in clear):
        others = [each.second for each in clear if each.first == first]
        all_others = first == ranking.order[0] and len(others) == len(ranking.order) - 1 > 1
        parts.append(f"{first} {column.word} than {'all others' if all_others else ', '.join(others)}")
    return f"{parts[0]} ({p_value(clear[0])})" if single else "; ".join(parts)


def verdict(column: Column, ranking: Ranking) -> str:
    """Which models differ clearly in a column."""
    order, pairs, clear = ranking.order, ranking.pairs, ranking.clear
    neighbours = list(pairwise(order))
    shown = [each for each in clear if each.first == order[0] or (each.first, each.second) in neighbours]
    parts = []
    for first in dict.fromkeys(each.first for each in shown):
        others = [f"than {each.second} by {effect(each, column)}" for each in shown if each.first == first]
        parts.append(f"{first} is {column.word} {', '.join(others)}")
    alike = [each for each in pairs if each.first == order[0] and each not in clear]

    def by(pair: Difference) -> str:
        small = f", below the resolution of the measure ({ranking.resolution:.2g})"
        return f"{effect(pair, column)}{small if ranking.too_small(pair) else ''}"

    if not clear and len(order) > 2:
        most = f"the largest is between {order[0]} and {order[-1]}, {by(alike[-1])}"
        parts.append(f"no clear difference between any two of {len(order)} models; {most}")
    elif alike:
        others = [f"{each.second}: {by(each)}" for each in alike]
        parts.append(f"no clear difference between {order[0]} and {', and '.join(others)}")
    if len(shown) < len(clear):
        parts.append(f"further clear differences: {len(clear) - len(shown)}")
    return f"{column.aspect or column.heading}: {'; '.join(parts)}."


def effect(difference: Difference, column: Column) -> str:
    """`1.24 nats (0.90 to 1.58, p = 0.004)`: the size of a difference, its 95 % interval, and p."""
    larger = difference if difference.mean >= 0 else difference.against(difference.second)
    size, low, high = (
        written(float(value), digits=column.digits) for value in (larger.mean, *larger.interval)
    )
    if column.unit == "(nats)":
        size += " nats"
    if math.isinf(larger.interval[1]):
        return f"{size} (without variation over seeds, so not testable)"
    return f"{size} ({low} to {high}, {p_value(larger)})"


def p_value(difference: Difference) -> str:
    return "p < 0.001" if difference.p < 0.001 else f"p = {difference.p:.2g}"


def methods(tested_together: Sequence[Sequence[Difference]]) -> Iterator[str]:
    """How the pairs of each column were tested, in one sentence for all."""
    pairs = [pair for pairs in tested_together for pair in pairs]
    if not pairs:
        return
    paired = {each.paired for each in pairs}
    test = "paired t-tests" if paired == {True} else "Welch's t-tests"
    if len(paired) > 1:
        test = "paired t-tests where two models have the same seeds, else Welch's,"
    seeds = sorted({each.seeds for each in pairs})
    count = " to ".join(map(str, sorted({seeds[0], seeds[-1]})))
    several, corrected = " for that pair alone", " after Holm's correction for the pairs of a column"
    most = max(map(len, tested_together))
    yield (
        f"All differences were tested by {test} over {count} seeds; each is given with its 95 % interval"
        f"{several if most > 1 else ''}, and p{corrected if most > 1 else ''}. A difference is clear where "
        f"p ≤ {LEVEL:g} and it is not below the resolution of the measure."
    )


def sampling_without_kl(
    family: Family, prior: Column, mixture: Column
) -> tuple[list[str], Sequence[Difference]]:
    """Whether models without KL give better samples from the prior or from a mixture of latents."""
    without_kl = [model for model in family.models if model.kl_off]
    both = [(model, by_seed(model, prior), by_seed(model, mixture)) for model in without_kl]
    both = [each for each in both if min(map(len, each[1:])) > 1]
    pairs = tested([(("prior samples", own), ("mixture samples", fitted)) for _, own, fitted in both])
    said = []
    for (model, _, _), each in zip(both, pairs, strict=True):
        lower, higher = (each.first, each.second) if each.mean < 0 else (each.second, each.first)
        found = f"lower for {lower} than for {higher}, by {effect(each, prior)}"
        if not each.clear:
            found = f"no clear difference between {lower} and {higher}: {effect(each, prior)}"
        said.append(f"FID of {model.label}: {found}.")
    return said, pairs


def typical_alone(family: Family, precision: Column, recall: Column) -> Iterator[str]:
    """Where a precision above that of real images is not a merit, because recall is low."""
    for model in family.models:
        exact, found = estimate(model, precision), estimate(model, recall)
        real, covered = precision.references(model), recall.references(model)
        if not (exact and found and real and covered):
            continue
        floor = fmean(real)
        shown = written(floor, digits=3)
        if exact.mean - floor > 2 * precision.resolution(family) and found.mean < fmean(covered) / 10:
            yield (
                f"{model.label}: precision {exact.show(3)} is above that of real images, {shown}, while "
                f"recall is {found.show(3)}. {TYPICAL_ALONE}"
            )


def collapse(family: Family, column: Column, words: str) -> Iterator[str]:
    """A sentence on the models with latent dimensions that carry no information about the image."""
    found = []
    for model in family.models:
        numbers = estimate(model, column)
        if numbers is not None and numbers.mean > 0:
            shown = numbers.show(0 if len(model.members) == 1 else 1)
            found.append(f"{model.label}: {shown} of {model.config.model.get('latent_dim', 'its')}")
    if found:
        yield f"Latent dimensions {words}: {', '.join(found)}."
