"""The parts of a comparison's report.html besides its table: question, interactive charts, epochs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaelab.comparison.figures import over_seeds
from vaelab.comparison.findings import findings
from vaelab.comparison.table import cell, columns, measured
from vaelab.config import counted
from vaelab.evaluation.runs import CONDITIONAL, OBJECTIVE, Family, FoundRuns, Member, differing
from vaelab.figures.curves import (
    MINIMUM_SPAN,
    PANELS,
    VerticalAxis,
    collapse_rate,
    epoch_ticks,
    frontier,
    is_wide,
    round_numbers,
    styles,
)
from vaelab.pages.captions import title_of
from vaelab.pages.epochs import epochs_data
from vaelab.pages.glossary import bare
from vaelab.pages.links import relative
from vaelab.pages.page import chart, images
from vaelab.runs.folder import SPLIT_NAMES

DASHES = {"-": "none", "--": "7 4", ":": "2 3", "-.": "8 3 2 3"}
"""matplotlib's as SVG has them."""
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "^": "triangle",
    "v": "wye",
    "P": "cross",
    "*": "star",
    "h": "hexagon",
}
"""matplotlib's markers as Observable Plot calls them."""


def about_all(found: FoundRuns) -> str:
    """What is the same for all numbers."""
    return (
        "Numbers are those of each run's last epoch; nats are per image. All numbers are in comparison.csv "
        f"and in evaluation/last/ of each run.{about_spread(found)}"
    )


def about_spread(found: FoundRuns) -> str:
    """A sentence on ±, if any model has several seeds."""
    if all(len(model.members) == 1 for family in found.families for model in family.models):
        return ""
    return " ± is the standard deviation over seeds; comparison.csv has 95 % intervals."


def about(family: Family) -> str:
    """The images and seeds that the table's numbers come from."""
    first = family.models[0].members[0]
    data, images = first.facts["data"], first.facts["data"]["images"]
    of = (first.evaluation or {}).get("data", {"images": images["test"], "complete": data["complete"]})
    scored, tested = (
        counted(number, f"{SPLIT_NAMES[split]} image")
        for split, number in ((family.scored, images[family.scored]), ("test", of["images"]))
    )
    each = scored if scored == tested else f"{scored} (reconstruction, KL, neg_elbo) and {tested} (the rest)"
    parts = [f"Trained on {counted(images['train'], 'image')}, scored on {each}."]
    seeds = {tuple(model.seeds) for model in family.models}
    parts.append(f"Seeds: {', '.join(map(str, next(iter(seeds))))}." if len(seeds) == 1 else "")
    if not (data["complete"] and of["complete"]):
        parts.append("**Embedded subset: results are not comparable with those of the full set.**")
    return " ".join(filter(None, parts))


NAMES = {
    "kl": "the KL term",
    "beta": "β",
    "model.name": "the network",
    "model.latent_dim": "the number of latent dimensions",
    CONDITIONAL: "conditioning on the class",
    "dataset.name": "the data set",
    OBJECTIVE: "the objective",
}
"""What a question calls a setting; others have their own names."""


def question(families: Sequence[Family]) -> str:
    """What a comparison asks, and of which models: `What does β do? mlp, 2 latent dimensions, …, 3 seeds`."""
    models = [model for family in families for model in family.models]
    configs = [model.config for model in models]
    varying = differing(configs)
    if len({config.beta for config in configs if not config.kl_off}) < 2:
        varying = [key for key in varying if key != "beta"]
    if "model.name" in varying:  # each network has settings of its own
        varying = [key for key in varying if not key.startswith("model.") or key == "model.name"]
    names = list(dict.fromkeys(NAMES.get(key, key) for key in varying))
    does = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
    asked = f"What {'do' if len(names) > 1 else 'does'} {does} do?" if does else "How good is the model?"
    model = configs[0].model
    same = [] if "model.name" in varying else [str(model["name"])]
    if "model.latent_dim" not in varying and (latents := model.get("latent_dim")) is not None:
        same.append(counted(latents, "latent dimension"))
    images = {each.title: each.members[0].facts["data"]["description"] for each in families}
    same += [*images] if len(images) == 1 else dict.fromkeys(images.values())
    counts = sorted({len(each.members) for each in models})
    seeds = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
    return f"{asked} {', '.join([*same, f'{seeds} seed' + 's' * (counts[-1] > 1)])}"


def sentences(family: Family) -> list[tuple[str, str]]:
    """The findings, each with the aspect that it is of, or nothing."""
    aspects = [column.aspect or column.heading for column in columns(family)]
    found = []
    for said in findings(family):
        aspect = next((each for each in aspects if said.startswith(f"{each}: ")), "")
        found.append((MEASURES.get(aspect, aspect), said.removeprefix(f"{aspect}: ")))
    return found


MEASURES = {"sampling, generation": "FID of prior samples", "cluster separation": "silhouette of the classes"}
"""What is measured, for aspects that don't say it."""


def colours(families: Sequence[Family]) -> list[tuple[str, str]]:
    """A colour for each model of all families, on a light page and on a dark one."""
    looks = [
        [styles(family.weights_to_draw, on_dark=on_dark) for on_dark in (False, True)] for family in families
    ]
    return [(light.colour, dark.colour) for pair in looks for light, dark in zip(*pair, strict=True)]


def curves(family: Family, first: int) -> list[dict[str, Any]]:
    """The charts of curves.png; `first` is the number of the family's first model among those of all."""
    looks = styles(family.weights_to_draw)
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
            series = []
            for place, (model, over, look) in enumerate(
                zip(family.models, by_split[split], looks, strict=True)
            ):
                band = {"low": over.low_E, "high": over.high_E} if len(model.members) > 1 else {}
                number = first + place
                own = {"name": model.label, "model": number, "colour": number, "dash": DASHES[look.dashes]}
                series.append({**own, "values": over.means, **band})
            title = f"{family.notation(heading)}, {SPLIT_NAMES[split]}"
            ticks = epoch_ticks(max(len(each.means) for each in by_split[split]))
            found.append(chart(title, series, ticks, axis.for_page()))
    return found


def rate_distortion(family: Family, first: int) -> dict[str, Any]:
    """Rate against distortion after the last epoch, as in rate_distortion.png."""
    names = ("kl", "reconstruction")
    points = []
    for place, (model, look) in enumerate(zip(family.models, styles(family.weights_to_draw), strict=True)):
        over = [over_seeds(model.last(f"{family.scored}/{name}")) for name in names]
        intervals = [[float(each.low_E[-1]), float(each.high_E[-1])] for each in over]
        values = np.stack([each.values_SE[:, -1] for each in over], axis=1).tolist()
        points.append(
            {
                "name": model.label, "model": first + place, "colour": first + place,
                "symbol": SYMBOLS[look.marker], "units": f", {model.inactive}" if model.inactive else "",
                "x": float(over[0].means[-1]), "y": float(over[1].means[-1]),
                "intervals": intervals if len(model.members) > 1 else None,
                "seeds": [
                    {"x": x, "y": y, "title": f"{model.label}, seed {member.config.seed}"}
                    for (x, y), member in zip(values, model.members, strict=True)
                ],
            }
        )  # fmt: skip
    means_M2 = np.array([[each["x"], each["y"]] for each in points])
    spans = np.array([each["intervals"] or [[each["x"]] * 2, [each["y"]] * 2] for each in points])
    low_y, (high_x, high_y) = spans[:, 1, 0].min(), spans[:, :, 1].max(axis=0)
    margin = 0.08 * (high_y - low_y) + max(0.0, MINIMUM_SPAN - (high_y - low_y)) / 2
    across: dict[str, Any] = {"domain": [0.0, max(1.12 * high_x, 1.0)], "ticks": None}
    scale, rates = "", means_M2[:, 0].tolist()
    if logarithmic := is_wide(rates):
        low, high = 0.7 * min(rates), 1.5 * max(rates)
        across, scale = {"domain": [low, high], "ticks": round_numbers(low, high)}, ", logarithmic"
    said = "; ".join(f"{each['name']}: {each['x']:.2f} and {each['y']:.2f}{each['units']}" for each in points)
    return {
        "points": points,
        "frontier": frontier(means_M2).tolist(),
        "collapse": collapse_rate(rates, [bool(each["units"]) for each in points], logarithmic),
        "x": {**across, "label": family.notation(f"rate: KL(q(z|x) ‖ p(z)), nats per image{scale}")},
        "y": {
            "domain": [low_y - margin, high_y + margin],
            "label": family.notation("distortion: −log p(x|z), nats per image"),
        },
        "alt": f"Rate and distortion in nats per image after the last epoch. {said}",
    }


def report_of(member: Member, folder: Path) -> str | None:
    """The address of a run's report from the comparison's folder, where there is one."""
    report = member.folder.report
    return relative(report.absolute(), folder.absolute()) if report.is_file() else None


def learned(families: Sequence[Family], first: Sequence[int]) -> list[dict[str, Any]]:
    """Of each family its curves, and the epochs' latents and images of each model's first run.

    `first` are the numbers of the families' first models among those of all.
    """
    most = max(2, min(25, 100 // max(1, sum(len(each.models) for each in families))))  # epochs of a model
    found = []
    for family, number in zip(families, first, strict=False):
        runs = {model.label: model.members[0].folder for model in family.models}
        names = {int(key): name for key, name in family.members[0].facts["data"]["classes"].items()}
        seeds = sorted({model.seeds[0] for model in family.models})
        several = any(len(model.members) > 1 for model in family.models)
        found.append(
            {
                "title": family.title if len(families) > 1 else "",
                "curves": curves(family, number),
                "epochs": epochs_data(runs, names, most, points=1000, first=number),
                "about": f"Latents and images are those of seed {', '.join(map(str, seeds))}; curves show "
                "means over seeds, bands their 95 % confidence intervals." if several else "",
            }
        )  # fmt: skip
    return found


def captioned_figures(paths: Sequence[Path], family: Family) -> list[dict[str, Any]]:
    """A family's figures with titles, and what they show in a number of each model."""
    return [
        {**each, "title": title_of(each["stem"]), "conclusion": conclusion(each["stem"], family)}
        for each in images(paths)
    ]


CONCLUDED = {
    "latent_holes": ("prior_covered_percent", "prior draws that fall where a training image was encoded, %"),
    "samples": ("fid", "FID of prior samples"),
    "latent_spaces": ("knn_accuracy", "accuracy of the 10 nearest neighbours"),
    "reconstructions": ("reconstruction", "−log p(x|z) in nats"),
}
"""By figure, the column that says what it shows, without split and network, and in words."""


def conclusion(stem: str, family: Family) -> str:
    if stem not in CONCLUDED:
        return ""
    name, words = CONCLUDED[stem]
    column = next(each for each in columns(family) if bare(each.name) == name)
    unresolved = column.unresolved(family)
    said = "; ".join(
        f"{model.label} {'unknown, σ is too small' if model.label in unresolved else cell(model, column)}"
        for model in family.models
    )
    return f"{words[0].upper()}{family.notation(words[1:])}: {said}." if measured(family, [column]) else ""
