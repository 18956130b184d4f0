"""What an evaluation measures: one module per section, here or in a plugin. No torch here, for --help.

A module registers a function under its own name, which is also the setting that switches it off:

    @sections.register("my_metric")  # metrics.my_metric=false
    def my_metric(evaluated: EvaluatedModel, progress: Progress) -> Section: ...

It raises CannotMeasure with the reason where it makes no sense for a run; the other sections continue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vaelab.config.registry import Registry

if TYPE_CHECKING:
    from vaelab.evaluation.model import EvaluatedModel, Progress
    from vaelab.evaluation.numbers import Section

    Measure = Callable[[EvaluatedModel, Progress], Section]

sections: Registry[Measure] = Registry("metrics", __name__, "vaelab.metrics")

MEASURES_VERSION = 5
"""Version of how numbers are measured; evaluations and cached features of another version are not used."""

READ_FIRST = ("bound", "nll", "latent", "classes", "samples", "images")
"""Sections that lead in tables, in this order; all others follow by name."""


def section_names() -> list[str]:
    """Every section in the order of tables."""
    found = sections.names()
    return [*(name for name in READ_FIRST if name in found), *sorted({*found} - {*READ_FIRST})]
