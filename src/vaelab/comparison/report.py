"""report.html of a comparison: a table to sort, interactive curves, pictures epoch by epoch."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vaelab.comparison.findings import findings
from vaelab.comparison.table import Column, shown_columns, spread
from vaelab.evaluation.runs import Family, Found, Model
from vaelab.figures.curves import styles
from vaelab.pages import charts
from vaelab.pages.glossary import meaning
from vaelab.pages.page import picture, plotly, render
from vaelab.pages.run_report import KINDS, one_figure, thinned
from vaelab.runs.folder import SPLIT_NAMES

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
    """A row per model; each number with its mean to sort by."""
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

CHARTS = ("curves.png",)
"""Figures that the page has as charts."""


def family_charts(family: Family, named: bool) -> list[dict[str, Any]]:
    """The curves of all models."""
    light, dark = (styles(family.kl_off, on_dark=on_dark) for on_dark in (False, True))
    colours = [[a.colour, b.colour] for a, b in zip(light, dark, strict=True)]
    where = f", {SPLIT_NAMES[family.scored]}" + (f" · {family.title}" if named else "")
    found = []
    for term, heading in {"reconstruction": "Reconstruction", "kl": "KL", "neg_elbo": "neg_elbo"}.items():
        key = f"{family.scored}/{term}"
        traces = [curve(model, key, pair) for model, pair in zip(family.models, colours, strict=True)]
        found.append({"title": f"{heading}{where}", **charts.over_epochs(traces)})
    return found


def curve(model: Model, key: str, colours: Sequence[str]) -> dict[str, Any]:
    """A model's mean over seeds, epoch by epoch."""
    values = model.history(key).mean(axis=0).tolist()
    return {
        "type": "scatter", "mode": "lines", "name": model.label,
        "x": list(range(1, len(values) + 1)), "y": [charts.finite(value) for value in values],
        "line": {"width": 2, "dash": "dash" if model.kl_off else "solid"},
        "meta": {"colours": colours}, "hovertemplate": "%{y:.2f}",
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
        kind: {label: thinned(folder.numbered(kind), most) for label, folder in runs.items()}
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
