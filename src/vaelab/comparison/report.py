"""What report.html of a comparison shows: a table to sort, interactive curves, images epoch by epoch."""

from typing import Any

from vaelab.evaluation.runs import Family, FoundRuns
from vaelab.figures.curves import styles
from vaelab.pages.page import chart, epoch_images
from vaelab.pages.run_report import KINDS
from vaelab.runs.folder import SPLIT_NAMES


def about(family: Family) -> str:
    """What the table's numbers are of."""
    first = family.models[0].members[0]
    data, images = first.facts["data"], first.facts["data"]["images"]
    of = (first.evaluation or {}).get("data", {"images": images["test"], "complete": data["complete"]})
    parts = [
        f"After each run's last epoch. Nats per image. Trained on {images['train']:,} images, "
        f"scored on {images[family.scored]:,} {SPLIT_NAMES[family.scored]} images; latent space, samples "
        f"and image statistics: {first.folder.last_checkpoint.name} on {of['images']:,} test images, see "
        "evaluation/last/ of each run."
    ]
    if any(len(model.members) > 1 for model in family.models):
        parts.append("Mean ± standard deviation over seeds; comparison.csv has 95 % intervals too.")
    if not (data["complete"] and of["complete"]):
        parts.append("**Embedded subset: numbers don't compare with the full set's.**")
    return " ".join(parts)


def curves(family: Family, several: bool) -> list[dict[str, Any]]:
    """Charts of all models, means over seeds; with the family's name where there are `several`."""
    paper = [styles(family.kl_weights, on_dark=on_dark) for on_dark in (False, True)]
    looks = [
        {
            "mode": "lines",
            "line": {"width": 2, "dash": "dash" if model.kl_off else "solid"},
            "meta": {"colours": [light.colour, dark.colour]},
        }
        for model, light, dark in zip(family.models, *paper, strict=True)
    ]
    where = f", {SPLIT_NAMES[family.scored]}" + (f" · {family.title}" if several else "")
    found = []
    for term, heading in {"reconstruction": "Reconstruction", "kl": "KL", "neg_elbo": "neg_elbo"}.items():
        histories = {model.label: model.history(f"{family.scored}/{term}") for model in family.models}
        means = {label: values_SE.mean(axis=0).tolist() for label, values_SE in histories.items()}
        found.append(chart(f"{heading}{where}", means, looks))
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
