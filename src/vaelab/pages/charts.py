"""Charts for plotly.js as plain values, `{"data": …, "layout": …}`; colours and fonts are common.js's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    """Its place among the page's line colours."""
    dashed: bool = False


def chart(data: Sequence[Mapping[str, Any]], x_title: str, y_title: str, **layout: Any) -> dict[str, Any]:
    """Traces on a plane with named axes."""
    axes = {"xaxis": {"title": {"text": x_title}}, "yaxis": {"title": {"text": y_title}}}
    return {"data": list(data), "layout": {**axes, **layout}}


def lines(series: Sequence[Series], x_title: str, y_title: str) -> dict[str, Any]:
    """Lines with a point at each value; hovering shows all values at an x."""
    return chart(
        [
            {
                "type": "scatter",
                "mode": "lines+markers" if len(each.x) < 60 else "lines",
                "name": each.name,
                "x": list(each.x),
                "y": [finite(value) for value in each.y],
                "line": {"dash": "dot" if each.dashed else "solid", "width": 2},
                "marker": {"size": 5},
                "meta": {"colour": each.colour},
                "hovertemplate": "%{y:.2f}",
            }
            for each in series
        ],
        x_title,
        y_title,
        hovermode="x unified",
    )


def finite(value: float) -> float | None:
    """JSON has no NaN: a gap."""
    return value if math.isfinite(value) else None
