"""A comparison as a table: a row per model, mean and standard deviation over seeds."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from vaelab.comparison.statistics import Estimate
from vaelab.config import look_up
from vaelab.evaluation.runs import Family, Member, Model
from vaelab.evaluation.sections.samples import FLOOR
from vaelab.runs.folder import SPLIT_NAMES


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a run."""

    name: str
    heading: str
    """The heading, with the unit."""
    lower_is_better: bool | None = None
    digits: int = 2
    path: str = ""
    """Where metrics.json of the last checkpoint has it: section.name.of_what. Else it is the last epoch's."""

    def value(self, member: Member) -> float | None:
        if self.name == "seconds":
            return sum(row["seconds"] for row in member.rows)
        if not self.path:
            return member.rows[-1].get(self.name)
        return look_up(member.evaluation or {}, f"numbers.{self.path}.value")


def columns(family: Family) -> list[Column]:
    """The columns of a family's table: numbers of the last epoch, and of the last checkpoint's evaluation."""
    split, name = family.scored, family.models[0].members[0].facts["data"]["name"]
    scored, fid, prior, means = SPLIT_NAMES[split], f"fid_{name}_cnn", "prior samples", "posterior means"
    return [
        Column("train/reconstruction", "reconstruction, training (nats)", True),
        Column("train/kl", "KL, training (nats)"),
        Column(f"{split}/reconstruction", f"reconstruction, {scored} (nats)", True),
        Column(f"{split}/kl", f"KL, {scored} (nats)"),
        Column(f"{split}/neg_elbo", f"neg_elbo at weight 1, {scored} (nats)", True),
        Column("active_units", "active units (test)", None, 0, "latent.active_units.model"),
        Column("collapsed", "collapsed to the prior (test)", None, 0, "latent.collapsed_dimensions.model"),
        Column("constant", "constant posteriors (test)", None, 0, "latent.constant_dimensions.model"),
        Column("knn_accuracy", f"k-NN accuracy of {means}", False, 3, f"classes.knn_accuracy.{means}"),
        Column("silhouette", "silhouette of the classes", False, 3, f"classes.silhouette.{means}"),
        Column("sharpness_reconstructions", "sharpness of reconstructions (real: 1)", False, 3,
               "images.sharpness_ratio.reconstructions"),
        Column("sharpness", "sharpness of samples (real: 1)", False, 3, f"images.sharpness_ratio.{prior}"),
        Column("diversity", "diversity of samples (real: 1)", False, 3, f"images.diversity_ratio.{prior}"),
        Column(fid, f"{fid}, {prior}", True, 1, f"samples.{fid}.{prior}"),
        Column(f"{fid}_mixture", f"{fid}, mixture samples", True, 1, f"samples.{fid}.mixture samples"),
        Column(f"{fid}_floor", f"{fid}, floor", None, 2, f"samples.{fid}.{FLOOR}"),
        Column("seconds", "training time (s)", digits=0),
    ]  # fmt: skip


def by_seed(model: Model, column: Column) -> dict[int, float]:
    """The number of each seed that has it."""
    found = {member.config.seed: column.value(member) for member in model.members}
    return {seed: value for seed, value in found.items() if value is not None}


def estimate(model: Model, column: Column) -> Estimate | None:
    """None where no run of the model has the number."""
    values = by_seed(model, column)
    return Estimate.of(values.values()) if values else None


def table(family: Family) -> list[tuple[str, str, list[tuple[str, Any]]]]:
    """A row per number that a model has: heading, name, and for each model a text and a value to sort by."""
    models = family.models
    rows: list[tuple[str, str, list[tuple[str, Any]]]] = [
        ("model", "model", [(model.label, place) for place, model in enumerate(models)]),
        ("seeds", "seeds", [(", ".join(map(str, model.seeds)), len(model.seeds)) for model in models]),
    ]
    for column in columns(family):
        numbers = [estimate(model, column) for model in models]
        if any(numbers):
            cells = [(each.show(column.digits), each.mean) if each else ("–", "") for each in numbers]
            rows.append((column.heading, column.name, cells))
    return rows


def markdown(family: Family) -> str:
    """The table with a column per model: more numbers than models, so that it fits a page."""
    (_, *labels), *rows = ([heading, *(text for text, _ in cells)] for heading, _, cells in table(family))
    rows.insert(0, ["objective", *(model.config.objective_name for model in family.models)])
    rows.insert(2, ["epochs", *(str(model.config.epochs) for model in family.models)])
    alignment = ["left", *["right"] * len(labels)]
    return tabulate(rows, ["", *labels], tablefmt="github", colalign=alignment, disable_numparse=True)


def comma_separated(families: Sequence[Family], not_finished: Mapping[str, str]) -> str:
    """comparison.csv: a row per model with each number's mean, `<name>`, and more over seeds.

    `<name>_n` is the count of seeds, `_std` the standard deviation, `_low` and `_high` the 95 % confidence
    interval of the mean; the last three are empty of one seed.
    """
    rows: list[dict[str, Any]] = []
    for family in families:
        for model in family.models:
            config = model.config
            row: dict[str, Any] = {
                "data": family.title, "model": model.label, "objective": config.objective_name,
                "beta": "" if model.kl_off else config.beta, "kl": not model.kl_off,
                "network": config.model["name"], "latent_dim": config.model.get("latent_dim", ""),
                "seeds": " ".join(map(str, model.seeds)), "epochs": config.epochs, "status": "finished",
            }  # fmt: skip
            for column in columns(family):
                if (found := estimate(model, column)) is not None:
                    low, high = found.interval or (None, None)
                    row |= {
                        column.name: found.mean, f"{column.name}_n": found.count,
                        f"{column.name}_std": found.standard_deviation,
                        f"{column.name}_low": low, f"{column.name}_high": high,
                    }  # fmt: skip
            rows.append(row)
    rows += [{"model": name, "status": reason} for name, reason in not_finished.items()]
    text = io.StringIO(newline="")
    names = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
