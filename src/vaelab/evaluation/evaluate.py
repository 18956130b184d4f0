"""One evaluation: from a checkpoint to metrics.json, a table and figures."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vaelab.config import ConfigError, DatasetConfig, EvaluationConfig, quote_override, unknown
from vaelab.data import sources, splits
from vaelab.data.splits import Data
from vaelab.evaluation.figures import FIGURES
from vaelab.evaluation.model import EvaluatedModel
from vaelab.evaluation.numbers import Section, table
from vaelab.evaluation.sections import section_names, sections
from vaelab.evaluation.steps import Steps
from vaelab.figures import style
from vaelab.pages.run_report import write_run_report
from vaelab.runs import logs as console
from vaelab.runs.environment import device_facts, git_facts, now, pick_device, versions
from vaelab.runs.files import held, remove_if_empty, write_bytes
from vaelab.runs.folder import RunFolder
from vaelab.runs.signals import Interrupted, Signals
from vaelab.training.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationResult:
    """How an evaluation ended."""

    folder: Path
    text: str
    """The table, or nothing where no number was new."""
    failed: list[str]
    """What stopped with an unforeseen error."""
    interrupted_by: int = 0
    """The signal that ended it early, or 0."""


def evaluate(run: Run, config: EvaluationConfig) -> EvaluationResult:
    """Measure the model of a run and draw its figures.

    Raises VaelabError, before anything is written, for settings or data that can't be used.
    """
    with console.logging_to(console.AboveTheBar()):
        result = Evaluation(evaluated_model(run, config)).run()
        folder = RunFolder.around(run.checkpoint)
        if folder is not None and config.output is None and run.config.artifacts.report:
            write_run_report(folder)
        return result


def evaluated_model(
    run: Run, config: EvaluationConfig, loaded: dict[str, Any] | None = None
) -> EvaluatedModel:
    """A run with its images. Raises VaelabError for settings or data that can't be used.

    `loaded` keeps images, and what depends on them alone, for several runs of the same data.
    """
    loaded = {} if loaded is None else loaded
    key = repr((run.config.dataset, config.dataset, config.split, config.device))
    if key not in loaded:
        loaded[key] = (*load_data(run, config), {})
    data, source, of_images = loaded[key]
    return EvaluatedModel(run, data, source, config, of_images)


def load_data(run: Run, config: EvaluationConfig) -> tuple[Data, DatasetConfig]:
    """The images of a run, or what replaces them, with a warning; and where they come from."""
    saved, given = run.config.dataset, config.dataset
    root, source = given.root or saved.root, given.source or saved.source
    # What a checkpoint names is read, but never written to: a download goes where this user's downloads go.
    if given.root is None and saved.root is not None and source != "embedded":
        if not sources.holds(saved, saved.root):
            log.warning(
                "The run's dataset.root=%s has no %s here: looking in the usual places.",
                saved.root, saved.name,
            )  # fmt: skip
            root = None
    elif given.root is not None and given.source is None and source == "embedded":
        source = "auto"  # a folder was given to be searched
    wanted = saved.replace(source=source, root=root)
    device = pick_device(config.device)
    try:
        data = splits.load(wanted, device)
    except ConfigError:
        if config.split != "test" or not saved.val_size:
            raise
        wanted = wanted.replace(val_size=0)  # the subset may be smaller than the run's validation split
        data = splits.load(wanted, device)
    if data.origin.fallback is not None:
        log.warning("EMBEDDED SUBSET instead of the full set: %s.", data.origin.fallback)
    if not trained_on(run, data):
        trained = "the embedded subset" if data.origin.complete else "the full set"
        if config.split != "test":
            raise ConfigError(
                f"split={config.split} of {data.description} holds other images than those of the run, which "
                f"was trained on {trained}: type split=test."
            )
        log.warning("The run was trained on %s and is scored on %s.", trained, data.description)
    return data, wanted


def trained_on(run: Run, data: Data) -> bool:
    """Whether a run was trained on these very files."""
    return dict(data.origin.sha256) == dict(run.trained_on["sha256"])


def switched_off(name: str) -> str:
    """Why a section was not measured that nobody wanted."""
    return f"metrics.{name}=false"


class Evaluation(Steps):
    """Goes through sections and figures one by one."""

    def __init__(self, evaluated: EvaluatedModel) -> None:
        super().__init__()
        self.evaluated = evaluated
        self.config = evaluated.config
        self.folder = self.choose_folder()
        self.metrics_json = self.folder / "metrics.json"
        self.numbers: dict[str, Section] = {}
        self.seconds: dict[str, float] = {}
        self.started = now()
        self.known = section_names()
        for name in self.config.metrics:
            if name not in self.known:
                options = [f"metrics.{each}" for each in self.known]
                raise unknown("setting", f"metrics.{name}", options)
        self.sections = [name for name in self.known if self.config.metrics.get(name, True)]
        self.figures = list(FIGURES) if self.config.figures else []
        self.bar: tqdm[Any] = tqdm(
            total=len(self.sections) + len(self.figures),
            disable=None,  # silent unless stderr is a terminal
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {n_fmt}/{total_fmt}, {elapsed}",
        )

    def choose_folder(self) -> Path:
        """`output`, else evaluation/ in the run's folder, or beside a checkpoint that has left its run."""
        if self.config.output is not None:
            return Path(self.config.output).expanduser()
        checkpoint = self.evaluated.run.checkpoint
        folder = RunFolder.around(checkpoint) or RunFolder(checkpoint.parent)
        return folder.evaluation(checkpoint.stem, self.evaluated.split.name)

    def run(self) -> EvaluationResult:
        self.left_out |= {name: switched_off(name) for name in self.known if name not in self.sections}
        self.make_folder()
        try:
            with held(self.folder):
                return self.measure_and_draw()
        finally:
            remove_if_empty(self.folder)

    def measure_and_draw(self) -> EvaluationResult:
        numbers_written = False
        with Signals() as signals, self.bar:
            try:
                signals.at_once = True  # files appear whole or not at all: any moment is a good one
                for name in self.sections:
                    self.timed(name, self.measure)
                self.write("finished")
                numbers_written = True
                for name in self.figures:
                    self.timed(name, self.draw)
                self.write_table()
            except (Interrupted, KeyboardInterrupt) as interruption:
                signals.at_once = False
                return self.interrupted(interruption, numbers_written)
        return EvaluationResult(self.folder, self.text(), self.failed)

    def make_folder(self) -> None:
        """Before minutes of measuring, see that its results can be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
            why = ", a file is in the way" if in_the_way else f" ({error.strerror})"
            raise ConfigError(f"{self.folder} can't be made{why}: type output=FOLDER.") from error
        if not os.access(self.folder, os.W_OK):
            raise ConfigError(f"{self.folder} can't be written: type output=FOLDER.")

    def timed(self, name: str, do: Callable[[str], None]) -> None:
        """Do one step; an error ends it alone."""
        self.show(name)
        started = time.perf_counter()
        with self.step(name):
            do(name)
        self.seconds[name] = round(time.perf_counter() - started, 3)
        self.bar.update()

    def show(self, doing: str) -> None:
        self.bar.set_description_str(f"{doing:<32}")  # the bar keeps its place

    def measure(self, name: str) -> None:
        self.numbers[name] = sections.get(name)(
            self.evaluated, lambda progress: self.show(f"{name}: {progress}")
        )

    def draw(self, name: str) -> None:
        content = style.signed_png(
            FIGURES[name](self.evaluated), self.evaluated.run.config.artifacts.watermark
        )
        write_bytes(self.folder / name, content)

    # --- what is written ----------------------------------------------------------------------------------

    def write(self, status: str) -> None:
        """metrics.json and table.txt; figures of other weights or other images go."""
        facts, before = self.facts(), self.previous()
        if before is not None and any(
            before.get(key) != facts[key] for key in ("checkpoint", "data", "seed")
        ):
            for name in FIGURES:
                (self.folder / name).unlink(missing_ok=True)
        verdicts = [verdict for section in self.numbers.values() for verdict in section.verdicts]
        content = {
            "status": status,
            **facts,
            "numbers": {name: section.to_dict() for name, section in self.numbers.items()},
            "titles": {name: section.title for name, section in self.numbers.items()},
            "verdicts": [*self.choice_of_epoch(), *verdicts],
            "remarks": {name: section.remark for name, section in self.numbers.items()},
            "not_measured": {name: why for name, why in self.left_out.items() if name in self.known},
            "times": {"started": self.started, "written": now(), "seconds": self.seconds},
        }
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        self.write_table()
        write_bytes(self.metrics_json, text.encode())

    def write_table(self) -> None:
        write_bytes(self.folder / "table.txt", self.text().encode())

    def previous(self) -> dict[str, Any] | None:
        """What an earlier evaluation left here."""
        try:
            found: dict[str, Any] = json.loads(self.metrics_json.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

    def facts(self) -> dict[str, Any]:
        """What was evaluated, and how."""
        evaluated = self.evaluated
        run, data = evaluated.run, evaluated.data
        return {
            "checkpoint": {
                "file": run.checkpoint.name,
                "sha256": evaluated.checkpoint_sha256,
                "epoch": run.epoch,
            },
            "objective": run.config.objective,
            "beta": run.config.beta,
            "kl": run.config.kl,
            "likelihood": evaluated.run.config.loss.likelihood_name,
            "model": run.config.model,
            "trained_with_seed": run.config.seed,
            "data": {
                "name": data.spec.name,
                "description": data.description,
                "classes": {str(number): name for number, name in data.class_names.items()},
                "binarize": data.binarize,
                "split": evaluated.split.name,
                "images": len(evaluated.split),
                "trained_on_the_same_files": trained_on(run, data),
                **asdict(data.origin),
            },
            "seed": evaluated.seed,
            "device": device_facts(evaluated.device),
            "settings": self.config.model_dump(exclude={"checkpoint", "output"}),
            "versions": versions(),
            "git": git_facts(),
        }

    def text(self) -> str:
        """What was evaluated, and the table of its numbers."""
        run = self.evaluated.run
        heading = [self.evaluated.examples.about, f"{run.checkpoint}, epoch {run.epoch}"]
        return "\n".join([*heading, *self.choice_of_epoch(), "", table(self.numbers, self.left_out), ""])

    def choice_of_epoch(self) -> list[str]:
        """A warning where the best checkpoint is not what a reader would take it for."""
        run = self.evaluated.run
        chosen = run.config.dataset.val_size > 0 and run.checkpoint.stem == "best"
        if not run.config.kl_off or not chosen:
            return []
        last = run.checkpoint.with_stem("last")
        return [
            f"{run.checkpoint.name} was chosen by validation neg_elbo, whose KL was not minimised; "
            f"the run's end: {quote_override('checkpoint', last)}"
        ]

    def interrupted(
        self, interruption: Interrupted | KeyboardInterrupt, numbers_written: bool
    ) -> EvaluationResult:
        """Keep what was measured, unless an earlier evaluation got further."""
        number = interruption.number if isinstance(interruption, Interrupted) else signal.SIGINT
        text = ""
        if numbers_written:
            kept, text = "all numbers are there, but not all figures", self.text()
        elif (self.previous() or {}).get("status") == "finished" or not self.numbers:
            kept = "nothing was written"
        else:
            self.write("interrupted")
            kept, text = "only some of the numbers are there", self.text()
        log.warning("Interrupted (%s): %s.", signal.Signals(number).name, kept)
        return EvaluationResult(self.folder, text, self.failed, number)
