"""A number always has its unit, split, sample size and seed; sections of numbers make a table."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tabulate import tabulate
from torch import Tensor

from vaelab.config import VaelabError

NATS = "nats per image"

WIDTH = 110
"""Characters of the table's longest lines."""


class CannotMeasure(VaelabError):
    """Why a section has no numbers here. The others go on."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a number was measured on."""

    split: str
    images: int
    seed: int
    draws: int | None = None
    kind_of_draws: str | None = None
    """What `draws` counts: posterior samples per image, prior draws, …"""

    def __str__(self) -> str:
        draws = [] if self.draws is None else [f"{self.draws:,} {self.kind_of_draws}"]
        return " · ".join([f"{self.split} split", f"{self.images:,} images", *draws, f"seed {self.seed}"])

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Number:
    """One value. Raises CannotMeasure where it is not finite."""

    value: float
    unit: str
    basis: Basis
    standard_error: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise CannotMeasure(
                f"the result is {self.value}: the model's outputs are not finite, or too large"
            )

    def __str__(self) -> str:
        if isinstance(self.value, int):
            return f"{self.value:,}"
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
        return f"{self.value:.2f}{error}" if abs(self.value) >= 100 else f"{self.value:.4g}{error}"

    def to_dict(self) -> dict[str, Any]:
        error = {} if self.standard_error is None else {"standard_error": self.standard_error}
        return {"value": self.value, "unit": self.unit, **error, **self.basis.to_dict()}


def mean_of(values_N: Tensor, unit: str, basis: Basis) -> Number:
    """The average over images with its standard error."""
    error = values_N.std().item() / math.sqrt(len(values_N)) if len(values_N) > 1 else None
    return Number(values_N.mean().item(), unit, basis, error)


@dataclass(frozen=True, slots=True)
class Section:
    """Numbers that are read together: a row for each name, a column for each thing it was measured of."""

    title: str
    rows: Mapping[str, Mapping[str, Number]]
    """By name, then by what was measured: `rows["fid_mnist_cnn"]["prior samples"]`."""
    remark: str = ""
    """What a reader must know to read the numbers."""
    verdicts: Sequence[str] = ()
    """What they say, in words."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain values for metrics.json that are too long for a table."""

    @classmethod
    def of_model(cls, title: str, rows: Mapping[str, Number], *more: Any) -> Section:
        """One column: numbers of the model as a whole."""
        return cls(title, {name: {"model": number} for name, number in rows.items()}, *more)

    def to_dict(self) -> dict[str, Any]:
        rows = {
            name: {of: number.to_dict() for of, number in columns.items()}
            for name, columns in self.rows.items()
        }
        return {**rows, **self.details}

    def table(self) -> str:
        """The section as text: its numbers, and below them what they were measured on."""
        columns = list(dict.fromkeys(of for row in self.rows.values() for of in row))
        lines = [
            [name, *(str(row[of]) if of in row else "" for of in columns), next(iter(row.values())).unit]
            for name, row in self.rows.items()
        ]
        alignment = ("left", *("right" for _ in columns), "left")
        text = tabulate(
            lines, [self.title, *columns, ""], tablefmt="simple", colalign=alignment, disable_numparse=True
        )
        bases = dict.fromkeys(str(number.basis) for row in self.rows.values() for number in row.values())
        below = [*bases, self.remark, *self.verdicts]
        return "\n".join([text, *(paragraph(line) for line in below if line)])


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def table(sections: Mapping[str, Section], missing: Mapping[str, str]) -> str:
    """All sections, and why other sections, or figures, are left out."""
    parts = [section.table() for section in sections.values()]
    if missing:
        reasons = [paragraph(f"{name}: {reason}") for name, reason in missing.items()]
        parts.append("\n".join(["Left out", *reasons]))
    return "\n\n".join(parts)
