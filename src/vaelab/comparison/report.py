"""What a comparison writes for readers: comparison.md, and report.html with a table to sort and charts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaelab.comparison.findings import findings
from vaelab.comparison.table import markdown, shown_columns
from vaelab.evaluation.runs import Family, Found
from vaelab.figures.comparison import styles
from vaelab.pages.page import chart, epoch_pictures, pictures, plotly, render, trace
from vaelab.pages.run_report import KINDS
from vaelab.runs.folder import SPLIT_NAMES

MOST_PICTURES = 300
"""Pictures of epochs in one page: with many models, fewer epochs of each."""

WIDEST = 420
"""Pixels of a picture of which several stand side by side."""


@dataclass(frozen=True)
class Report:
    """What was found in a folder of runs, with the figures of each family in its order, in `folder`."""

    folder: Path
    found: Found
    figures: Sequence[Sequence[Path]]

    @property
    def title(self) -> str:
        return f"{len(self.found.members)} runs compared"

    def markdown(self, notes: Sequence[str]) -> str:
        """For each family table, findings and figures; then what is left out, and why."""
        found = self.found
        parts = [f"# {self.title}"]
        if len(found.families) > 1:
            parts.append(
                f"They fall into {len(found.families)} families whose numbers don't compare: other images, "
                "or another likelihood."
            )
        for family, figures in zip(found.families, self.figures, strict=True):
            parts += [f"## {family.title}", about(family), markdown(family)]
            parts.append(f"### Findings\n\n{bullets(findings(family)) or 'None that is clear.'}")
            parts += [f"![{path.name}]({path.relative_to(self.folder).as_posix()})" for path in figures]
        if found.not_finished:
            reasons = [f"{name}: {reason}" for name, reason in found.not_finished.items()]
            parts.append(f"## Not finished\n\n{bullets(reasons)}")
        if notes:
            parts.append(f"## Notes\n\n{bullets(notes)}")
        return "\n\n".join(parts) + "\n"

    def page(self, notes: Sequence[str]) -> str:
        """report.html."""
        found = self.found
        several = len(found.families) > 1
        return render(
            "sweep.html.j2",
            title=self.title,
            folder=str(self.folder.parent),
            families=[
                {
                    "title": family.title,
                    "about": about(family).replace("**", ""),
                    "table": table(family),
                    "findings": findings(family),
                    "figures": pictures(
                        [path for path in figures if path.suffix == ".png" and path.stem != "curves"]
                    ),  # the curves are in the page already
                }
                for family, figures in zip(found.families, self.figures, strict=True)
            ],
            curves=[each for family in found.families for each in curves(family, several)],
            plotly=plotly(),
            pictures=epochs(found),
            kinds=KINDS,
            not_finished=found.not_finished,
            notes=notes,
        )


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def about(family: Family) -> str:
    """What the table's numbers are of."""
    first = family.models[0].members[0]
    data, images = first.facts["data"], first.facts["data"]["images"]
    parts = [
        f"After each run's last epoch. Nats per image. Trained on {images['train']:,} images, "
        f"scored on {images[family.scored]:,} {SPLIT_NAMES[family.scored]} images; latent space, samples "
        f"and image statistics: {first.folder.last_checkpoint.name} on test images, see evaluation/last/ "
        "of each run."
    ]
    if any(len(model.members) > 1 for model in family.models):
        parts.append("± is the standard deviation over seeds.")
    if not data["complete"]:
        parts.append("**Embedded subset: numbers don't compare with the full set's.**")
    return " ".join(parts)


def table(family: Family) -> dict[str, Any]:
    """Headings with the names of their numbers; a row per model, each text with a value to sort by."""
    headings = [("model", "model"), ("seeds", "seeds")]
    rows: list[list[tuple[str, Any]]] = [
        [(model.label, place), (", ".join(map(str, model.seeds)), len(model.seeds))]
        for place, model in enumerate(family.models)
    ]
    for column, numbers in shown_columns(family):
        headings.append((column.heading, column.name))
        for row, each in zip(rows, numbers, strict=True):
            row.append((each.show(column.digits), each.mean) if each else ("–", ""))
    return {"headings": headings, "rows": rows}


def curves(family: Family, several: bool) -> list[dict[str, Any]]:
    """Charts of all models, means over seeds; with the family's name where there are `several`."""
    light, dark = (styles(family.kl_off, on_dark=on_dark) for on_dark in (False, True))
    where = f", {SPLIT_NAMES[family.scored]}" + (f" · {family.title}" if several else "")
    found = []
    for term, heading in {"reconstruction": "Reconstruction", "kl": "KL", "neg_elbo": "neg_elbo"}.items():
        traces = [
            trace(
                model.label,
                model.history(f"{family.scored}/{term}").mean(axis=0).tolist(),
                "dash" if model.kl_off else "solid",
                meta={"colours": [on_light.colour, on_dark.colour]},
            )
            for model, on_light, on_dark in zip(family.models, light, dark, strict=True)
        ]
        found.append(chart(f"{heading}{where}", traces))
    return found


def epochs(found: Found) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """By kind, then by model, its first run's pictures, without those that have none."""
    runs = {
        f"{model.label} · {family.title}" if len(found.families) > 1 else model.label: model.members[0].folder
        for family in found.families
        for model in family.models
    }
    most = max(2, min(25, MOST_PICTURES // (len(KINDS) * len(runs) or 1)))
    by_kind = {
        kind: {
            label: epoch_pictures(numbered, most, WIDEST)
            for label, folder in runs.items()
            if (numbered := folder.pictures(kind))
        }
        for kind in KINDS
    }
    return {kind: by_label for kind, by_label in by_kind.items() if by_label}
