"""The commands as Python functions, which `vaelab` exports.

They take the settings of the command line, and return results instead of printing them.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException

from vaelab.cli.arguments import Arguments, parse, prepare, shows_only
from vaelab.cli.compose import composing, is_sweep, settings_of
from vaelab.cli.messages import one_line
from vaelab.cli.plan import planned
from vaelab.cli.sweep import failed_jobs, in_this_process, pack
from vaelab.config import (
    CompareConfig,
    Config,
    EvaluationConfig,
    ExploreConfig,
    SampleConfig,
    Schema,
    Settings,
    VaelabError,
    counted,
    expand_home,
    quote_override,
    quoted,
    show,
)
from vaelab.runs.folder import RunFolder, is_finished, refuse_inside_a_run, refuse_system, run_folders
from vaelab.runs.logs import standard_streams
from vaelab.runs.signals import BY_SIGNAL

if TYPE_CHECKING:
    from torch import Tensor

    from vaelab.comparison.compare import ComparisonResult
    from vaelab.evaluation.evaluate import EvaluationResult
    from vaelab.explorer.page import Explorer
    from vaelab.training.run import Run
    from vaelab.training.session import TrainingResult


@standard_streams()
def train(*overrides: str, **settings: Any) -> Run:
    """Train one run, as `python -m vaelab.train` does.

    Args:
        overrides: settings as on the command line, such as "model=conv" or "dataset.val_size=0".
        settings: the same as keyword arguments, such as beta=0.5. resume=FOLDER continues a run.

    Returns:
        The run at its best checkpoint, as `load` returns it. An interrupt (Ctrl-C, or the notebook's stop
        button) ends the training after the current step and saves the checkpoint `last`. The run is then
        returned at its best checkpoint so far, or at `last` if no epoch was completed.

    Raises:
        VaelabError: settings or data can't be used, the training diverged, or a file can't be written. The
            message is the line that the command prints.
        SystemExit: another signal, such as SIGTERM, ended the training; the checkpoint `last` was saved.

    >>> run = vaelab.train("dataset.source=embedded", "hydra.run.dir=outputs/example", epochs=1)
    >>> run
    <Run: mlp, fashion_mnist, beta 1, epoch 1, outputs/example/checkpoints/best.safetensors>
    """
    try:
        config, folder, lines = composed("train", Config, overrides, settings)
    except VaelabError as error:
        for key, value in settings.items():
            several = isinstance(value, list | tuple | range) or (isinstance(value, str) and "," in value)
            refused = str(error).startswith((f"{key} must be ", f"'{key}="))
            if several and refused and "list" not in str(error).partition(", got ")[0]:
                raise VaelabError(
                    f"{error} For a run with each of these values, call vaelab.sweep."
                ) from error
        raise
    result = new_or_resumed(config, RunFolder(folder), lines)
    if result.interrupted_by not in (0, signal.SIGINT):  # a signal that ends the whole process
        sys.exit(BY_SIGNAL + result.interrupted_by)
    from vaelab.training.run import load

    made = result.folder
    return load(made.path, None if made.best_checkpoint.is_file() else "last")


def new_or_resumed(
    config: Config, folder: RunFolder, overrides: Sequence[str], owns_process: bool = False
) -> TrainingResult:
    """Train in a new folder, or continue the run that `config.resume` names. Raises VaelabError."""
    if config.resume is None:
        refuse_system(folder.path, "hydra.run.dir")
        refuse_inside_a_run(folder.path, "hydra.run.dir")
    # These import torch, which takes seconds: only for settings that resolve.
    from vaelab.runs.environment import importing

    with importing():
        from vaelab.pages.run_report import write_run_report
        from vaelab.training import session

    caller = session.Caller(overrides, write_run_report, owns_process)
    if config.resume is None:
        return session.train(config, folder, caller)
    return session.resume(config, [line.partition("=")[0].lstrip("+~") for line in overrides], caller)


@dataclass(frozen=True, eq=False, repr=False)
class SweepResult:
    """The result of `sweep`: the runs and their comparison, which a notebook displays.

    >>> result = vaelab.sweep("dataset.source=embedded", "dataset.classes=[0,1]", "artifacts.figures=false",
    ...                       "hydra.sweep.dir=outputs/example_sweep", beta=[0.5, 1], epochs=1)
    >>> [run.config.beta for run in result.runs], len(result.comparison.table)
    ([0.5, 1.0], 2)
    """

    folder: Path
    """The folder of the sweep, with a run folder for each job."""
    comparison: ComparisonResult | None
    """The comparison; None if the sweep was interrupted, or with hydra.callbacks.compare.enabled=false."""
    interrupted: bool
    """Whether an interrupt (Ctrl-C, or the stop button) ended the sweep early."""

    @cached_property
    def runs(self) -> list[Run]:
        """The finished runs in the order of the jobs, each at its best checkpoint.

        Jobs with the same effective settings share one run, which is in the list once.
        """
        from vaelab.training.run import load

        return [load(path) for path in self.finished]

    @property
    def finished(self) -> list[Path]:
        """The run folders of the finished runs, in the order of the jobs."""
        return [path for path in run_folders(self.folder) if is_finished(path)]

    def __repr__(self) -> str:
        interrupted = ", interrupted" if self.interrupted else ""
        return f"<Sweep: {counted(len(self.finished), 'finished run')}{interrupted}, {self.folder}>"

    def _repr_html_(self) -> str:
        from vaelab.pages.page import render

        shown = {"runs": self.finished, "folder": self.folder, "interrupted": self.interrupted}
        compared = "" if self.comparison is None else self.comparison._repr_html_()
        return render("sweep.cell.html.j2", **shown) + compared


@standard_streams()
def sweep(*overrides: str, **settings: Any) -> SweepResult:
    """Train a run for each combination of settings, then compare them, as `python -m vaelab.train -m` does.

    The runs are trained one after another in this process, so models and other classes registered in it can
    be swept too.

    Args:
        overrides: settings as on the command line, such as "beta=0.1,0.5,1" or "kl=true,false".
        settings: the same as keyword arguments. An iterable holds several values, as in
            beta=[0.1, 0.5, 1]; for several lists, as of model.channels, give a list of lists. A string is
            read as on the command line, kl="true,false"; a path that has a comma in it is given as a `Path`.

    Returns:
        The finished runs and their comparison. An interrupt saves the run that is being trained, or ends the
        comparison, and returns the finished runs without a comparison; the same call with
        "hydra.sweep.dir=FOLDER" continues the sweep.

    Raises:
        VaelabError: settings can't be used (raised before any training), or jobs failed (raised after the
            comparison, and names them).

    >>> runs = vaelab.sweep("dataset.source=embedded", "dataset.classes=[0,1]", "artifacts.figures=false",
    ...                     "hydra.sweep.dir=outputs/example_sweep", beta=[0.5, 1], epochs=1)
    >>> runs
    <Sweep: 2 finished runs, outputs/example_sweep>
    """
    from vaelab.runs.environment import importing

    with importing():
        from vaelab.comparison.compare import compare as compare_runs

    lines = [*overrides, *(several_values(key, value) for key, value in settings.items())]
    with in_one_sentence(Config):
        arguments = settings_alone("train", ["--multirun", *lines], Config)
        plan = planned(arguments)
        assert plan is not None  # --multirun
        refuse_other_processes(plan.composed.hydra.runtime.choices)
    folder, comparison = RunFolder(plan.folder).path, None
    try:
        if in_this_process(plan, arguments):
            return SweepResult(folder, None, interrupted=True)
        failed = failed_jobs(plan)
        if plan.comparison is not None:
            with interruptible():
                comparison = compare_runs(plan.comparison)
    except KeyboardInterrupt:  # between two runs, or in the comparison
        return SweepResult(folder, None, interrupted=True)
    pack(plan, failed, comparison.failed if comparison else [])
    return SweepResult(folder, comparison, interrupted=False)


def several_values(key: str, value: object) -> str:
    """An override in a sweep: an iterable holds several values; a string is read as on the command line."""
    if isinstance(value, str) and not key.startswith("hydra."):
        with suppress(VaelabError, HydraException):  # a text that can't be parsed is one value
            if parse([f"{key}={value}"])[0].is_sweep_override():
                return f"{key}={value}"
    if not isinstance(value, Iterable) or isinstance(value, str | Mapping):
        return quote_override(key, value)
    return f"{key}={','.join(show(each, quoted) for each in value)}"


def refuse_other_processes(choices: Mapping[str, str]) -> None:
    """Raise VaelabError for launchers that start other processes, and for sweepers that search."""
    for group in ("hydra/launcher", "hydra/sweeper"):
        if choices[group] != "basic":
            raise VaelabError(
                f"{group}={choices[group]} is for the command line, python -m vaelab.train -m: in Python "
                "leave it out, or run that command and call vaelab.compare with the folder of the sweep."
            )


@standard_streams()
def evaluate(run: Run | Path | str, *overrides: str, **settings: Any) -> EvaluationResult:
    """Evaluate a run or a checkpoint, as `python -m vaelab.evaluate` does.

    What is evaluated is the checkpoint on disk: that of a `Run` is read again from its path.

    Args:
        run: a run, the path of a run folder (for its best checkpoint) or of a checkpoint.
        overrides: settings as on the command line, such as "split=val" or "metrics.nll=false".
        settings: the same as keyword arguments, such as seed=7.

    Returns:
        The result: `.table` has a row per number with its unit and standard error, `.numbers` the same nested
        by section and name, `.text` is the table as text, `.folder` the folder that it was written to,
        `.failed` the names of sections and figures that ended with an unexpected error. An interrupt returns
        what has been measured so far.

    Raises:
        VaelabError: settings or data can't be used (raised before anything is written), or a file can't be
            written.

    >>> result = vaelab.evaluate("outputs/example", "metrics.nll=false", figures=False)
    >>> result.numbers["bound"]["neg_elbo"]["model"]["unit"]
    'nats per image'
    """
    from vaelab.runs.environment import importing

    with importing():
        from vaelab.evaluation.evaluate import evaluate as evaluate_run
        from vaelab.training.run import Run, load

    path = run.checkpoint if isinstance(run, Run) else run
    config, _, _ = composed("evaluate", EvaluationConfig, overrides, {"checkpoint": path, **settings})
    return evaluate_run(load(path), config)


@standard_streams()
def explore(run: Run | SweepResult | Path | str | None = None, *overrides: str, **settings: Any) -> Explorer:
    """Write the latent space of a run, or of two runs, as a web page, as `python -m vaelab.explore` does.

    Args:
        run: a run, the path of a run folder (for its best checkpoint) or of a checkpoint, or the result of
            `sweep`, of which two runs are shown at their last checkpoints; None if sweep=FOLDER is given.
        overrides: settings as on the command line, such as "pair=[0_kl-false,1_kl-true]".
        settings: the same as keyword arguments, such as images=500: the number of test images in the page,
            by default 2,000, which make 4.5 MB with the default model.

    Returns:
        The page: `.path` is its file, and a notebook displays it.

    Raises:
        VaelabError: a run can't be used, has a layer that the page can't compute, or two runs can't be shown
            side by side.

    >>> vaelab.explore("outputs/example", images=100)
    <Explorer: outputs/example/explorer.html>
    """
    from vaelab.runs.environment import importing

    with importing():
        from vaelab.explorer.page import Explorer
        from vaelab.explorer.page import explore as write_page
        from vaelab.training.run import Run

    if isinstance(run, SweepResult):
        settings["sweep"] = run.folder
    elif run is not None:
        settings["run"] = run.checkpoint if isinstance(run, Run) else run
    config, _, _ = composed("explore", ExploreConfig, overrides, settings)
    return Explorer(write_page(config))


@standard_streams()
def compare(sweep: SweepResult | Path | str, *overrides: str, **settings: Any) -> ComparisonResult:
    """Compare the runs of a sweep, or of any folder with runs in it, as `python -m vaelab.compare` does.

    Args:
        sweep: the result of `sweep`, or the path of a folder with runs.
        overrides: settings as on the command line, such as "figures=false".
        settings: the same as keyword arguments, such as evaluate=False.

    Returns:
        The comparison: `.table` has a row per model with its means over seeds (loss, reconstruction, KL,
        neg_elbo and nll in nats per image), `.text` is comparison.md, `.folder` the folder with figures and
        report.html, `.failed` the names of evaluations and figures that ended with an unexpected error.

    Raises:
        VaelabError: settings can't be used, there is no run in the folder, or a file can't be written.
        KeyboardInterrupt: an interrupt; evaluations that are complete are kept.

    >>> vaelab.compare("outputs/example_sweep", figures=False)
    <Comparison: 2 runs, outputs/example_sweep/comparison>
    """
    from vaelab.runs.environment import importing

    with importing():
        from vaelab.comparison.compare import compare as compare_runs

    folder = sweep.folder if isinstance(sweep, SweepResult) else sweep
    config, _, _ = composed("compare", CompareConfig, overrides, {"sweep": folder, **settings})
    with interruptible():
        return compare_runs(config)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the context, an interrupt raises KeyboardInterrupt instead of ending the process."""
    try:
        yield
    except SystemExit as end:
        if end.code == BY_SIGNAL + signal.SIGINT:
            raise KeyboardInterrupt from end
        raise


@standard_streams()
def sample(run: Run | Path | str, *overrides: str, **settings: Any) -> Tensor:
    """Draw images from a run, as `python -m vaelab.sample` does; nothing is written.

    Args:
        run: a run, the path of a run folder (for its best checkpoint) or of a checkpoint.
        overrides: settings as on the command line, such as "class=trouser" or "source=mixture".
        settings: the same as keyword arguments: count=16 (by default 64; a larger one returns the same first
            images), seed=1 (by default 0; the same seed draws the same images), sigma=0.5.

    Returns:
        The expected image E[x|z] of each draw z, shape (count, C, H, W), float32; in [0, 1] under all
        likelihoods that vaelab ships.

    Raises:
        VaelabError: a setting or the run can't be used.

    >>> vaelab.sample("outputs/example", count=16, seed=1).shape
    torch.Size([16, 1, 28, 28])
    """
    given = {"run": "a run", "format": "npz", **settings}
    config, _, _ = composed("sample", SampleConfig, overrides, given)
    from vaelab.runs.environment import importing

    with importing():
        from vaelab.evaluation.samples import sample as images_of
        from vaelab.training.run import Run, load

    return images_of(run if isinstance(run, Run) else load(run), config)


def composed(
    command: str, schema: type[Schema], overrides: tuple[str, ...], settings: dict[str, Any]
) -> tuple[Schema, Path, list[str]]:
    """The checked settings, Hydra's output folder, and the overrides. Raises VaelabError for wrong ones."""
    if wrong := [each for each in overrides if not isinstance(each, str)]:
        raise VaelabError(f"{wrong[0]!r} lacks the name of its setting: type NAME={wrong[0]!r}.")
    lines = [*overrides, *(quote_override(key, value) for key, value in settings.items())]
    with in_one_sentence(schema):
        arguments = settings_alone(command, lines, schema)
        several = [part.input_line for part in arguments.parsed if part.is_sweep_override()]
        if several and command != "train":
            raise VaelabError(
                f"{several[0]} has several values: call vaelab.{command} once for each of them, or type "
                "[a,b] for a list."
            )
        if not several:
            with composing(command, arguments.given) as compose:
                whole = compose(arguments.overrides)
        if several or is_sweep(whole, arguments.given):
            raise VaelabError(
                "These settings make a sweep, and vaelab.train makes one run: call vaelab.sweep with them."
            )
        folder = Path(expand_home(whole.hydra.run.dir))
        return settings_of(whole, schema), folder, arguments.overrides


def settings_alone(command: str, lines: Sequence[str], schema: type[Settings]) -> Arguments:
    """Parse a command line. Raises VaelabError for flags that print something instead of running."""
    arguments = prepare(lines, command, schema)
    if shows_only(arguments):
        flags = [flag for flag in arguments.flags if flag != "--multirun"]
        raise VaelabError(f"Python functions take only settings: leave out {' '.join(flags)}.")
    return arguments


@contextmanager
def in_one_sentence(schema: type[Settings]) -> Iterator[None]:
    """Within the context, every error becomes a VaelabError with the line that the command would print."""
    try:
        yield
    except Exception as error:
        raise VaelabError(one_line(error, schema)) from error
