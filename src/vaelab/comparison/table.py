"""The tables of a comparison: a row per number, a column per model, mean and spread over seeds."""

import csv
import io
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from tabulate import tabulate

from vaelab.comparison.statistics import Estimate
from vaelab.config import look_up
from vaelab.evaluation.model import kind_of_pixels
from vaelab.evaluation.runs import Family, Member, Model
from vaelab.evaluation.sections.samples import FLOOR
from vaelab.pages.captions import LEAST_COVERED
from vaelab.pages.glossary import near_ceiling, row_of
from vaelab.pages.numbers import written
from vaelab.pages.published import published
from vaelab.runs.folder import SPLIT_NAMES

TERMINAL = 100
"""Largest width of a table on a terminal, in characters."""
NOT_RANKED = "–"
NLL = "numbers.nll.nll.model"
NETWORK = "numbers.samples.features.network"


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a run, with how it is shown, compared and ranked."""

    name: str
    heading: str
    """What is measured, with the unit."""
    better: str = ""
    """What is better, as ARROWS_MEAN has it; nothing where neither is."""
    digits: int = 2
    path: str = ""
    """Where metrics.json of the last checkpoint has it: section.name.of_what. Else it is the last epoch's."""
    aspect: str = ""
    """The aspect of the models that it measures. Numbers with an aspect are in the first table."""
    meaning: str = ""
    """A sentence on what it tells, for that table."""
    reference: tuple[str, str] = ("", "")
    """A value to compare with, or where metrics.json has it, and what that is of."""
    covered: bool = False
    """Whether metrics.json has the share not covered, of which the complement is shown, in percent."""
    unranked: str = ""
    """Why no verdict is drawn from it."""

    @property
    def ranks(self) -> bool:
        """Whether a verdict is drawn from it."""
        return bool(self.aspect and not self.unranked) or self.name == "knn_accuracy"

    @property
    def word(self) -> str:
        """How a verdict describes the better of two models, such as `lower`."""
        return {"↓": "lower", "→": "closer to 1"}.get(self.better, "higher")

    def ranked(self, model: Model) -> dict[int, float]:
        """The number of each seed, or, where closer to real images is better, its distance from theirs, 1."""
        found = by_seed(model, self)
        return {seed: abs(value - 1) for seed, value in found.items()} if self.better == "→" else found

    @property
    def title(self) -> str:
        return f"{self.aspect or self.heading} {self.better}".rstrip()

    @property
    def unit(self) -> str:
        """For a table without headings: nats or %, or nothing."""
        return "(nats)" if self.heading.endswith("(nats)") else "(%)" if self.heading.startswith("%") else ""

    def value(self, member: Member) -> float | None:
        if self.name == "seconds":
            return sum(row["seconds"] for row in member.rows)
        return self.at(self.path, member) if self.path else member.rows[-1].get(self.name)

    def at(self, path: str, member: Member, what: str = "value") -> float | None:
        section, name, of = path.split(".", 2)
        rows = look_up(member.evaluation or {}, f"numbers.{section}") or {}
        found: float | None = look_up(row_of(rows, name) or {}, f"{of}.{what}")
        if found is not None and self.covered:
            return 100 * (found if what == "standard_error" else 1 - found)
        return found

    def resolution(self, family: Family) -> float:
        """The smallest meaningful difference: half a unit of the last digit, or the standard error.

        The larger of the two counts. The standard error is the mean of the evaluations', if they have one.
        """
        errors = [self.at(self.path, member, "standard_error") for member in family.members if self.path]
        known = [error for error in errors if error is not None]
        return max(0.5 * 10**-self.digits, sum(known) / len(known) if known else 0.0)

    def unresolved(self, family: Family) -> list[str]:
        """The models for which it means nothing: their posteriors don't cover the test images' samples."""
        if not self.covered:
            return []
        found = {model.label: self.references(model) for model in family.models}
        return [label for label, values in found.items() if values and fmean(values) < LEAST_COVERED]

    def references(self, model: Model) -> list[float]:
        """What metrics.json has of each run to compare with."""
        found = (self.at(self.reference[0], member) for member in model.members)
        return [value for value in found if value is not None]

    def show_reference(self, family: Family) -> str:
        """`0.32 (real images)`: one value if all models share it, else one each or, for many, the range."""
        where, what = self.reference
        if known := published_settings(family, self.name):
            return f"{known} (published)"
        if "." not in where:
            return f"{where} ({what})" if where else ""
        found = [self.references(model) for model in family.models]
        means = [fmean(values) for values in found if values]
        ends = [written(end(means), digits=self.digits) for end in (min, max) if means]
        shown = [written(fmean(values), digits=self.digits) if values else "–" for values in found]
        as_range = len({*ends}) < 2 or len(shown) > 3
        numbers = " to ".join(dict.fromkeys(ends)) if as_range else ", ".join(shown)
        return f"{numbers} ({what})" if any(found) else ""


def published_settings(family: Family, name: str) -> str:
    """The published values for exactly these settings, in the order of the models; else an empty string."""
    data = family.members[0].facts["data"]
    found = [published(model.config, data, name) for model in family.models]
    return ", ".join(written(each[0], digits=2) for each in found if each) if all(found) else ""


def columns(family: Family) -> list[Column]:
    """A family's numbers: those of the last epoch, and of the last checkpoint's evaluation."""
    known = columns_of(family)
    if not family.conditional:
        return known
    texts = [family.notation(each.meaning.replace("−log p(x)", "−log p(x|y)")) for each in known]
    return [
        replace(each, heading=family.notation(each.heading), meaning=text)
        for each, text in zip(known, texts, strict=True)
    ]


def columns_of(family: Family) -> list[Column]:
    split = family.scored
    scored, prior, means = SPLIT_NAMES[split], "prior samples", "posterior means"
    of_networks = (look_up(each.evaluation or {}, NETWORK) for each in family.members)
    network = next(filter(None, of_networks), "")
    fid = f"fid_{network}" if network else "fid"
    pixels = kind_of_pixels(family.members[0].facts["data"])
    bernoulli = family.models[0].config.loss.likelihood_name == "bernoulli"
    grey = bernoulli and pixels == "grey"
    floor = "; for grey pixels it is at least their entropy, not 0" if grey else ""
    nll = [found for member in family.members if (found := look_up(member.evaluation or {}, NLL))]
    drawn = f", K = {nll[0]['draws']:,}, {nll[0]['images']:,} test images" if nll else ""
    no_likelihood = "; for grey pixels nll is not a likelihood" if grey else ""
    real, by_pixels = f"samples.{{}}.{FLOOR}", f"classes.{{}}.{pixels} pixels"
    return [
        Column(
            f"{split}/reconstruction", f"−log p(x|z), {scored} (nats)", "↓", 2, "", "final reconstruction",
            f"What the decoder fails to explain of an image{floor}.",
        ),
        Column(
            f"{split}/kl", f"KL(q(z|x) ‖ p(z)), {scored} (nats)", "", 2, "", "KL",
            "How far an image's posterior is from the prior; at 0 the latents carry no information "
            "about the image.",
            ("0", "the prior"),
            unranked=NOT_RANKED,
        ),
        Column(
            f"{split}/neg_elbo", f"reconstruction + KL, unweighted, {scored} (nats)", "↓", 2, "", "neg_elbo",
            "The negative ELBO, an upper bound on −log p(x), for any beta used in training.",
        ),
        Column(
            "nll", f"importance-weighted bound on −log p(x){drawn} (nats)", "↓", 2, "nll.nll.model",
            "nll",
            f"Closer to −log p(x) than neg_elbo, which favours models that minimise it{no_likelihood}.",
        ),
        Column(
            fid, f"{fid} of prior samples", "↓", 1, f"samples.fid.{prior}", "sampling, generation",
            "Fréchet distance between images decoded from prior draws and real images, on features of a "
            "small classifier, not of Inception.", (real.format("fid"), "real images"),
        ),
        Column(
            "sharpness", "variance of the Laplacian of prior samples", "→", 3,
            f"images.sharpness_ratio.{prior}", "sharpness",
            "Relative to real images; low where images are blurred. Noise raises it, so it does not rank "
            "models; read it beside the FID.", ("1", "real images"), unranked="none: noise is sharp too",
        ),
        Column(
            "diversity", "mean distance between prior samples", "→", 3, f"images.diversity_ratio.{prior}",
            "diversity", "Relative to real images; low where samples look alike.", ("1", "real images"),
        ),
        Column(
            "silhouette", f"silhouette of the classes in {means}", "↑", 3, f"classes.silhouette.{means}",
            "cluster separation", "From −1 to 1: how much nearer an image is to its own class than to the "
            "nearest other one.", (by_pixels.format("silhouette"), f"{pixels} pixels"),
        ),
        Column(
            "prior_covered_percent", "% of prior draws where a training image was encoded", "↑", 1,
            "latent.prior_not_covered.model", "latent space: continuity",
            "The others lie in holes, which no training image's posterior covers. Reference: the same for "
            f"posterior samples of test images. Where it is below {LEAST_COVERED:.0f} %, the posteriors are "
            "too narrow (σ too small) to identify holes.",
            ("latent.posterior_not_covered.model", "test images"), covered=True,
        ),
        Column(
            "marginal_kl", "KL(q(z) ‖ p(z)) (nats)", "↓", 2, "latent.marginal_kl.model",
            "latent space: distance from the prior", "How far the aggregate posterior q(z) is from the "
            "prior. ≤: an upper limit, because there are too few images to measure it.",
            ("0", "the prior"), unranked=NOT_RANKED,
        ),
        Column(
            "total_correlation", "TC(z) (nats)", "↓", 2, "latent.total_correlation.model",
            "latent space: total correlation" if family.losses_differ else "",
            "How far the latent dimensions of q(z) are from independent.", unranked=NOT_RANKED,
        ),
        *([Column("train/loss", "loss, training (nats)")] if len(family.objectives) == 1 else []),
        Column("train/reconstruction", "reconstruction, training (nats)", "↓"),
        Column("train/kl", "KL, training (nats)"),
        Column(
            "active_units", "active units (test)", "", 0, "latent.active_units.model",
            "latent space: active units" if family.losses_differ else "",
            "Latent dimensions whose posterior mean varies over the images.", unranked=NOT_RANKED,
        ),
        Column("collapsed", "collapsed to the prior (test)", "", 0, "latent.collapsed_dimensions.model"),
        Column("constant", "constant posteriors (test)", "", 0, "latent.constant_dimensions.model"),
        Column("knn_accuracy", f"k-NN accuracy of {means}", "↑", 3, f"classes.knn_accuracy.{means}",
               reference=(by_pixels.format("knn_accuracy"), f"{pixels} pixels")),
        Column("sharpness_reconstructions", "sharpness of reconstructions", "→", 3,
               "images.sharpness_ratio.reconstructions", reference=("1", "real images")),
        Column(f"{fid}_mixture", f"{fid} of mixture samples", "↓", 1, "samples.fid.mixture samples",
               reference=(real.format("fid"), "real images")),
        *(
            Column(each, f"{each} of {prior}", "↑", 3, f"samples.{each}.{prior}",
                   reference=(real.format(each), "real images"))
            for each in ("precision", "recall")
        ),
        Column(f"{fid}_floor", f"{fid}, floor", "", 2, f"samples.fid.{FLOOR}"),
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


def cell(model: Model, column: Column) -> str:
    """`0.52 ± 0.01`, or a dash."""
    found = estimate(model, column)
    at_most = "≤ " if column.name == "marginal_kl" and any(map(at_ceiling, model.members)) else ""
    return "–" if found is None else f"{at_most}{found.show(column.digits)}"


def at_ceiling(member: Member) -> bool:
    """Whether an evaluation's images are too few for I(x; z), so that KL(q(z) ‖ p(z)) is overestimated."""
    numbers = (member.evaluation or {}).get("numbers", {})
    found = look_up(numbers, "latent.mutual_information.model") or {"value": -math.inf, "images": 1}
    return near_ceiling(found["value"], found["images"])


def measured(family: Family, among: Iterable[Column]) -> list[Column]:
    """The columns that any model has."""
    return [each for each in among if any(by_seed(model, each) for model in family.models)]


def groups(family: Family) -> list[tuple[str, list[tuple[Column, list[str], str]]]]:
    """All numbers that a model has, in groups: a title, and of each number the models' and a reference."""
    rows = [
        (column, [cell(model, column) for model in family.models], column.show_reference(family))
        for column in measured(family, columns(family))
    ]
    return [
        ("Answers", [row for row in rows if row[0].aspect]),
        ("Training", [row for row in rows if not row[0].aspect and not row[0].path]),
        ("Latent space and samples", [row for row in rows if not row[0].aspect and row[0].path]),
    ]


def answers(family: Family) -> list[tuple[Column, list[str], str]]:
    """The rows of the first table: of each aspect what the models have, and the reference."""
    return [
        (column, [cell(model, column) for model in family.models], column.show_reference(family))
        for column in measured(family, (each for each in columns(family) if each.aspect))
    ]


def markdown(family: Family, verdicts: Mapping[str, str]) -> str:
    """The first table: a row per aspect with its measure, the models, a reference and the verdict."""
    rows = [
        [f"**{column.title}**<br>{column.heading}", *cells, reference, verdicts[column.name]]
        for column, cells, reference in answers(family)
    ]
    return as_markdown(["", *(model.label for model in family.models), "reference", "verdict"], rows)


def further(family: Family) -> str:
    """The second table: setup and all other numbers."""
    models = family.models
    rows = [
        ["objective", *(model.config.objective_name for model in models), ""],
        ["seeds", *(", ".join(map(str, model.seeds)) for model in models), ""],
        ["epochs", *map(epochs_of, models), ""],
    ]
    rows += [
        [column.title, *(cell(model, column) for model in models), column.show_reference(family)]
        for column in measured(family, columns(family))
        if not column.aspect and not column.name.endswith("_floor")
    ]
    return as_markdown(["", *(model.label for model in models), "reference"], rows)


def epochs_of(model: Model) -> str:
    """How many epochs its runs were trained, `4 to 7` where early stopping made them differ."""
    counts = sorted({len(member.rows) for member in model.members})
    return " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))


def as_markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    alignment = ["left", *["right"] * (len(rows[0]) - 1)] if rows else None
    if rows and headings[-1] == "verdict":
        alignment = [*(alignment or [])[:-1], "left"]
    cells = [[cell.replace("|", r"\|") for cell in row] for row in (headings, *rows)]
    return tabulate(cells[1:], cells[0], tablefmt="github", colalign=alignment, disable_numparse=True)


def on_terminal(family: Family, width: int) -> str:
    """The first table: a column per model or, for many models, a row each with as many means as have room."""
    found = answers(family)
    rows = [[f"{column.title.split(': ')[-1]} {column.unit}".rstrip(), *cells] for column, cells, _ in found]
    labels = [model.label for model in family.models]
    text = plain_table(["", *labels], rows)
    shown = len(rows)
    while wide(text, width) and shown:
        headings = ["", *(row[0].replace(" ", "\n") for row in rows[:shown])]
        means = zip(*([cell.split(" ±")[0] for cell in row[1:]] for row in rows[:shown]), strict=True)
        text = plain_table(
            headings, [[label, *cells] for label, cells in zip(labels, means, strict=True)], 20
        )
        shown -= wide(text, width)
    missing = ", ".join(column.aspect for column, _, _ in found[shown:])
    return f"{text}\n{textwrap.fill(f'Only in comparison.md: {missing}.', width)}" if missing else text


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]], first: int | None = None) -> str:
    """`first` is how wide the first column may be."""
    rest = len(headings) - 1
    return tabulate(
        rows, headings, colalign=["left", *["right"] * rest], disable_numparse=True,
        maxcolwidths=[first, *[None] * rest],
    )  # fmt: skip


def wide(text: str, width: int) -> bool:
    return max(map(len, text.splitlines())) > width


def plain_rows(families: Sequence[Family], not_finished: Mapping[str, str]) -> list[dict[str, Any]]:
    """What comparison.csv has: a row per model with each number's mean, `<name>`, and more over seeds.

    `<name>_n` is the count of seeds, `_std` the standard deviation, `_low` and `_high` the 95 % confidence
    interval of the mean; the last three are empty for one seed.
    """
    rows: list[dict[str, Any]] = []
    for family in families:
        for model in family.models:
            config, counts = model.config, [len(member.rows) for member in model.members]
            row: dict[str, Any] = {
                "data": family.title, "model": model.label, "objective": config.objective_name,
                "beta": "" if model.kl_off else config.beta, "kl": not model.kl_off,
                "network": config.model["name"], "latent_dim": config.model.get("latent_dim", ""),
                "seeds": " ".join(map(str, model.seeds)), "status": "finished",
                "epochs": " ".join(map(str, counts if len({*counts}) > 1 else counts[:1])),
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
    return rows + [{"model": name, "status": reason} for name, reason in not_finished.items()]


def decimals(families: Sequence[Family]) -> dict[str, int]:
    """The decimals of the columns of `plain_rows`, as the tables have them."""
    found = {column.name: column.digits for family in families for column in columns(family)}
    return {f"{name}{of}": digits for name, digits in found.items() for of in ("", "_std", "_low", "_high")}


def comma_separated(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV."""
    text = io.StringIO(newline="")
    names = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
