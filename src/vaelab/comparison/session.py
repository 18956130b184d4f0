"""One comparison: from a folder of runs to a table, figures and findings in its comparison/."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vaelab.comparison.figures import PICTURES, Wall, film
from vaelab.comparison.findings import findings
from vaelab.comparison.report import comparison_report
from vaelab.comparison.runs import Family, Found, Member, find
from vaelab.comparison.table import comma_separated, markdown
from vaelab.config import CompareConfig, EvaluatedDataConfig, EvaluationConfig, VaelabError
from vaelab.evaluation import session as evaluation
from vaelab.figures import style
from vaelab.runs import logs as console
from vaelab.runs.files import held, write_bytes, writing
from vaelab.runs.folder import RunFolder, RunFolderError, folder_of_runs, run_folders
from vaelab.runs.signals import BY_SIGNAL
from vaelab.training.examples import Gallery
from vaelab.training.run import load

log = logging.getLogger(__name__)

NEEDED = ("latent", "classes", "samples", "images")
"""Sections of an evaluation that a comparison has columns for."""


@dataclass
class Outcome:
    """How a comparison ended."""

    folder: Path
    text: str
    """comparison.md."""
    failed: list[str] = field(default_factory=list)
    """What stopped with an error that nobody had foreseen."""


def unfinished(folder: Path) -> list[str]:
    """Names of a sweep's jobs that are not finished."""
    return [str(path.relative_to(folder)) for path in run_folders(folder) if not is_finished(RunFolder(path))]


def is_finished(folder: RunFolder) -> bool:
    try:
        return bool(folder.read_run_json()["status"] == "finished")
    except (RunFolderError, OSError):
        return False


def compare(asked: CompareConfig) -> Outcome:
    """Compare all finished runs below a folder.

    Raises VaelabError where there is no run. Runs on other images, or scored by another likelihood, are never
    in one table: each family gets its own, and that is said.
    """
    folder = folder_of_runs(asked.sweep)
    with console.logging_to(console.AboveTheBar()):
        return Session(folder, find(folder), asked).run()


class Session:
    """Goes through evaluations, table and pictures; what can't be done is said, and the rest goes on."""

    def __init__(self, folder: Path, found: Found, asked: CompareConfig) -> None:
        self.asked = asked
        self.found = found
        self.folder = folder / "comparison"
        self.notes = [
            f"{name} is the same training as {other}: counted once." for name, other in found.repeated.items()
        ]
        self.failed: list[str] = []
        self.loaded: dict[str, Any] = {}
        """The images of the runs, and what depends on them alone."""

    def run(self) -> Outcome:
        with held(self.folder):
            return self.evaluate_draw_and_write()

    def evaluate_draw_and_write(self) -> Outcome:
        self.evaluate_missing()
        missing = self.found.not_finished
        table = comma_separated(self.found.families, missing)
        self.write(self.folder / "comparison.csv", table.encode())
        pictures = (
            {family.slug: self.draw(family) for family in self.found.families} if self.asked.figures else {}
        )
        text = self.markdown(pictures)
        self.write(self.folder / "comparison.md", text.encode())
        self.write_report(pictures)
        return Outcome(self.folder, text, self.failed)

    # --- numbers ------------------------------------------------------------------------------------------

    def evaluate_missing(self) -> None:
        """Evaluate last.safetensors of each run whose numbers the table lacks."""
        lacking = [member for member in self.found.members if lacks_numbers(member)]
        if not self.asked.evaluate:
            if lacking:
                self.notes.append(
                    f"{len(lacking)} of {len(self.found.members)} runs are not evaluated (evaluate=false): "
                    "their columns are empty."
                )
            return
        bar: tqdm[Any] = tqdm(lacking, disable=None, leave=False, dynamic_ncols=True, unit=" runs")
        for member in bar:
            bar.set_description_str(f"evaluating {member.folder.name}")
            with self.going_on(f"the evaluation of {member.folder.name}"):
                run = load(member.folder.last_checkpoint)
                outcome = evaluation.Session(
                    evaluation.subject_of(run, self.request(member), self.loaded)
                ).run()
                self.failed += [f"{name} of {member.folder.name}" for name in outcome.failed]
                if outcome.interrupted_by:
                    raise SystemExit(BY_SIGNAL + outcome.interrupted_by)

    def request(self, member: Member) -> EvaluationConfig:
        """What to measure of a run: what the table needs, and what an evaluation that this replaces had."""
        had = member.evaluation["numbers"] if member.evaluation else {}
        return EvaluationConfig(
            checkpoint=str(member.folder.last_checkpoint),
            device=self.asked.device,
            figures=False,
            dataset=EvaluatedDataConfig(source=self.asked.dataset.source, root=self.asked.dataset.root),
            metrics={"nll": "nll" in had, "frozen_latent": "frozen_latent" in had},
        )

    # --- pictures -----------------------------------------------------------------------------------------

    def folder_of(self, family: Family) -> Path:
        """comparison/ itself for one family, a folder in it for each of several."""
        return self.folder if len(self.found.families) == 1 else self.folder / family.slug

    def draw(self, family: Family) -> list[str]:
        """The figures of a family; their names."""
        drawn: list[str] = []
        galleries: dict[str, Gallery] = {}
        with self.going_on(f"the figures of {family.title}"):
            for model in family.models:
                member = model.members[0]
                run = load(member.folder.last_checkpoint)
                subject = evaluation.subject_of(run, self.request(member), self.loaded)
                galleries[model.label] = subject.gallery
        if len(galleries) < len(family.models):
            return drawn
        wall = Wall(family, galleries, family.models[0].config.artifacts.watermark)
        bar: tqdm[Any] = tqdm(
            [*PICTURES, "latent_evolution.gif"],
            disable=None,
            leave=False,
            dynamic_ncols=True,
            unit=" figures",
        )
        for name in bar:
            bar.set_description_str(f"drawing {name}")
            with self.going_on(f"{name} of {family.title}"):
                if name in PICTURES:
                    figure = PICTURES[name](wall)
                    style.sign(figure, wall.watermark)
                    content = style.png(figure)
                else:
                    content = film(wall)
                self.write(self.folder_of(family) / name, content)
                drawn.append(name)
        return drawn

    def write(self, path: Path, content: bytes) -> None:
        with writing(path):
            path.parent.mkdir(exist_ok=True)
        write_bytes(path, content)

    @contextmanager
    def going_on(self, what: str) -> Iterator[None]:
        """Inside, an error ends this alone, and is noted."""
        try:
            yield
        except OSError:  # a full disk, say
            raise
        except VaelabError as reason:
            self.notes.append(f"{what}: {reason}.".replace("..", "."))
        except Exception as error:
            self.failed.append(what)
            self.notes.append(f"{what} failed with {type(error).__name__}: {error}")
            log.error("%s failed:\n%s", what, traceback.format_exc())

    # --- words --------------------------------------------------------------------------------------------

    def markdown(self, pictures: dict[str, list[str]]) -> str:
        """comparison.md: for each family table, findings and figures; then what is not in them, and why."""
        found = self.found
        parts = [f"# {len(found.members)} runs compared"]
        if len(found.families) > 1:
            parts.append(
                f"They fall into {len(found.families)} families whose numbers don't compare: other images, "
                "or another likelihood."
            )
        for family in found.families:
            parts += [f"## {family.title}", self.about(family), markdown(family)]
            sentences = findings(family)
            parts.append(
                "### Findings\n\n" + ("\n".join(f"- {each}" for each in sentences) or "None that is clear.")
            )
            where = "" if len(found.families) == 1 else f"{family.slug}/"
            parts += [f"![{name}]({where}{name})" for name in pictures.get(family.slug, [])]
        if found.not_finished:
            lines = "\n".join(f"- {name}: {reason}" for name, reason in found.not_finished.items())
            parts.append(f"## Not finished\n\n{lines}")
        if self.notes:
            parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts) + "\n"

    def write_report(self, pictures: dict[str, list[str]]) -> None:
        drawn = {
            family.slug: [
                self.folder_of(family) / name
                for name in pictures.get(family.slug, [])
                if name.endswith(".png")
                and name not in ("curves.png", "rate_distortion.png")  # charts of the page
            ]
            for family in self.found.families
        }
        about = {family.slug: self.about(family) for family in self.found.families}
        with self.going_on("report.html"):
            page = comparison_report(self.found, str(self.folder.parent), about, drawn, self.notes)
            self.write(self.folder / "report.html", page.encode())

    def about(self, family: Family) -> str:
        """What the table's numbers are of."""
        facts = family.models[0].members[0].facts["data"]
        images = facts["images"]
        held = "held-out" if family.held_out == "val" else "test"
        seeds = (
            " ± standard deviation over seeds."
            if any(len(model.members) > 1 for model in family.models)
            else ""
        )
        subset = (
            "" if facts["complete"] else " **Embedded subset: numbers don't compare with the full set's.**"
        )
        return (
            f"After each run's last epoch. Nats per image. Trained on {images['train']:,} images; {held}: "
            f"{images[family.held_out]:,} images; latents, samples and images: last.safetensors on test, "
            f"see evaluation/last/ of each run.{seeds}{subset}"
        )


def lacks_numbers(member: Member) -> bool:
    found = member.evaluation
    if found is None:
        return True
    missing = [name for name in NEEDED if name not in found["numbers"]]
    return any(found["not_measured"].get(name) in (None, evaluation.left_out(name)) for name in missing)
