"""report.html of a run: its setup, its results, and how training went."""

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vaelab.config import CONF_DIR, Config, flattened, quote_override, read_yaml, resolve, show
from vaelab.pages import charts
from vaelab.pages.glossary import meaning
from vaelab.pages.page import picture, plotly, render
from vaelab.runs.folder import SPLIT_NAMES, RunFolder

MOST_EPOCHS = 25
"""Epochs whose pictures go into the page: of more, evenly spaced ones, the last among them."""

KINDS = {
    "latent": "The latent space",
    "reconstructions": "Originals above reconstructions",
    "samples": "The same prior draws",
}


def write_run_report(folder: RunFolder, facts: Mapping[str, Any] | None = None) -> None:
    """Write report.html into a run's folder, from the files that are there; `facts` stand for run.json."""
    folder.write_text(folder.report, run_report(folder, folder.read_run_json() if facts is None else facts))


def run_report(folder: RunFolder, facts: Mapping[str, Any]) -> str:
    """The page of a run, whatever its status."""
    history = folder.read_metrics() if folder.metrics_csv.is_file() else []
    config = resolve(read_yaml(folder.config_yaml), Config)
    with ThreadPoolExecutor() as pool:  # encoding the pictures leaves the interpreter free
        pictures = {
            text: list(pool.map(one_epoch, thinned(folder.numbered(kind), MOST_EPOCHS)))
            for kind, text in KINDS.items()
        }
        figures = list(pool.map(one_figure, figure_paths(folder)))
    pictures = {text: several for text, several in pictures.items() if several}
    return render(
        "run.html.j2",
        title=title(config, facts),
        folder=folder.name,
        facts=facts,
        changed=changed(config),
        seed=config.seed,
        data_rows=data_rows(facts),
        environment=environment_rows(facts),
        curves=curves(history, facts),
        plotly=plotly() if history else None,
        pictures={"run": pictures} if pictures else {},
        epochs=epoch_rows(history, facts),
        evaluations=[evaluation(path) for path in folder.evaluations()],
        figures=figures,
        next_steps=[] if facts["status"] != "finished" else next_steps(folder),
    )


def title(config: Config, facts: Mapping[str, Any]) -> str:
    latents = config.model.get("latent_dim")
    size = "" if latents is None else f", {latents} latent dimension{'s' if latents != 1 else ''}"
    return f"{config.model['name']}{size}, {config.kl_label} · {facts['data']['description']}"


# --- the setup --------------------------------------------------------------------------------------------


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


def data_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    data = facts["data"]
    images = ", ".join(f"{data['images'][split]:,} {name}" for split, name in SPLIT_NAMES.items())
    where = f"{data['source']}, {data['folder']}" if data.get("folder") else data["source"]
    pixels = {"none": "grey", "static": "binarised once", "dynamic": "binarised anew for each use"}
    return [
        ("data set", data["description"]),
        ("images", images),
        ("scored each epoch", f"the {SPLIT_NAMES[data['scored_each_epoch']]} images"),
        ("pixels", pixels[data["binarize"]]),
        ("source", where),
        ("likelihood", f"{show(facts['likelihood']).replace('_', ' ')}; {facts['units']}"),
    ]


def environment_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    device, git = facts["device"], facts.get("git") or {}
    changes = ", with uncommitted changes" if git.get("modified") else ""
    sessions = [
        f"{each['started']} to {each['ended'] or '…'}: epochs {each['from_epoch']} to {each['to_epoch']}, "
        f"{each['status']}"
        for each in facts["sessions"]
    ]
    return [
        ("device", ", ".join(f"{key} {value}" for key, value in device.items())),
        ("parameters", f"{facts['model']['parameters']:,}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
        ("git commit", f"{git['commit'][:12]}{changes}" if git.get("commit") else "–"),
        *(("session", each) for each in sessions),
    ]  # fmt: skip


# --- numbers ----------------------------------------------------------------------------------------------


def curves(history: Sequence[Mapping[str, float]], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Reconstruction, KL and totals over the epochs, of training and of what each epoch is scored on."""
    if not history:
        return []
    split = facts["data"]["scored_each_epoch"]
    scored = SPLIT_NAMES[split]
    plots = {
        "Reconstruction": {"training": "train/reconstruction", scored: f"{split}/reconstruction"},
        "KL": {"training": "train/kl", scored: f"{split}/kl"},
        "neg_elbo and loss": {
            "neg_elbo, training": "train/neg_elbo",
            f"neg_elbo, {scored}": f"{split}/neg_elbo",
            "loss, training": "train/loss",
        },
    }
    epochs = [row["epoch"] for row in history]
    return [
        {
            "title": title,
            **charts.lines(epochs, {name: [row[key] for row in history] for name, key in lines.items()}),
        }
        for title, lines in plots.items()
    ]


def epoch_rows(history: Sequence[Mapping[str, float]], facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """The last epoch's and the best epoch's numbers, with what they mean."""
    if not history:
        return []
    best = facts["best"]["epoch"] if facts.get("best") else None
    of_best = next((row for row in history if row["epoch"] == best), None)
    return [
        {
            "name": key,
            "last": number(value),
            "best": number(of_best[key]) if of_best else "–",
            "meaning": meaning(key),
        }
        for key, value in history[-1].items()
    ]


def number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if abs(value) >= 10 or not math.isfinite(value) else f"{value:.4g}"


def evaluation(path: Path) -> dict[str, Any]:
    """A metrics.json as tables."""
    found = json.loads(path.read_text(encoding="utf-8"))
    sections = []
    for name, rows in found["numbers"].items():
        tabular = {key: row for key, row in rows.items() if all_numbers(row)}
        columns = list(dict.fromkeys(of for row in tabular.values() for of in row))
        sections.append(
            {
                "title": found.get("titles", {}).get(name, name),
                "columns": columns,
                "rows": [
                    {
                        "name": key,
                        "meaning": meaning(key),
                        "unit": next(iter(row.values()))["unit"],
                        "values": [with_error(row[of]) if of in row else "" for of in columns],
                    }
                    for key, row in tabular.items()
                ],
                "remark": found["remarks"].get(name, ""),
            }
        )
    checkpoint, data = found["checkpoint"], found["data"]
    return {
        "title": f"{checkpoint['file']}, epoch {checkpoint['epoch']}",
        "about": f"{data['images']:,} images, {data['split']} split of {data['description']}, "
        f"seed {found['seed']}",
        "sections": sections,
        "verdicts": found["verdicts"],
        "missing": found["not_measured"],
    }


def all_numbers(row: Any) -> bool:
    return isinstance(row, Mapping) and all(
        isinstance(each, Mapping) and "value" in each for each in row.values()
    )


def with_error(found: Mapping[str, Any]) -> str:
    error = f" ± {found['standard_error']:.2g}" if "standard_error" in found else ""
    return f"{number(found['value'])}{error}"


# --- pictures ---------------------------------------------------------------------------------------------


def thinned(all_of_them: Sequence[Any], most: int) -> list[Any]:
    """At most that many, evenly spaced, the first and the last among them."""
    if len(all_of_them) <= most:
        return list(all_of_them)
    return [all_of_them[round(place * (len(all_of_them) - 1) / (most - 1))] for place in range(most)]


def one_epoch(numbered: tuple[int, Path]) -> dict[str, Any]:
    epoch, path = numbered
    return {"epoch": epoch, **picture(path)}


def figure_paths(folder: RunFolder) -> list[Path]:
    """What was drawn at the end and by evaluations; the curves are in the page already."""
    evaluated = [path for found in folder.evaluations() for path in sorted(found.parent.glob("*.png"))]
    return [
        path for path in (*sorted(folder.figure("").glob("*.png")), *evaluated) if path.stem != "loss_curves"
    ]


def one_figure(path: Path) -> dict[str, Any]:
    return {"name": path.stem.replace("_", " "), "of": path.parent.name, **picture(path)}


def next_steps(folder: RunFolder) -> list[str]:
    if folder.evaluations():
        return []
    return [f"python -m vaelab.evaluate {quote_override('checkpoint', folder.path)}"]
