"""How a notebook displays results: HTML without scripts, with embedded images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from vaelab.config import VaelabError
from vaelab.config.train import notation
from vaelab.pages.numbers import written

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 20
"""Largest number of rows that a notebook shows: of a longer table, the first and the last ones."""


class Rows(list[dict[str, Any]]):
    """A list of dicts, one per row of a table; a notebook displays it as a table.

    It is a plain list whether or not pandas is installed; `to_pandas()` converts it to a DataFrame.

    >>> rows = vaelab.load("outputs/example").metrics
    >>> rows[0]["epoch"], list(rows.to_pandas()["epoch"])
    (1, [1])
    """

    def __init__(
        self,
        rows: Iterable[dict[str, Any]] = (),
        digits: Mapping[str, int] | None = None,
        conditional: bool = False,
    ) -> None:
        """`digits` are the decimals of a column; `conditional` says of which kind of model the rows are."""
        super().__init__(rows)
        self.digits, self.conditional = digits or {}, conditional

    def to_pandas(self) -> DataFrame:
        """A DataFrame; missing numbers are NaN. Raises VaelabError if pandas is not installed."""
        try:
            import pandas
        except ImportError as error:
            raise VaelabError("to_pandas() needs pandas: run pip install pandas.") from error
        frame = pandas.DataFrame(list(self))
        for name in frame:  # what is missing among numbers is NaN, as pandas has it
            values = frame[name].replace({"": None}).dropna()
            if len(values) and all(isinstance(each, int | float) for each in values):
                frame[name] = pandas.to_numeric(frame[name], errors="coerce")
        return frame

    def _repr_html_(self) -> str:
        from vaelab.pages.page import render  # jinja2: only for a notebook

        half = SHOWN // 2
        shown = [*self[:half], {}, *self[-half:]] if len(self) > SHOWN else self
        names = list(dict.fromkeys(name for row in self for name in row))
        texts = [self._texts(row) for row in shown]
        cells = [[row.get(name, "" if row else "…") for name in names] for row in texts]
        return notation(render("rows.cell.html.j2", names=names, rows=cells), self.conditional)

    def _texts(self, row: Mapping[str, Any]) -> dict[str, str]:
        found = {name: as_text(value, self.digits.get(name)) for name, value in row.items()}
        if row.get("standard_error") is not None:
            found["value"], found["standard_error"] = written(row["value"], row["standard_error"]).split(
                " ± "
            )
        return found


def as_text(value: Any, digits: int | None = None) -> str:
    """A number as the pages show it; nothing for None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return written(value, digits=digits)
    return "" if value is None else str(value)


def frame(page: str, height: int) -> str:
    """HTML that shows a whole page in a sandboxed frame: its scripts can't access the notebook."""
    look = "width:100%;border:1px solid #8888"
    allowed = "allow-scripts allow-downloads"
    return Markup('<iframe sandbox="{}" style="{};height:{}px" srcdoc="{}"></iframe>').format(
        allowed, look, height, page
    )
