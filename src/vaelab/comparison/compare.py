"""One comparison: from a folder of runs to a table, figures and findings in its comparison/."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from vaelab.comparison.figures import FIGURES, FamilyFigures
from vaelab.comparison.findings import findings
from vaelab.comparison.report import CHARTS, comparison_report
from vaelab.comparison.table import comma_separated, markdown
from vaelab.config import CompareConfig, EvaluatedDataConfig, EvaluationConfig
from vaelab.evaluation.evaluate import Evaluation, Steps, evaluated_model, switched_off
from vaelab.evaluation.model import EvaluatedModel
from vaelab.evaluation.runs import Family, Found, Member, find
from vaelab.evaluation.sections import section_names
from vaelab.runs import logs as console
from vaelab.runs.files import held, write_bytes, writing
from vaelab.runs.folder import SPLIT_NAMES, RunFolder, RunFolderError, folder_of_runs, run_folders
from vaelab.runs.signals import BY_SIGNAL
from vaelab.training.run import load

log = logging.getLogger(__name__)

NEEDED = ("latent", "classes", "samples", "images")
"""Sections of an evaluation that a comparison has columns for."""

Item = TypeVar("Item")


@dataclass
class ComparisonResult:
    """How a comparison ended."""

    folder: Path
    text: str
    """comparison.md."""
    failed: list[str]
    """What stopped with an unforeseen error."""


def unfinished(folder: Path) -> list[str]:
    """Names of a sweep's jobs that are not finished."""
    return [str(path.relative_to(folder)) for path in run_folders(folder) if not is_finished(RunFolder(path))]


def is_finished(folder: RunFolder) -> bool:
    try:
        return bool(folder.read_run_json()["status"] == "finished")
    except (RunFolderError, OSError):
        return False


def compare(config: CompareConfig) -> ComparisonResult:
    """Compare all finished runs below a folder.

    Raises VaelabError where there is no run. Runs on other images, or scored by another likelihood, are never
    in one table: each family gets its own, and that is said.
    """
    folder = folder_of_runs(config.sweep)
    with console.logging_to(console.AboveTheBar()):
        return Comparison(folder, find(folder), config).run()


class Comparison(Steps):
    """Goes through evaluations, table and figures; what can't be done is noted, and the rest goes on."""

    def __init__(self, folder: Path, found: Found, config: CompareConfig) -> None:
        super().__init__()
        self.config = config
        self.found = found
        self.folder = folder / "comparison"
        self.notes = [
            f"{name} is the same training as {other}: counted once." for name, other in found.repeated.items()
        ]
        self.loaded: dict[str, Any] = {}
        """The images of the runs, and what depends on them alone."""

    def run(self) -> ComparisonResult:
        with held(self.folder):
            self.evaluate_missing()
            table = comma_separated(self.found.families, self.found.not_finished)
            self.write(self.folder / "comparison.csv", table.encode())
            drawn = {family.slug: self.draw(family) for family in self.found.families}
            text = self.markdown(drawn)
            self.write(self.folder / "comparison.md", text.encode())
            self.write_report(drawn)
            return ComparisonResult(self.folder, text, self.failed)

    # --- numbers ------------------------------------------------------------------------------------------

    def evaluate_missing(self) -> None:
        """Evaluate the last checkpoint of each run whose numbers the table lacks."""
        lacking = [member for member in self.found.members if lacks_numbers(member)]
        if lacking and not self.config.evaluate:
            self.notes.append(
                f"{len(lacking)} of {len(self.found.members)} runs are not evaluated (evaluate=false): "
                "their columns are empty."
            )
            return
        for member in self.with_bar(lacking, "runs", "evaluating {0.folder.name}"):
            name = member.folder.name
            with self.noted(f"the evaluation of {name}"):
                result = Evaluation(self.evaluated_model(member)).run()
                member.read_evaluation()
                self.failed += [f"{each} of {name}" for each in result.failed]
                if result.interrupted_by:
                    raise SystemExit(BY_SIGNAL + result.interrupted_by)

    def evaluated_model(self, member: Member) -> EvaluatedModel:
        """The last checkpoint: to measure what the table needs and what a replaced evaluation had."""
        had = member.evaluation["numbers"] if member.evaluation else {}
        config = EvaluationConfig(
            checkpoint=str(member.folder.last_checkpoint),
            device=self.config.device,
            figures=False,
            dataset=EvaluatedDataConfig(source=self.config.dataset.source, root=self.config.dataset.root),
            metrics={name: name in (*NEEDED, "bound", *had) for name in section_names()},
        )
        return evaluated_model(load(member.folder.last_checkpoint), config, self.loaded)

    # --- figures ------------------------------------------------------------------------------------------

    def folder_of(self, family: Family) -> Path:
        """comparison/ itself for one family, a folder in it for each of several."""
        return self.folder if len(self.found.families) == 1 else self.folder / family.slug

    def draw(self, family: Family) -> list[str]:
        """The figures of a family; their names."""
        drawn: list[str] = []
        if not self.config.figures:
            return drawn
        figures = None
        with self.noted(f"the figures of {family.title}"):
            examples = {
                model.label: self.evaluated_model(model.members[0]).examples for model in family.models
            }
            figures = FamilyFigures(family, examples, family.models[0].config.artifacts.watermark)
        if figures is None:
            return drawn
        for name in self.with_bar(FIGURES, "figures", "drawing {}"):
            with self.noted(f"{name} of {family.title}"):
                self.write(self.folder_of(family) / name, FIGURES[name](figures))
                drawn.append(name)
        return drawn

    def with_bar(self, items: Iterable[Item], unit: str, doing: str) -> Iterator[Item]:
        """The items, with a progress bar where stderr is a terminal."""
        bar: tqdm[Any] = tqdm(list(items), disable=None, leave=False, dynamic_ncols=True, unit=f" {unit}")
        for item in bar:
            bar.set_description_str(doing.format(item))
            yield item

    def write(self, path: Path, content: bytes) -> None:
        with writing(path):
            path.parent.mkdir(exist_ok=True)
        write_bytes(path, content)

    @contextmanager
    def noted(self, what: str) -> Iterator[None]:
        """A step whose failure is a note of the comparison."""
        with self.step(what):
            yield
        if what in self.left_out:
            reason = self.left_out[what]
            self.notes.append(f"{what} {reason}" if what in self.failed else f"{what}: {reason.rstrip('.')}.")

    # --- words --------------------------------------------------------------------------------------------

    def markdown(self, drawn: dict[str, list[str]]) -> str:
        """comparison.md: for each family table, findings and figures; then what is left out, and why."""
        found = self.found
        parts = [f"# {len(found.members)} runs compared"]
        if len(found.families) > 1:
            parts.append(
                f"They fall into {len(found.families)} families whose numbers don't compare: other images, "
                "or another likelihood."
            )
        for family in found.families:
            sentences = "\n".join(f"- {each}" for each in findings(family)) or "None that is clear."
            parts += [
                f"## {family.title}",
                self.about(family),
                markdown(family),
                f"### Findings\n\n{sentences}",
            ]
            where = "" if len(found.families) == 1 else f"{family.slug}/"
            parts += [f"![{name}]({where}{name})" for name in drawn[family.slug]]
        if found.not_finished:
            lines = "\n".join(f"- {name}: {reason}" for name, reason in found.not_finished.items())
            parts.append(f"## Not finished\n\n{lines}")
        if self.notes:
            parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts) + "\n"

    def write_report(self, drawn: dict[str, list[str]]) -> None:
        figures = {
            family.slug: [
                self.folder_of(family) / name
                for name in drawn[family.slug]
                if name.endswith(".png") and name not in CHARTS
            ]
            for family in self.found.families
        }
        about = {family.slug: self.about(family) for family in self.found.families}
        with self.noted("report.html"):
            page = comparison_report(self.found, str(self.folder.parent), about, figures, self.notes)
            self.write(self.folder / "report.html", page.encode())

    def about(self, family: Family) -> str:
        """What the table's numbers are of."""
        first = family.models[0].members[0]
        facts, last = first.facts["data"], first.folder.last_checkpoint.name
        images = facts["images"]
        parts = [
            f"After each run's last epoch. Nats per image. Trained on {images['train']:,} images, "
            f"scored on {images[family.scored]:,} {SPLIT_NAMES[family.scored]} images; latent space, samples "
            f"and image statistics: {last} on test images, see evaluation/last/ of each run."
        ]
        if any(len(model.members) > 1 for model in family.models):
            parts.append("± is the standard deviation over seeds.")
        if not facts["complete"]:
            parts.append("**Embedded subset: numbers don't compare with the full set's.**")
        return " ".join(parts)


def lacks_numbers(member: Member) -> bool:
    """Whether a section of the table was never measured, or only because nobody wanted it."""
    found = member.evaluation
    if found is None:
        return True
    missing = [name for name in NEEDED if name not in found["numbers"]]
    return any(found["not_measured"].get(name) in (None, switched_off(name)) for name in missing)
