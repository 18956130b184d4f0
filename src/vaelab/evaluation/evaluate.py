"""One evaluation: from a checkpoint to metrics.json, a table and figures."""

import logging
import signal
import textwrap
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vaelab.config import (
    ConfigError,
    EvaluationConfig,
    VaelabError,
    look_up,
    read_yaml,
    resolve_saved,
    to_yaml,
    unknown,
)  # fmt: skip
from vaelab.config.evaluate import ON_REQUEST
from vaelab.config.train import is_conditional, notation
from vaelab.evaluation.figures import FIGURES
from vaelab.evaluation.model import EvaluatedModel
from vaelab.evaluation.numbers import WIDTH, Section, paragraph
from vaelab.evaluation.sections import MEASURES_VERSION, section_names, sections
from vaelab.evaluation.summary import summary
from vaelab.figures import style
from vaelab.metrics.features import feature_network
from vaelab.pages.glossary import ARROWS_MEAN
from vaelab.pages.notebook import Rows
from vaelab.pages.page import render
from vaelab.pages.run_report import is_row, table, with_error, write_run_report
from vaelab.runs import logs as console
from vaelab.runs.environment import device_facts, git_facts, now, versions
from vaelab.runs.files import held, remove_if_empty, through_link, write_bytes
from vaelab.runs.folder import RunFolder, RunFolderError, as_json, read_metrics_json
from vaelab.runs.signals import Interrupted, Signals
from vaelab.training.checkpoint import config_of
from vaelab.training.run import Run, load_data, newest

log = logging.getLogger(__name__)

SUMMARY = "summary.md"


@dataclass(frozen=True, eq=False, repr=False)
class EvaluationResult:
    """The result of an evaluation; a notebook displays its summary and tables.

    >>> result = vaelab.evaluate("outputs/example", "metrics.nll=false", figures=False)
    >>> result.table[0]["name"], result.table[0]["unit"]
    ('reconstruction', 'nats per image')
    """

    folder: Path
    text: str  # the content of table.txt; empty if it was not written
    failed: list[str]  # names of sections and figures that ended with an unexpected error
    interrupted_by: int  # number of the signal that ended the evaluation early, or 0
    content: Mapping[str, Any]
    """The content of metrics.json; empty if it was not written."""

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers by section, name, and what was measured: `numbers["bound"]["neg_elbo"]["model"]`.

        Each is a dict with value, unit, split, images, seed, and, where known, standard_error and draws.
        """
        return dict(self.content.get("numbers", {}))

    @property
    def table(self) -> Rows:
        """The numbers as rows: section, name, what was measured (`of`), value, unit, standard_error, …"""
        return Rows(
            {"section": section, "name": name, "of": of, **found}
            for section, rows in self.numbers.items()
            for name, row in rows.items()
            if is_row(row)
            for of, found in row.items()
        )

    def __repr__(self) -> str:
        found = look_up(self.numbers, "bound.neg_elbo.model")
        number = f"neg_elbo {with_error(found)} {found['unit']}, " if found else ""
        return f"<Evaluation: {number}{self.folder}>"

    def _repr_html_(self) -> str:
        shown = {"found": self.content, "table": table, "folder": self.folder}
        html = render("evaluation.cell.html.j2", interrupted=bool(self.interrupted_by), **shown)
        return notation(html, is_conditional(self.content.get("model", {})))


def evaluate(run: Run, config: EvaluationConfig) -> EvaluationResult:
    """Measure the model of a run and draw its figures.

    Raises VaelabError, before anything is written, for settings or data that can't be used.
    """
    with console.logging_to(console.ProgressBarHandler()):
        with console.doing("reading the images"):
            evaluated = evaluated_model(run, config, {})
        result = Evaluation(evaluated).run()
        folder = RunFolder.around(run.checkpoint)
        if folder is not None and config.output is None:
            rebuild(folder, run)
            with suppress(RunFolderError):  # rebuild has said it
                if run.config.artifacts.report:
                    with console.doing(f"writing {folder.report.name}"):
                        write_run_report(folder)
            if folder.zip.is_file():
                with console.doing(f"packing {folder.zip.name}"):
                    folder.refresh_zip()
        return result


def rebuild(folder: RunFolder, run: Run) -> None:
    """Write metrics.csv and config.yaml again, with a warning, if they differ from the checkpoint."""
    saved, rows, config = newest(folder, run.checkpoint), [], None
    with suppress(RunFolderError, OSError):
        rows = folder.read_metrics()
    with suppress(Exception):  # errors of YAML, of the disk, and of vaelab
        config = resolve_saved(read_yaml(folder.config_yaml))
    rebuilt = []
    if rows[: saved.epoch] != saved.history:
        folder.write_metrics(saved.history)
        rebuilt.append(folder.metrics_csv.name)
    if config != (sealed := config_of(saved)):
        folder.write_text(folder.config_yaml, to_yaml(sealed))
        rebuilt.append(folder.config_yaml.name)
    if rebuilt:
        names = " and ".join(rebuilt)
        log.warning("Damaged or edited, therefore restored from %s: %s.", folder.last_checkpoint, names)
    try:
        folder.read_run_json()
    except RunFolderError as damage:
        log.warning("%s", damage)


def evaluated_model(run: Run, config: EvaluationConfig, loaded: dict[str, Any]) -> EvaluatedModel:
    """A run with its images. Raises VaelabError for settings or data that can't be used.

    `loaded` keeps images, and what depends on them alone, for several runs of the same data.
    """
    key = repr((run.config.dataset, config.dataset, config.split, config.device))
    if key not in loaded:
        data, source = load_data(run, config)
        if (path := config.dataset.features) is not None:
            feature_network(Path(path), data.train.images.device)  # or say now why not
        loaded[key] = data, source, {}
    return EvaluatedModel(run, config, *loaded[key])


def switched_off(name: str) -> str:
    """Why a section that was switched off was not measured."""
    return f"metrics.{name}=false"


def averaged(run: Run) -> list[str]:
    """A sentence that says so if the weights that are evaluated are a moving average."""
    decay = run.config.optimizer.weight_average
    return [f"The weights are the moving average of the trained ones, decay {decay:g}."] if decay else []


class Steps:
    """Base class: steps that fail individually; the reason is noted, and the others continue."""

    def __init__(self) -> None:
        self.left_out: dict[str, str] = {}  # by name, why there is no result
        self.failed: list[str] = []  # what stopped with an unforeseen error

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Within the context, an error ends only this step, unless every other step would fail too."""
        try:
            yield
        except (Interrupted, OSError):  # a full disk, say
            raise
        except VaelabError as reason:
            self.left_out[name] = str(reason)
        except Exception as error:
            self.failed.append(name)
            self.left_out[name] = f"failed with {type(error).__name__}: {error}"
            log.error("%s failed:\n%s", name, traceback.format_exc())


class Evaluation(Steps):
    """An evaluation, section by section and figure by figure."""

    def __init__(self, evaluated: EvaluatedModel, which: str = "") -> None:
        super().__init__()
        self.evaluated, self.which = evaluated, f"{which}, " if which else ""
        self.config = evaluated.config
        run = evaluated.run
        self.home = RunFolder.around(run.checkpoint) or RunFolder(run.checkpoint.parent)
        own_seed = None if evaluated.seed == run.config.seed else evaluated.seed
        origin, other_data = evaluated.data.origin, ""
        if origin.sha256 != run.trained_on["sha256"]:
            other_data = "full_set" if origin.complete else "subset"
        self.folder = self.home.evaluation(run.checkpoint.stem, self.config.split, own_seed, other_data)
        if self.config.output is not None:
            self.folder = Path(self.config.output)
        self.numbers: dict[str, Section] = {}
        self.text, self.interrupted_by = "", 0
        self.content: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.started = now()
        known, wanted = section_names(), dict.fromkeys(ON_REQUEST, False) | self.config.metrics
        for name in wanted:
            if name not in known:
                raise unknown("setting", f"metrics.{name}", [f"metrics.{each}" for each in known])
        self.sections = [name for name in known if wanted.get(name, True)]
        off = [name for name in known if name not in (*self.sections, *ON_REQUEST)]
        self.left_out |= {name: switched_off(name) for name in off}
        self.figures = FIGURES if self.config.figures else {}
        total = len(self.sections) + len(self.figures)
        self.bar = console.progress(total=total, bar_format="{desc} |{bar}| {elapsed}")

    def run(self) -> EvaluationResult:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            file = isinstance(error, FileExistsError | NotADirectoryError)
            why = " (it, or a folder above it, is a file)" if file else f" ({error.strerror})"
            raise ConfigError(f"{self.folder} can't be created{why}: type output=FOLDER.") from error
        try:
            with held(self.folder), Signals() as signals, self.bar:
                try:
                    signals.raise_immediately = True  # files appear whole or not at all
                    self.measure_and_draw()
                except Interrupted as interruption:
                    signals.raise_immediately = False
                    self.interrupted(interruption.number)
        finally:
            remove_if_empty(self.folder)
        return EvaluationResult(self.folder, self.text, self.failed, self.interrupted_by, self.content)

    def measure_and_draw(self) -> None:
        for place, name in enumerate(self.sections, 1):
            doing = f"measuring {place} of {len(self.sections)}: {name}"
            with self.timed(name, doing):
                self.numbers[name] = sections.get(name)(self.evaluated, partial(self.show, doing))
        self.write("finished")
        for place, (name, draw) in enumerate(self.figures.items(), 1):
            with self.timed(name, f"drawing {place} of {len(self.figures)}: {name}"):
                figure = draw(self.evaluated)
                content = style.signed_png(figure, self.evaluated.run.config.artifacts.watermark)
                write_bytes(self.path(name), content)
        self.text = self.write_table()

    @contextmanager
    def timed(self, name: str, doing: str) -> Iterator[None]:
        """One step of the progress bar; an error ends it alone."""
        self.show(doing)
        started = time.perf_counter()
        with self.step(name):
            yield
        self.seconds[name] = round(time.perf_counter() - started, 3)
        self.bar.update()

    def path(self, name: str) -> Path:
        """Where a file goes."""
        path = self.folder / name
        return path if self.config.output is None else through_link(path)

    def show(self, *doing: str) -> None:
        self.bar.set_description_str(f"{self.which}{', '.join(doing):<48}")  # the bar keeps its place

    def interrupted(self, number: int) -> None:
        """Keep what was measured, unless an earlier evaluation got further."""
        self.interrupted_by = number
        before = read_metrics_json(self.folder) or {}
        kept = "nothing was written"
        if self.text:
            kept = "all numbers were written, but not all figures"
        elif self.numbers and before.get("status") != "finished":
            self.write("interrupted")
            kept = "only some of the numbers were written"
        log.warning("Interrupted (%s): %s.", signal.Signals(number).name, kept)

    def write(self, status: str) -> None:
        """Write metrics.json and table.txt; remove figures of other weights or other images."""
        facts, before = self.facts(), read_metrics_json(self.folder)
        if before and any(before.get(key) != facts[key] for key in ("checkpoint", "data", "seed")):
            for name in FIGURES:
                self.path(name).unlink(missing_ok=True)
        notation = self.evaluated.notation
        said = {title: notation(text) for title, text in summary(self.numbers, self.left_out).items()}
        verdicts = [notation(verdict) for section in self.numbers.values() for verdict in section.verdicts]
        content = {
            "status": status,
            **facts,
            "numbers": {name: section.to_dict() for name, section in self.numbers.items()},
            "titles": {name: section.title for name, section in self.numbers.items()},
            "summary": said,
            "verdicts": verdicts,
            "remarks": {name: notation(section.remark) for name, section in self.numbers.items()},
            "not_measured": {name: why for name, why in self.left_out.items() if name not in FIGURES},
            "times": {"started": self.started, "written": now(), "seconds": self.seconds},
        }
        text = self.write_table()
        self.write_summary(said)
        write_bytes(self.path("metrics.json"), as_json(content).encode())
        self.text, self.content = text, content

    def write_table(self) -> str:
        """table.txt: what was evaluated, and its numbers."""
        evaluated = self.evaluated
        basis = str(evaluated.basis(len(evaluated.split)))
        heading = [
            evaluated.examples.about,
            f"{evaluated.run.checkpoint}, epoch {evaluated.run.epoch}",
            *averaged(evaluated.run),
            f"Measured on: {basis}, unless a table says otherwise. ± is the standard error over images.",
            f"{ARROWS_MEAN} Notes that apply to several tables are given only below the first.",
        ]
        said = {basis}
        parts = ["\n".join(textwrap.fill(line, WIDTH) for line in heading)]
        parts += [section.table(said, evaluated.notation) for section in self.numbers.values()]
        if self.left_out:
            reasons = [paragraph(f"{name}: {reason}") for name, reason in self.left_out.items()]
            parts.append("\n".join(["Not measured", *reasons]))
        text = "\n\n".join(parts) + "\n"
        write_bytes(self.path("table.txt"), text.encode())
        return text

    def write_summary(self, said: Mapping[str, str]) -> None:
        """summary.md: what the numbers say, under a heading with run, checkpoint, epoch and data."""
        run, examples = self.evaluated.run, self.evaluated.examples
        parts = [
            f"# {self.home.name}: {run.moment}",
            examples.about,
            *averaged(run),
            *(f"**{title}.** {text}" for title, text in said.items()),
            "± is the standard error. table.txt explains each number and what it was measured on; "
            "metrics.json has all digits.",
        ]
        if not self.evaluated.data.origin.complete:
            parts.append("Embedded subset: results are not comparable with those of the full set.")
        write_bytes(self.path(SUMMARY), ("\n\n".join(parts) + "\n").encode())

    def facts(self) -> dict[str, Any]:
        """What was evaluated, and how."""
        evaluated, run, data = self.evaluated, self.evaluated.run, self.evaluated.data
        return {
            "checkpoint": {"file": run.checkpoint.name, "sha256": run.sha256, "epoch": run.epoch},
            "objective": run.config.objective_name, "beta": run.config.beta, "kl": run.config.kl,
            "likelihood": run.config.loss.likelihood_name, "model": run.config.model,
            "trained_with_seed": run.config.seed,
            "data": {
                "name": data.spec.name, "description": data.description,
                "classes": {str(number): name for number, name in data.class_names.items()},
                "binarize": data.binarize, "split": self.config.split, "images": len(evaluated.split),
                "trained_on_the_same_files": data.origin.sha256 == run.trained_on["sha256"],
                **asdict(data.origin),
            },
            "seed": evaluated.seed, "measures": MEASURES_VERSION, "device": device_facts(evaluated.device),
            "settings": self.config.model_dump(exclude={"checkpoint", "output"}),
            "versions": versions(), "git": git_facts(),
        }  # fmt: skip
