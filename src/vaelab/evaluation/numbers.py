"""Numbers with their unit, split, sample size and seed, and sections of numbers as tables."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tabulate import tabulate
from torch import Tensor

from vaelab.config import VaelabError, counted
from vaelab.metrics.resampling import Score, mean_score
from vaelab.pages.glossary import bare, meaning, with_arrow
from vaelab.pages.numbers import written

NATS = "nats per image"
WIDTH = 100  # characters of a terminal


class CannotMeasure(VaelabError):
    """A section can't be measured for this run; the message says why. The others continue."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a number was measured on."""

    split: str
    images: int
    seed: int
    draws: int | None = None
    kind_of_draws: str | None = None  # what is counted: posterior samples per image, prior draws, …

    def __str__(self) -> str:
        draws = [] if self.draws is None else [f"{self.draws:,} {self.kind_of_draws}"]
        return " · ".join([f"{self.split} split", counted(self.images, "image"), *draws, f"seed {self.seed}"])


@dataclass(frozen=True, slots=True)
class Number:
    """One value with its unit and basis. Raises CannotMeasure if it is not finite."""

    value: float
    unit: str
    basis: Basis
    standard_error: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise CannotMeasure(
                f"the result is {self.value}: the model's outputs are not finite or too large"
            )

    def __str__(self) -> str:
        return written(self.value, self.standard_error)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they are saved in metrics.json."""
        plain = asdict(self)
        plain |= plain.pop("basis")
        return {key: value for key, value in plain.items() if value is not None}


def number_of(score: Score, unit: str, basis: Basis) -> Number:
    """A score of vaelab.metrics with its standard error."""
    return Number(score.value, unit, basis, score.standard_error)


def mean_of(values_N: Tensor, unit: str, basis: Basis) -> Number:
    """The average over images with its standard error.

    >>> import torch
    >>> str(mean_of(torch.tensor([1.0, 2.0, 3.0]), NATS, Basis("test", images=3, seed=0)))
    '2.00 ± 0.58'
    """
    return number_of(mean_score(values_N), unit, basis)


@dataclass(frozen=True, slots=True)
class Section:
    """A table of numbers: a row for each name, a column for each thing that was measured.

    >>> number = Number(240.5, NATS, Basis("test", images=100, seed=0))
    >>> Section.of_columns("The bound", {"model": {"neg_elbo": number}}).rows["neg_elbo"]["model"].value
    240.5
    """

    title: str
    rows: Mapping[str, Mapping[str, Number]]
    """By name, then by what was measured: `rows["fid_mnist_cnn"]["prior samples"]`."""
    remark: str = ""  # what a reader must know to read the numbers, a line for each thing
    verdicts: Sequence[str] = ()  # what they say, in words
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain values for metrics.json that are too long for a table."""

    @classmethod
    def of_columns(cls, title: str, columns: Mapping[str, Mapping[str, Number]], *more: Any) -> Section:
        """From the numbers by what was measured, then by name; `model` is the model as a whole."""
        names = dict.fromkeys(name for column in columns.values() for name in column)
        rows = {name: {of: each[name] for of, each in columns.items() if name in each} for name in names}
        return cls(title, rows, *more)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they are saved in metrics.json."""
        rows = {name: {of: each.to_dict() for of, each in row.items()} for name, row in self.rows.items()}
        return {**rows, **self.details}

    def table(self, said: set[str], notation: Callable[[str], str] = str) -> str:
        """The section as text: its numbers, what they say, and what a reader must know.

        Lines that are in `said` are left out, and those that are printed are added.
        """
        columns = list(dict.fromkeys(of for row in self.rows.values() for of in row))
        headings = ["\n".join(textwrap.wrap(of, 11, break_long_words=False)) for of in columns]
        lines = [
            [with_arrow(name), *(str(row.get(of, "")) for of in columns)] for name, row in self.rows.items()
        ]
        units = [next(iter(row.values())).unit for row in self.rows.values()]
        alignment = ["left", *["right"] * len(columns)]
        whole = [[*line, unit] for line, unit in zip(lines, units, strict=True)]
        text = tabulate(whole, ["", *headings, ""], colalign=[*alignment, "left"], disable_numparse=True)
        wide = max(map(len, text.splitlines())) > WIDTH
        if wide:  # then the units go below, and the whole names
            short = [[with_arrow(bare(name)), *line[1:]] for name, line in zip(self.rows, lines, strict=True)]
            text = tabulate(short, ["", *headings], colalign=alignment, disable_numparse=True)
        notes = [
            f"{name}{f' ({unit})' if wide else ''}: {meaning(name)}".removesuffix(": ")
            for name, unit in zip(self.rows, units, strict=True)
            if wide or meaning(name)
        ]
        bases = (str(number.basis) for row in self.rows.values() for number in row.values())
        notes = list(dict.fromkeys(map(notation, [*notes, *bases, *self.remark.splitlines()])))
        notes = [note for note in notes if note not in said]
        said |= {*notes}
        return "\n".join([self.title, text, *map(paragraph, [*map(notation, self.verdicts), *notes])])


def value_and_error(number: Number) -> tuple[float, float]:
    """The value and its standard error, 0 if unknown."""
    return number.value, number.standard_error or 0.0


def as_percent(share: Number) -> str:
    """`42.9 ± 0.6 %`, as many digits as the share has in a table."""
    error = share.standard_error
    return f"{replace(share, value=100 * share.value, standard_error=error and 100 * error)} %"


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
