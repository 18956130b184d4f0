"""report.html of a run: its numbers next to references, what it learned in each epoch, and its settings."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from vaelab.config import CONF_DIR, Config, flattened, quote_override, read_yaml, resolve_saved, show
from vaelab.figures.curves import OverSeeds, VerticalAxis, epoch_ticks, scheduled
from vaelab.figures.style import SCORED, TRAIN, on_dark
from vaelab.pages import captions
from vaelab.pages.epochs import KINDS, epochs_data
from vaelab.pages.links import linked
from vaelab.pages.numbers import written
from vaelab.pages.page import chart, images, render
from vaelab.pages.published import published
from vaelab.runs.folder import SPLIT_NAMES, RunFolder

SHOWN_BY_SLIDER = ("loss_curves", "latent_space", "latent_space_plain", "samples", "reconstructions")
"""Figures that the page has as data, where it does."""

Card = tuple[str, str, str, str]  # name, value, unit, what to compare it with


def write_run_report(folder: RunFolder, facts: Mapping[str, Any] | None = None) -> None:
    """Write report.html into a run's folder, from the files that are there; `facts` stand for run.json."""
    facts = folder.read_run_json() if facts is None else facts
    history = folder.read_metrics() if folder.metrics_csv.is_file() else []
    config = resolve_saved(read_yaml(folder.config_yaml))
    class_names = {int(number): name for number, name in facts["data"]["classes"].items()}
    epochs = epochs_data({"run": folder}, class_names)
    evaluations = folder.evaluations()
    first = next(iter(evaluations.values()), {})
    split = facts["data"]["scored_each_epoch"]
    of_last: captions.SavedNumbers = next(
        (each["numbers"] for each in evaluations.values() if each["checkpoint"]["epoch"] == len(history)), {}
    )
    if epochs:
        stems = {"latent": "latent_space", "samples": "samples", "reconstructions": "reconstructions_ranked"}
        epochs["conclusions"] = {kind: captions.conclusion(stem, of_last) for kind, stem in stems.items()}
    shown = curves(history, split) if history else []
    page = render(
        "run.html.j2",
        title=f"{config.label(config.model.get('latent_dim'))} · {facts['data']['description']}",
        folder=folder.name,
        checkpoint=quote_override("checkpoint", folder.path),
        facts=facts,
        changed=changed(config),
        seed=config.seed,
        splits=SPLIT_NAMES,
        likelihood=show(facts["likelihood"]),
        cards=cards(config, facts, history, first),
        learned=[{"title": "", "about": "", "curves": shown, "epochs": epochs}],
        progress=progress(history, split) if history else "",
        colours=[(TRAIN, on_dark(TRAIN)), (SCORED, on_dark(SCORED))],
        kinds=KINDS,
        last=history[-1] if history else {},
        best=next((row for row in history if facts["best"] and row["epoch"] == facts["best"]["epoch"]), None),
        number=written,
        evaluations=list(evaluations.values()),
        table=table,
        figures=figures(folder, evaluations, [*epochs["kinds"]] if epochs else [], of_last),
    )
    folder.write_text(folder.report, linked(config.notation(page), folder.report))


def cards(
    config: Config,
    facts: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    evaluation: Mapping[str, Any],
) -> list[Card]:
    """At most four numbers of a run, each with its unit and a reference; none before the end of an epoch."""
    if not history:
        return []
    split, last = facts["data"]["scored_each_epoch"], history[-1]
    found: list[Card] = []
    for name in ("neg_elbo", "reconstruction", "kl"):
        key = f"{split}/{name}"
        reference = f"training images {last[f'train/{name}']:.2f}"
        if known := published(config, facts["data"], key):
            reference = f"published {known[0]:.2f} ({known[1]})"
        elif known := published(config, facts["data"], f"train/{name}"):
            reference = f"training {last[f'train/{name}']:.2f}, published {known[0]:.2f} ({known[1]})"
        unit = f"nats, {SPLIT_NAMES[split]} images, epoch {last['epoch']}"
        found.append((name, written(last[key], digits=2), unit, reference))
    numbers = evaluation.get("numbers", {})
    if not numbers:
        return found
    return [*found[:1], *evaluated_cards(numbers, evaluation["checkpoint"]["file"])]


def evaluated_cards(numbers: captions.SavedNumbers, checkpoint: str) -> list[Card]:
    """Numbers of an evaluation next to those of real images, of pixels, and of posterior samples."""
    accuracies = numbers.get("classes", {}).get("knn_accuracy", {})
    pixels = next((of for of in accuracies if of.endswith("pixels")), "pixels")
    found: list[Card] = []
    for name, unit, percent, (section, row), of, beside, words in (
        ("FID of prior samples", "squared distance", "", ("samples", "fid"), "prior samples",
         ("fid", "real images (floor)"), "real images"),
        ("k-NN accuracy", "classes from the latent space", " %", ("classes", "knn_accuracy"),
         "posterior means", ("knn_accuracy", pixels), f"from {pixels}"),
        ("prior draws in holes", "covered by no posterior", " %", ("latent", "prior_not_covered"),
         "model", ("posterior_not_covered", "model"), "posterior samples"),
    ):  # fmt: skip
        with suppress(LookupError):
            scale = 100 if percent else 1
            own = written(scale * captions.value(numbers, section, row, of), digits=1)
            other = written(scale * captions.value(numbers, section, *beside), digits=1)
            found.append((name, own + percent, f"{unit}, {checkpoint}", f"{words} {other}{percent}"))
    return found


def progress(history: Sequence[Mapping[str, float]], split: str) -> str:
    """A sentence on how neg_elbo developed over the epochs."""
    key = f"{split}/neg_elbo"
    values = [row[key] for row in history]
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return ""
    lowest = min(values)
    return (
        f"neg_elbo of {SPLIT_NAMES[split]} images changed from {values[0]:.2f} to {values[-1]:.2f} nats in "
        f"{len(values)} epochs; the lowest, {lowest:.2f}, was reached in epoch {values.index(lowest) + 1}."
    )


def figures(
    folder: RunFolder,
    evaluations: Mapping[Any, Mapping[str, Any]],
    by_slider: Sequence[str],
    of_last: captions.SavedNumbers,
) -> list[dict[str, Any]]:
    """Each figure once: an evaluation's before that of training, and none that the slider shows."""
    left_out = {"loss_curves", *(stem for stem in SHOWN_BY_SLIDER if by_slider)}
    folders = [*evaluations, folder.figure("")]
    paths = [path for each in folders for path in sorted(each.glob("*.png")) if path.stem not in left_out]
    once = list({path.stem: path for path in reversed(paths)}.values())[::-1]
    numbers = {path.name: found["numbers"] for path, found in evaluations.items()}
    numbers["figures"] = of_last
    return [captioned(each, numbers.get(each["of"], {})) for each in images(once)]


def captioned(figure: Mapping[str, Any], numbers: captions.SavedNumbers) -> dict[str, Any]:
    """A figure with its title, and what it shows in a number."""
    said = captions.conclusion(figure["stem"], numbers)
    return {**figure, "title": captions.title_of(figure["stem"]), "conclusion": said}


def changed(config: Config) -> list[tuple[str, str, str]]:
    """Settings that are not at their defaults: key, value, default."""
    defaults = dict(flattened(Config().to_dict()))
    shipped = CONF_DIR / "model" / f"{config.model['name']}.yaml"
    if shipped.is_file():
        defaults |= {f"model.{key}": value for key, value in read_yaml(shipped).items()}
        defaults["model.name"] = "mlp"
    return [
        (key, show(value), show(defaults[key]) if key in defaults else "–")
        for key, value in flattened(config.to_dict())
        if key != "resume" and (key not in defaults or value != defaults[key])
    ]


def curves(history: Sequence[Mapping[str, float]], split: str) -> list[dict[str, Any]]:
    """Reconstruction, KL and neg_elbo over the epochs, of training and of the split that is scored.

    The loss has a chart of its own where it is not neg_elbo. The vertical axes are those of a comparison.
    """
    plots = {"Reconstruction": "reconstruction", "KL": "kl", "neg_elbo": "neg_elbo"}
    if not all(math.isclose(row["train/loss"], row["train/neg_elbo"], rel_tol=1e-6) for row in history):
        plots["Loss: what is minimised"] = "loss"
    splits = {"train": "training", split: SPLIT_NAMES[split]}
    ticks, dashes = epoch_ticks(len(history)), ("none", "6 3")
    found = []
    for title, term in plots.items():
        values = {
            name: np.array([[row[f"{each}/{term}"] for row in history]]) for each, name in splits.items()
        }
        nothing = np.full(len(history), math.nan)
        axis = VerticalAxis.of(term, [OverSeeds(each, nothing, nothing) for each in values.values()])
        series = [
            {"name": name, "colour": place, "dash": dashes[place], "values": values[name][0]}
            for place, name in enumerate(values)
        ]
        found.append(chart(title, series, ticks, axis.for_page()))
    if over := scheduled(history):
        title, unit, shown = over
        found.append(
            chart(title, [{"name": unit, "colour": 0, "dash": "none", "values": shown}], ticks, unit=unit)
        )
    return found


def table(section: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a section without its details: of each row the name, a text per column, and the unit."""
    numbers = {name: row for name, row in section.items() if is_row(row)}
    columns = list(dict.fromkeys(of for row in numbers.values() for of in row))
    rows = [
        (name, [with_error(row[of]) if of in row else "" for of in columns], next(iter(row.values()))["unit"])
        for name, row in numbers.items()
    ]
    return {"columns": columns, "rows": rows}


def is_row(row: Any) -> bool:
    return isinstance(row, Mapping) and all(
        isinstance(each, Mapping) and "value" in each for each in row.values()
    )


def with_error(found: Mapping[str, Any]) -> str:
    return written(found["value"], found.get("standard_error"))
