"""report.html of a comparison: its table to sort, its curves to ask, its pictures epoch by epoch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vaelab.comparison.findings import findings
from vaelab.comparison.runs import Family, Found, Model
from vaelab.comparison.table import Column, columns, shown_columns, spread
from vaelab.figures.comparison import styles
from vaelab.pages import charts
from vaelab.pages.glossary import meaning
from vaelab.pages.page import picture, plotly, render
from vaelab.pages.run_report import KINDS, one_figure, thinned

MOST_PICTURES = 300
"""Pictures of epochs in one page: with many models, fewer epochs of each."""

WIDEST = 420
"""Pixels of a picture of which several stand side by side."""


def comparison_report(
    found: Found,
    name: str,
    about: Mapping[str, str],
    figures: Mapping[str, Sequence[Path]],
    notes: Sequence[str],
) -> str:
    """The page. `about` says what a family's numbers are of, `figures` what was drawn of it, both by slug."""
    families = [
        {
            "title": family.title,
            "about": about[family.slug].replace("**", ""),
            "table": table(family),
            "findings": findings(family),
            "figures": [one_figure(path) for path in figures.get(family.slug, [])],
        }
        for family in found.families
    ]
    return render(
        "sweep.html.j2",
        title=f"{len(found.members)} runs compared",
        folder=name,
        families=families,
        has_figures=any(family["figures"] for family in families),
        curves=[
            chart for family in found.families for chart in family_charts(family, len(found.families) > 1)
        ],
        plotly=plotly(),
        pictures=pictures(found),
        kinds=KINDS,
        not_finished=found.not_finished,
        notes=notes,
    )  # fmt: skip


def table(family: Family) -> dict[str, Any]:
    """A row a model; each number with its mean to sort by."""
    shown = shown_columns(family)
    return {
        "headings": [
            {"text": "model", "meaning": ""}, {"text": "seeds", "meaning": ""},
            *({"text": column.heading, "meaning": meaning(column.name)} for column in shown),
        ],
        "rows": [
            [
                {"text": model.label, "value": number},
                {"text": ", ".join(map(str, model.seeds)), "value": len(model.seeds)},
                *(cell(model, column) for column in shown),
            ]
            for number, model in enumerate(family.models)
        ],
    }  # fmt: skip


def cell(model: Model, column: Column) -> dict[str, Any]:
    numbers = spread(model, column)
    if numbers is None:
        return {"text": "–", "value": ""}
    return {"text": numbers.show(column.digits), "value": numbers.mean}


# --- charts -----------------------------------------------------------------------------------------------


def family_charts(family: Family, named: bool) -> list[dict[str, Any]]:
    """Rate and distortion, and the curves of all models."""
    off = [model.kl_off for model in family.models]
    looks = list(zip(styles(off), styles(off, on_dark=True), strict=True))
    held = {"val": "held out", "test": "test"}[family.held_out]
    where = f" · {family.title}" if named else ""
    by_name = {column.name: column for column in columns(family)}
    rate, distortion = by_name[f"{family.held_out}/kl"], by_name[f"{family.held_out}/reconstruction"]
    betas = [model for model in family.models if not model.kl_off]
    along = [(spread(model, rate), spread(model, distortion)) for model in betas]
    points: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "showlegend": False, "hoverinfo": "skip",
            "line": {"width": 1}, "meta": {"colour": 2},
            "x": [charts.finite(x.mean) for x, _ in along if x],
            "y": [charts.finite(y.mean) for _, y in along if y],
        }
    ]  # fmt: skip
    for model, (light, dark) in zip(family.models, looks, strict=True):
        x, y = spread(model, rate), spread(model, distortion)
        assert x is not None
        assert y is not None
        seeds = (
            f"seeds {', '.join(map(str, model.seeds))}" if len(model.seeds) > 1 else f"seed {model.seeds[0]}"
        )
        points.append(
            {
                "type": "scatter", "mode": "markers+text", "name": model.label, "showlegend": False,
                "x": [charts.finite(x.mean)],
                "y": [charts.finite(y.mean)], "text": [model.label], "textposition": "top center",
                "cliponaxis": False,
                "error_x": {"array": [charts.finite(x.deviation or 0)]},
                "error_y": {"array": [charts.finite(y.deviation or 0)]},
                "marker": {"size": 11, "symbol": "diamond" if model.kl_off else "circle"},
                "meta": {"colours": [light.colour, dark.colour]},
                "hoverinfo": "text",
                "hovertext": f"{model.label}, {seeds}<br>KL {x.show(2)}<br>reconstruction {y.show(2)}",
            }
        )  # fmt: skip
    return [
        {
            "title": f"Rate and distortion, {held}{where}",
            **charts.chart(
                points, "KL, nats per image", "reconstruction, nats per image",
                xaxis={"title": {"text": "KL, nats per image"}, "type": "log" if any(off) else "linear"},
            ),
        },
        *(
            {
                "title": f"{heading}, {held}{where}",
                **charts.chart(
                    [
                        curve(model, f"{family.held_out}/{key}", pair)
                        for model, pair in zip(family.models, looks, strict=True)
                    ],
                    "epoch", "nats per image", hovermode="x unified",
                ),
            }
            for key, heading in (("reconstruction", "Reconstruction"), ("kl", "KL"), ("neg_elbo", "neg_elbo"))
        ),
    ]  # fmt: skip


def curve(model: Model, key: str, looks: tuple[Any, Any]) -> dict[str, Any]:
    """A model's mean over seeds, epoch by epoch."""
    epochs = min(len(member.history) for member in model.members)
    values = [
        statistics.fmean(member.history[epoch][key] for member in model.members) for epoch in range(epochs)
    ]
    return {
        "type": "scatter", "mode": "lines", "name": model.label,
        "x": list(range(1, epochs + 1)), "y": [charts.finite(value) for value in values],
        "line": {"width": 2, "dash": "dash" if model.kl_off else "solid"},
        "meta": {"colours": [look.colour for look in looks]}, "hovertemplate": "%{y:.2f}",
    }  # fmt: skip


# --- pictures ---------------------------------------------------------------------------------------------


def pictures(found: Found) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """By kind, then by model, its first run's pictures: `[{"epoch": 1, "source": …}, …]`."""
    many = len(found.families) > 1
    runs = {
        f"{model.label} · {family.title}" if many else model.label: model.members[0].folder
        for family in found.families
        for model in family.models
    }
    most = max(2, min(25, MOST_PICTURES // (len(KINDS) * len(runs) or 1)))
    paths = {
        kind: {label: thinned(folder.pictures(kind), most) for label, folder in runs.items()}
        for kind in KINDS
    }
    with ThreadPoolExecutor() as pool:
        return {
            kind: {label: list(pool.map(small, numbered)) for label, numbered in by_label.items() if numbered}
            for kind, by_label in paths.items()
            if any(by_label.values())
        }


def small(numbered: tuple[int, Path]) -> dict[str, Any]:
    epoch, path = numbered
    return {"epoch": epoch, **picture(path, WIDEST)}
