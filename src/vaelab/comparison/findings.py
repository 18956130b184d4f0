"""The findings of a comparison: sentences with numbers, none where the seeds' spread is larger."""

import math
from collections.abc import Iterator

from vaelab.comparison.table import Column, Spread, columns, spread
from vaelab.evaluation.runs import Family


def findings(family: Family) -> list[str]:
    """Sentences, each from numbers of the table."""
    by_name = {column.name: column for column in columns(family)}
    fid = next(name for name in by_name if name.startswith("fid_"))
    return [
        *best(family, by_name[f"{family.scored}/reconstruction"], "reconstructs best"),
        *best(family, by_name[f"{family.scored}/neg_elbo"], "has the lowest neg_elbo at weight 1"),
        *best(
            family, by_name["knn_accuracy"], "has the best k-NN accuracy of posterior means", is_share=True
        ),
        *best(family, by_name["sharpness"], "has the sharpest samples from the prior"),
        *best(family, by_name[fid], "has the best samples from the prior"),
        *collapse(family, by_name["collapsed"]),
        *sampling_without_kl(family, by_name[fid], by_name[f"{fid}_mixture"]),
    ]


def standard_error(family: Family, share: float) -> float:
    """Standard error of a share of the evaluated images, such as an accuracy."""
    members = [member for model in family.models for member in model.members]
    images = [found["data"]["images"] for member in members if (found := member.evaluation)]
    return math.sqrt(share * (1 - share) / min(images))


def best(family: Family, column: Column, what: str, is_share: bool = False) -> Iterator[str]:
    """The best model of a column, if it is better by more than the seeds' spread and the standard error."""
    found = [(model, numbers) for model in family.models if (numbers := spread(model, column)) is not None]
    if len(found) < 2:
        return
    found.sort(key=lambda pair: pair[1].mean, reverse=not column.lower_is_better)
    (first, a), (second, b) = found[0], found[1]
    shown = f"{column.heading}: {a.show(column.digits)}, then {second.label} with {b.show(column.digits)}"
    noise = math.hypot(*(standard_error(family, each.mean) for each in (a, b))) if is_share else 0.0
    if clear(a, b, noise):
        yield f"{first.label} {what} ({shown}{one_seed(a, b)})."
        return
    worst, c = found[-1]
    if len(found) > 2 and clear(a, c, noise):
        yield (
            f"No model clearly {what}: {first.label} and {second.label} differ by less than the spread over "
            f"seeds ({shown}); {worst.label} is worse with {c.show(column.digits)}."
        )


def clear(a: Spread, b: Spread, noise: float = 0.0) -> bool:
    """Whether two means differ by more than both seeds' spreads, and the noise of measuring, together."""
    return abs(a.mean - b.mean) > math.hypot(a.deviation or 0.0, b.deviation or 0.0, noise)


def one_seed(*spreads: Spread) -> str:
    return "; one seed, so its spread is unknown" if any(each.deviation is None for each in spreads) else ""


def collapse(family: Family, column: Column) -> Iterator[str]:
    """The models with collapsed latent dimensions."""
    for model in family.models:
        numbers = spread(model, column)
        if numbers is not None and numbers.mean > 0:
            dimensions = model.config.model.get("latent_dim", "its")
            yield (
                f"{model.label}: {numbers.show(1)} of {dimensions} latent dimensions carry less than "
                "0.01 nats: collapsed."
            )


def sampling_without_kl(family: Family, prior: Column, mixture: Column) -> Iterator[str]:
    """Whether the models without KL can be sampled, from the prior and otherwise."""
    best_prior = [
        (model, each) for model in family.models if not model.kl_off and (each := spread(model, prior))
    ]
    for model in family.models:
        own, fitted = spread(model, prior), spread(model, mixture)
        if not model.kl_off or own is None or fitted is None:
            continue
        compared = ""
        if best_prior:
            other, numbers = min(best_prior, key=lambda pair: pair[1].mean)
            compared = f", where the best prior's samples ({other.label}) have {numbers.show(1)}"
        if clear(own, fitted) and fitted.mean < own.mean:
            yield (
                f"{model.label} is not sampled well from the prior: FID {own.show(1)}, and {fitted.show(1)} "
                f"from a mixture fitted to posterior samples{compared}{one_seed(own)}."
            )
        elif clear(own, fitted):
            yield (
                f"{model.label} is sampled best from the prior: FID {own.show(1)}, and "
                f"{fitted.show(1)} from a mixture{compared}{one_seed(own)}."
            )
