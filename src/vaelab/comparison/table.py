"""A comparison as a table: a row per model, mean and standard deviation over seeds."""

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from vaelab.config import look_up
from vaelab.evaluation.runs import Family, Member, Model
from vaelab.evaluation.sections.samples import FLOOR
from vaelab.runs.folder import SPLIT_NAMES


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
    key = ".".join(("numbers", *path, "value"))
    return lambda member: look_up(member.evaluation or {}, key)


def from_history(key: str) -> Callable[[Member], float | None]:
    return lambda member: member.rows[-1].get(key)


def columns(family: Family) -> list[Column]:
    """The columns of a family's table: numbers of the last epoch, and of the last checkpoint's evaluation."""
    split, name = family.scored, family.models[0].members[0].facts["data"]["name"]
    scored, fid, prior, means = SPLIT_NAMES[split], f"fid_{name}_cnn", "prior samples", "posterior means"
    of_history = [
        ("train/reconstruction", "reconstruction, training (nats)", True),
        ("train/kl", "KL, training (nats)", None),
        (f"{split}/reconstruction", f"reconstruction, {scored} (nats)", True),
        (f"{split}/kl", f"KL, {scored} (nats)", None),
        (f"{split}/neg_elbo", f"neg_elbo at weight 1, {scored} (nats)", True),
    ]
    of_evaluation = [
        ("collapsed", "collapsed dimensions", ("latent", "collapsed_dimensions", "model"), None, 0),
        ("knn_accuracy", "k-NN accuracy of posterior means", ("classes", "knn_accuracy", means), False, 3),
        ("silhouette", "silhouette of the classes", ("classes", "silhouette", means), False, 3),
        ("sharpness_reconstructions", "sharpness of reconstructions (real: 1)",
         ("images", "sharpness_ratio", "reconstructions"), False, 3),
        ("sharpness", "sharpness of samples (real: 1)", ("images", "sharpness_ratio", prior), False, 3),
        ("diversity", "diversity of samples (real: 1)", ("images", "diversity_ratio", prior), False, 3),
        (fid, f"{fid}, prior samples", ("samples", fid, prior), True, 1),
        (f"{fid}_mixture", f"{fid}, mixture samples", ("samples", fid, "mixture samples"), True, 1),
        (f"{fid}_floor", f"{fid}, floor", ("samples", fid, FLOOR), None, 2),
    ]  # fmt: skip
    return [
        *(Column(key, heading, from_history(key), lower) for key, heading, lower in of_history),
        Column("active_units", "active units", from_history("active_units"), digits=0),
        *(
            Column(key, heading, from_evaluation(*path), lower, digits)
            for key, heading, path, lower, digits in of_evaluation
        ),
        Column(
            "seconds",
            "training time (s)",
            lambda member: sum(row["seconds"] for row in member.rows),
            digits=0,
        ),
    ]


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
    """Those that at least one model has a number for."""
    return [column for column in columns(family) if any(spread(model, column) for model in family.models)]


def markdown(family: Family) -> str:
    """The table with a column per model: more numbers than models, so that it fits a page."""
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
    """comparison.csv: a row per model, `<name>` its mean over seeds, `<name>_std` the deviation."""
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
