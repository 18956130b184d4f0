"""A comparison as a table: a row a model, mean and standard deviation over seeds."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from vaelab.comparison.runs import Family, Member, Model
from vaelab.evaluation.measures import FLOOR


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a run."""

    name: str
    heading: str
    """With the unit."""
    value: Callable[[Member], float | None]
    lower_is_better: bool | None = None
    digits: int = 2


def from_evaluation(*path: str) -> Callable[[Member], float | None]:
    """A number of metrics.json: section, name, of what."""

    def value(member: Member) -> float | None:
        found: Any = (member.evaluation or {}).get("numbers", {})
        for key in path:
            found = found.get(key, {}) if isinstance(found, Mapping) else {}
        return found.get("value") if isinstance(found, Mapping) else None

    return value


def from_history(key: str) -> Callable[[Member], float | None]:
    return lambda member: member.last.get(key)


def columns(family: Family) -> list[Column]:
    """The columns of a family's table: numbers of the last epoch, and of the last checkpoint's evaluation."""
    held, name = family.held_out, family.models[0].members[0].facts["data"]["name"]
    scored = {"val": "held out", "test": "test"}[held]
    fid, prior, means = f"fid_{name}_cnn", "prior samples", "posterior means"

    def row(key: str, heading: str, lower_is_better: bool | None = None) -> Column:
        return Column(key, heading, from_history(key), lower_is_better)

    def measured(
        key: str, heading: str, path: tuple[str, str, str], lower_is_better: bool | None, digits: int
    ) -> Column:
        return Column(key, heading, from_evaluation(*path), lower_is_better, digits)

    return [
        row("train/reconstruction", "reconstruction, train (nats)", True),
        row("train/kl", "KL, train (nats)"),
        row(f"{held}/reconstruction", f"reconstruction, {scored} (nats)", True),
        row(f"{held}/kl", f"KL, {scored} (nats)"),
        row(f"{held}/neg_elbo", f"neg_elbo at weight 1, {scored} (nats)", True),
        Column("active_units", "active units", from_history("active_units"), digits=0),
        measured("collapsed", "collapsed dimensions", ("latent", "collapsed_dimensions", "model"), None, 0),
        measured("knn_accuracy", "k-NN accuracy of latents", ("classes", "knn_accuracy", means), False, 3),
        measured("silhouette", "silhouette of the classes", ("classes", "silhouette", means), False, 3),
        measured(
            "sharpness_reconstructions", "sharpness, reconstructions (of real)",
            ("images", "sharpness_ratio", "reconstructions"), False, 3,
        ),
        measured("sharpness", "sharpness, samples (of real)", ("images", "sharpness_ratio", prior), False, 3),
        measured("diversity", "diversity, samples (of real)", ("images", "diversity_ratio", prior), False, 3),
        measured(fid, f"{fid}, prior samples", ("samples", fid, prior), True, 1),
        measured(f"{fid}_mixture", f"{fid}, mixture samples", ("samples", fid, "mixture samples"), True, 1),
        measured(f"{fid}_floor", f"{fid}, floor", ("samples", fid, FLOOR), None, 2),
        Column("seconds", "training time (s)", lambda member: member.seconds, digits=0),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spread:
    """A number over the seeds of a model."""

    values: Sequence[float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds; None of one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def show(self, digits: int) -> str:
        spread = "" if self.deviation is None else f" ± {self.deviation:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread}"


def spread(model: Model, column: Column) -> Spread | None:
    """None where no run of the model has the number."""
    values = [value for member in model.members if (value := column.value(member)) is not None]
    return Spread(values) if values else None


def shown_columns(family: Family) -> list[Column]:
    """Those that any model has a number for."""
    return [column for column in columns(family) if any(spread(model, column) for model in family.models)]


def markdown(family: Family) -> str:
    """The table with a column a model: more numbers than models, so that it fits a page."""
    rows: list[list[str]] = [
        ["objective", *(model.config.objective for model in family.models)],
        ["seeds", *(", ".join(map(str, model.seeds)) for model in family.models)],
        ["epochs", *(str(model.config.epochs) for model in family.models)],
    ]
    for column in shown_columns(family):
        found = [spread(model, column) for model in family.models]
        rows.append([column.heading, *("–" if each is None else each.show(column.digits) for each in found)])
    headings = ["", *(model.label for model in family.models)]
    alignment = ("left", *("right" for _ in family.models))
    return tabulate(rows, headings, tablefmt="github", colalign=alignment, disable_numparse=True)


def comma_separated(families: Sequence[Family], not_finished: Mapping[str, str]) -> str:
    """comparison.csv: a row a model, `<name>` a mean over seeds and `<name>_std` their standard deviation."""
    rows: list[dict[str, Any]] = []
    for family in families:
        for model in family.models:
            config = model.config
            row: dict[str, Any] = {
                "data": family.title, "model": model.label, "objective": config.objective,
                "beta": "" if model.kl_off else config.beta, "kl": not model.kl_off,
                "network": config.model["name"], "latent_dim": config.model.get("latent_dim", ""),
                "seeds": " ".join(map(str, model.seeds)), "epochs": config.epochs, "status": "finished",
            }  # fmt: skip
            for column in columns(family):
                if (found := spread(model, column)) is not None:
                    row |= {column.name: found.mean, f"{column.name}_std": found.deviation}
            rows.append(row)
    rows += [{"model": name, "status": reason} for name, reason in not_finished.items()]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
