"""One evaluation: from a checkpoint to metrics.json, a table and figures."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vaelab.config import ConfigError, DatasetConfig, EvaluationConfig, VaelabError, quote_override
from vaelab.data import sources, splits
from vaelab.data.splits import Data
from vaelab.evaluation.figures import PICTURES
from vaelab.evaluation.measures import MEASURES
from vaelab.evaluation.numbers import Section, table
from vaelab.evaluation.subject import Subject
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
class Outcome:
    """How an evaluation ended."""

    folder: Path
    text: str
    """The table, or nothing where no number was new."""
    failed: list[str]
    """What stopped with an error that nobody had foreseen."""
    interrupted_by: int = 0
    """The signal that ended it early, or 0."""


def evaluate(run: Run, asked: EvaluationConfig) -> Outcome:
    """Measure and draw the model of a run.

    Raises VaelabError, before anything is written, for settings or data that can't be used.
    """
    with console.logging_to(console.AboveTheBar()):
        outcome = Session(subject_of(run, asked)).run()
        folder = RunFolder.around(run.checkpoint)
        if folder is not None and asked.output is None and run.config.artifacts.report:
            write_run_report(folder)
        return outcome


def subject_of(run: Run, asked: EvaluationConfig, loaded: dict[str, Any] | None = None) -> Subject:
    """A run with its images. Raises VaelabError for settings or data that can't be used.

    `loaded` keeps images, and what depends on them alone, for several runs of the same data.
    """
    loaded = {} if loaded is None else loaded
    key = repr((run.config.dataset, asked.dataset, asked.split, asked.device))
    if key not in loaded:
        loaded[key] = (*load_data(run, asked), {})
    data, source, of_images = loaded[key]
    return Subject(run, data, source, asked, of_images)


def load_data(run: Run, asked: EvaluationConfig) -> tuple[Data, DatasetConfig]:
    """The images of a run, or what stands in for them, which is said loudly; and where they come from."""
    saved = run.config.dataset
    root, source = asked.dataset.root or saved.root, asked.dataset.source or saved.source
    # What a checkpoint names is read, but never written to: a download goes where this user's downloads go.
    typed = asked.dataset.root is not None
    if saved.root is not None and not typed and source != "embedded" and not sources.holds(saved, saved.root):
        log.warning(
            "The run's dataset.root=%s has no %s here: looking in the usual places.", saved.root, saved.name
        )
        root = None
    if asked.dataset.root is not None and asked.dataset.source is None and source == "embedded":
        source = "auto"  # a folder was typed to be looked into
    wanted = saved.replace(source=source, root=root)
    device = pick_device(asked.device)
    try:
        data = splits.load(wanted, device)
    except ConfigError:
        if asked.split != "test" or not saved.val_size:
            raise
        wanted = wanted.replace(val_size=0)  # the subset may be smaller than what the run has held out
        data = splits.load(wanted, device)
    if data.origin.fallback is not None:
        log.warning("EMBEDDED SUBSET instead of the full set: %s.", data.origin.fallback)
    if dict(data.origin.sha256) != dict(run.trained_on["sha256"]):
        held, trained = data.description, "the embedded subset" if data.origin.complete else "the full set"
        if asked.split != "test":
            raise ConfigError(
                f"split={asked.split} of {held} holds other images than those of the run, which was trained "
                f"on {trained}: type split=test."
            )
        log.warning("The run was trained on %s and is scored on %s.", trained, held)
    return data, wanted


def left_out(name: str) -> str:
    """Why a section was not measured that nobody wanted."""
    return f"metrics.{name}=false"


class Session:
    """Goes through measures and pictures one by one; what can't be done is said, and the rest goes on."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.asked = subject.asked
        self.folder = self.choose_folder()
        self.metrics_json = self.folder / "metrics.json"
        self.sections: dict[str, Section] = {}
        self.not_done: dict[str, str] = {}
        """Why a section or a picture is missing."""
        self.failed: list[str] = []
        self.seconds: dict[str, float] = {}
        self.started = now()
        self.measures = [name for name in MEASURES if self.asked.metrics.get(name, True)]
        self.pictures = list(PICTURES) if self.asked.figures else []
        self.bar: tqdm[Any] = tqdm(
            total=len(self.measures) + len(self.pictures),
            disable=None,  # silent unless stderr is a terminal
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {n_fmt}/{total_fmt}, {elapsed}",
        )

    def choose_folder(self) -> Path:
        """`output`, else evaluation/ in the run's folder, or beside a checkpoint that has left its run."""
        if self.asked.output is not None:
            return Path(self.asked.output).expanduser()
        checkpoint = self.subject.run.checkpoint
        folder = RunFolder.around(checkpoint) or RunFolder(checkpoint.parent)
        return folder.evaluation(checkpoint.stem, self.subject.split.name)

    def run(self) -> Outcome:
        self.not_done |= {name: left_out(name) for name in MEASURES if name not in self.measures}
        self.make_folder()
        try:
            with held(self.folder):
                return self.measure_and_draw()
        finally:
            remove_if_empty(self.folder)

    def measure_and_draw(self) -> Outcome:
        numbers_written = False
        with Signals() as signals, self.bar:
            try:
                signals.at_once = True  # files appear whole or not at all: any moment is a good one
                for name in self.measures:
                    self.step(name, self.measure)
                self.write("finished")
                numbers_written = True
                for name in self.pictures:
                    self.step(name, self.draw)
                self.write_table()
            except (Interrupted, KeyboardInterrupt) as interruption:
                signals.at_once = False
                return self.interrupted(interruption, numbers_written)
        return Outcome(self.folder, self.text(), self.failed)

    def make_folder(self) -> None:
        """Before minutes of measuring, see that its results can be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigError(
                f"{self.folder} can't be made, a file is in the way: type output=FOLDER."
            ) from error
        except OSError as error:
            raise ConfigError(
                f"{self.folder} can't be made ({error.strerror}): type output=FOLDER."
            ) from error
        if not os.access(self.folder, os.W_OK):
            raise ConfigError(f"{self.folder} can't be written: type output=FOLDER.")

    def step(self, name: str, do: Callable[[str], None]) -> None:
        """Do one step; an error ends it alone."""
        self.say(name)
        started = time.perf_counter()
        try:
            do(name)
        except (Interrupted, OSError):  # a full disk, say: no other step would fare better
            raise
        except VaelabError as reason:
            self.not_done[name] = str(reason)
        except Exception as error:
            self.failed.append(name)
            self.not_done[name] = f"failed with {type(error).__name__}: {error}"
            log.error("%s failed:\n%s", name, traceback.format_exc())
        self.seconds[name] = round(time.perf_counter() - started, 3)
        self.bar.update()

    def say(self, doing: str) -> None:
        self.bar.set_description_str(f"{doing:<32}")  # the bar keeps its place

    def measure(self, name: str) -> None:
        self.sections[name] = MEASURES[name](self.subject, lambda how_far: self.say(f"{name}: {how_far}"))

    def draw(self, name: str) -> None:
        figure = PICTURES[name](self.subject)
        style.sign(figure, self.subject.run.config.artifacts.watermark)
        write_bytes(self.folder / name, style.png(figure))

    # --- what is written ----------------------------------------------------------------------------------

    def write(self, status: str) -> None:
        """metrics.json and table.txt; figures of other weights or other images go."""
        facts = self.facts()
        before = self.previous()
        if before is not None and any(
            before.get(key) != facts[key] for key in ("checkpoint", "data", "seed")
        ):
            for name in PICTURES:
                (self.folder / name).unlink(missing_ok=True)
        content = {
            "status": status,
            **facts,
            "numbers": {name: section.to_dict() for name, section in self.sections.items()},
            "titles": {name: section.title for name, section in self.sections.items()},
            "verdicts": [
                *self.choice_of_epoch(),
                *(verdict for section in self.sections.values() for verdict in section.verdicts),
            ],
            "remarks": {name: section.remark for name, section in self.sections.items()},
            "not_measured": {name: why for name, why in self.not_done.items() if name in MEASURES},
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
        subject = self.subject
        run, data = subject.run, subject.data
        return {
            "checkpoint": {
                "file": run.checkpoint.name,
                "sha256": hashlib.sha256(run.checkpoint.read_bytes()).hexdigest(),
                "epoch": run.epoch,
            },
            "objective": run.config.objective,
            "beta": run.config.beta,
            "kl": run.config.kl,
            "likelihood": run.config.loss.likelihood_name,
            "model": run.config.model,
            "trained_with_seed": run.config.seed,
            "data": {
                "name": data.spec.name,
                "description": data.description,
                "classes": {str(number): name for number, name in data.class_names.items()},
                "binarize": data.binarize,
                "split": subject.split.name,
                "images": len(subject.split),
                "trained_on_the_same_files": dict(data.origin.sha256) == dict(run.trained_on["sha256"]),
                **data.origin.to_dict(),
            },
            "seed": subject.seed,
            "device": device_facts(subject.device),
            "settings": self.asked.model_dump(exclude={"checkpoint", "output"}),
            "versions": versions(),
            "git": git_facts(),
        }

    def text(self) -> str:
        """What was evaluated, and the table of its numbers."""
        run = self.subject.run
        heading = "\n".join(
            [self.subject.gallery.about, f"{run.checkpoint}, epoch {run.epoch}", *self.choice_of_epoch()]
        )
        return f"{heading}\n\n{table(self.sections, self.not_done)}\n"

    def choice_of_epoch(self) -> list[str]:
        """A warning where best.safetensors is not what a reader would take it for."""
        run = self.subject.run
        chosen = run.config.dataset.val_size > 0 and run.checkpoint.stem == "best"
        if not run.config.kl_off or not chosen:
            return []
        last = quote_override("checkpoint", run.checkpoint.with_name(f"last{run.checkpoint.suffix}"))
        return [
            "best.safetensors was chosen by held-out neg_elbo, whose KL was not minimised; "
            f"the run's end: {last}"
        ]

    def interrupted(self, interruption: Interrupted | KeyboardInterrupt, numbers_written: bool) -> Outcome:
        """Keep what was measured, unless an earlier evaluation got further."""
        number = interruption.number if isinstance(interruption, Interrupted) else signal.SIGINT
        name = signal.Signals(number).name
        if numbers_written:
            log.warning("Interrupted (%s): all numbers are there, but not all figures.", name)
        elif (self.previous() or {}).get("status") == "finished" or not self.sections:
            log.warning("Interrupted (%s): nothing was written.", name)
            return Outcome(self.folder, "", self.failed, number)
        else:
            self.write("interrupted")
            log.warning("Interrupted (%s): only some of the numbers are there.", name)
        return Outcome(self.folder, self.text(), self.failed, number)
