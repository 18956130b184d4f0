"""What report.html of a comparison shows: a table to sort, interactive curves, images epoch by epoch."""

from collections.abc import Sequence
from typing import Any

from vaelab.comparison.figures import over_seeds
from vaelab.config import counted
from vaelab.evaluation.runs import Family, FoundRuns
from vaelab.figures.curves import PANELS, VerticalAxis, epoch_ticks, styles
from vaelab.pages.page import chart, epoch_images
from vaelab.pages.run_report import KINDS
from vaelab.runs.folder import SPLIT_NAMES

DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
"""What plotly.js calls matplotlib's."""


def about_all(found: FoundRuns) -> str:
    """What is the same for all numbers."""
    parts = [
        "Numbers are of each run's last epoch; nats are per image. All numbers: comparison.csv, and "
        "evaluation/last/ of each run."
    ]
    if any(len(model.members) > 1 for family in found.families for model in family.models):
        parts.append("± is the standard deviation over seeds; comparison.csv has 95 % intervals.")
    return " ".join(parts)


def about(family: Family) -> str:
    """What the table's numbers are of."""
    first = family.models[0].members[0]
    data, images = first.facts["data"], first.facts["data"]["images"]
    of = (first.evaluation or {}).get("data", {"images": images["test"], "complete": data["complete"]})
    scored, tested = (
        counted(number, f"{SPLIT_NAMES[split]} image")
        for split, number in ((family.scored, images[family.scored]), ("test", of["images"]))
    )
    each = scored if scored == tested else f"{scored} (reconstruction, KL, total) and {tested} (all else)"
    parts = [f"Trained on {counted(images['train'], 'image')}, scored on {each}."]
    seeds = {tuple(model.seeds) for model in family.models}
    parts.append(f"Seeds: {', '.join(map(str, next(iter(seeds))))}." if len(seeds) == 1 else "")
    if not (data["complete"] and of["complete"]):
        parts.append("**Embedded subset: numbers don't compare with the full set's.**")
    return " ".join(filter(None, parts))


def curves(family: Family, several: bool) -> list[dict[str, Any]]:
    """The charts of curves.png, with the family's name where there are `several`."""
    paper = [styles(family.weights_to_draw, on_dark=on_dark) for on_dark in (False, True)]
    found = []
    splits = ("train", family.scored)
    for term, heading in PANELS.items():
        if term == "loss" and len(family.objectives) > 1:  # which don't compare
            continue
        by_split = {
            split: [over_seeds(model.history(f"{split}/{term}")) for model in family.models]
            for split in splits
        }
        axis = VerticalAxis.of(term, [each for found_of in by_split.values() for each in found_of])
        for split in splits:
            curves: dict[str, Sequence[float]] = {}
            looks: list[dict[str, Any]] = []
            for model, over, light, dark in zip(family.models, by_split[split], *paper, strict=True):
                meta = {"colours": [light.colour, dark.colour]}
                line = {"mode": "lines", "legendgroup": model.label, "meta": meta}
                edge = {**line, "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
                if len(model.members) > 1:
                    curves[f"{model.label}, low"] = over.low_E.tolist()
                    curves[f"{model.label}, high"] = over.high_E.tolist()
                    looks += [edge, {**edge, "fill": "tonexty"}]
                curves[model.label] = over.means.tolist()
                looks.append({**line, "line": {"width": 2, "dash": DASHES[light.dashes]}})
            title = f"{heading}, {SPLIT_NAMES.get(split, 'training')}"
            drawn = chart(f"{title} · {family.title}" if several else title, curves, looks)
            drawn["layout"]["yaxis"] |= axis.for_plotly()
            drawn["layout"]["xaxis"]["tickvals"] = epoch_ticks(
                max(len(each.means) for each in by_split[split])
            )
            found.append(drawn)
    return found


def epochs(found: FoundRuns) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The epochs' images by kind, then by model, of its first run."""
    runs = {
        f"{model.label} · {family.title}" if len(found.families) > 1 else model.label: model.members[0].folder
        for family in found.families
        for model in family.models
    }
    most = max(2, min(25, 300 // (len(KINDS) * len(runs) or 1)))  # 300 in the page, of many models fewer each
    by_kind = {
        kind: {
            label: epoch_images(numbered, most, widest=420)  # several stand side by side
            for label, folder in runs.items()
            if (numbered := folder.numbered(kind))
        }
        for kind in KINDS
    }
    return {kind: by_label for kind, by_label in by_kind.items() if by_label}
