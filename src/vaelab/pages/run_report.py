"""report.html of a run: its setup, its results, and how training went."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vaelab.config import CONF_DIR, Config, counted, flattened, quote_override, read_yaml, resolve_saved, show
from vaelab.pages.page import chart, epoch_images, images, plotly, render
from vaelab.runs.folder import SPLIT_NAMES, RunFolder

KINDS = {
    "latent": "The latent space",
    "reconstructions": "Originals above reconstructions",
    "samples": "The same prior draws",
}


def write_run_report(folder: RunFolder, facts: Mapping[str, Any] | None = None) -> None:
    """Write report.html into a run's folder, from the files that are there; `facts` stand for run.json."""
    facts = folder.read_run_json() if facts is None else facts
    history = folder.read_metrics() if folder.metrics_csv.is_file() else []
    config = resolve_saved(read_yaml(folder.config_yaml))
    latents = config.model.get("latent_dim")
    size = "" if latents is None else f", {counted(latents, 'latent dimension')}"
    by_kind = {
        text: epoch_images(numbered) for kind, text in KINDS.items() if (numbered := folder.numbered(kind))
    }
    evaluations = folder.evaluations()
    figures = [path for path in sorted(folder.figure("").glob("*.png")) if path.stem != "loss_curves"]
    figures += [path for found in evaluations for path in sorted(found.glob("*.png"))]
    page = render(
        "run.html.j2",
        title=f"{config.model_label}{size}, {config.objective_label} · {facts['data']['description']}",
        folder=folder.name,
        checkpoint=quote_override("checkpoint", folder.path),
        facts=facts,
        changed=changed(config),
        seed=config.seed,
        splits=SPLIT_NAMES,
        likelihood=show(facts["likelihood"]),
        curves=curves(history, facts["data"]["scored_each_epoch"]) if history else [],
        plotly=plotly() if history else None,
        images={"run": by_kind} if by_kind else {},
        last=history[-1] if history else {},
        best=next((row for row in history if facts["best"] and row["epoch"] == facts["best"]["epoch"]), None),
        number=number,
        evaluations=list(evaluations.values()),
        table=table,
        figures=images(figures),
    )
    folder.write_text(folder.report, page)


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
    """Reconstruction, KL and totals over the epochs, of training and of the split that is scored."""
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
    if len({row["kl_weight"] for row in history}) > 1:
        plots["Weight of the KL at the end of the epoch"] = {"weight": "kl_weight"}
    mode = "lines+markers" if len(history) < 60 else "lines"
    looks = [
        {"mode": mode, "marker": {"size": 5}, "line": {"width": 2, "dash": dash}, "meta": {"colour": place}}
        for place, dash in enumerate(("solid", "solid", "dot"))
    ]
    return [
        chart(title, {name: [row[key] for row in history] for name, key in lines.items()}, looks)
        for title, lines in plots.items()
    ]


def number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if abs(value) >= 10 or not math.isfinite(value) else f"{value:.4g}"


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
    error = f" ± {found['standard_error']:.2g}" if "standard_error" in found else ""
    return f"{number(found['value'])}{error}"
