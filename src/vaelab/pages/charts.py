"""Charts for plotly.js as plain values, `{"data": …, "layout": …}`; colours and fonts are common.js's."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def over_epochs(traces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Traces over epochs, in nats per image; hovering shows all values of an epoch."""
    axes = {"xaxis": {"title": {"text": "epoch"}}, "yaxis": {"title": {"text": "nats per image"}}}
    return {"data": list(traces), "layout": {**axes, "hovermode": "x unified"}}


def lines(epochs: Sequence[float], values: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Named curves over epochs, from the third on dotted."""
    traces = [
        {
            "type": "scatter", "mode": "lines+markers" if len(epochs) < 60 else "lines", "name": name,
            "x": list(epochs), "y": [finite(value) for value in y],
            "line": {"dash": "dot" if place > 1 else "solid", "width": 2},
            "marker": {"size": 5}, "meta": {"colour": place}, "hovertemplate": "%{y:.2f}",
        }
        for place, (name, y) in enumerate(values.items())
    ]  # fmt: skip
    return over_epochs(traces)


def finite(value: float) -> float | None:
    """JSON has no NaN: a gap."""
    return value if math.isfinite(value) else None
