"""The commands as functions: settings as on the command line, results as values. `vaelab` offers them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaelab.cli.arguments import prepare, refuse_several_values, shows_only
from vaelab.cli.compose import composing, is_sweep, settings_of
from vaelab.cli.messages import one_line
from vaelab.config import (
    CompareConfig,
    Config,
    EvaluationConfig,
    ExploreConfig,
    SampleConfig,
    Schema,
    VaelabError,
    expand_home,
    quote_override,
)
from vaelab.pages.run_report import write_run_report
from vaelab.runs.folder import RunFolder, refuse_inside_a_run, refuse_system
from vaelab.runs.logs import standard_streams

if TYPE_CHECKING:
    from torch import Tensor

    from vaelab.comparison.compare import ComparisonResult
    from vaelab.evaluation.evaluate import EvaluationResult
    from vaelab.training.run import Run
    from vaelab.training.session import TrainingResult


@standard_streams()
def train(*overrides: str, **settings: Any) -> Run:
    """One run, as `python -m vaelab.train`: `train("model=conv", "dataset.val_size=0", beta=0.5)`.

    Raises VaelabError with the sentence that the command line prints; KeyboardInterrupt saves and is raised.
    """
    config, folder, lines = composed("train", Config, overrides, settings)
    result = new_or_resumed(config, RunFolder(folder), lines)
    if result.interrupted_by:
        raise KeyboardInterrupt
    from vaelab.training.run import load

    return load(result.folder.path)


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
        from vaelab.training import session

    caller = session.Caller(overrides, write_run_report, owns_process)
    if config.resume is None:
        return session.train(config, folder, caller)
    return session.resume(config, [line.partition("=")[0].lstrip("+~") for line in overrides], caller)


@standard_streams()
def evaluate(run: Run | Path | str, **settings: Any) -> EvaluationResult:
    """Evaluate a run or a checkpoint, as `python -m vaelab.evaluate`: its `.folder`, `.text` and more."""
    from vaelab.runs.environment import importing

    with importing():
        from vaelab.evaluation.evaluate import evaluate as evaluate_run
        from vaelab.training.run import Run, load

    path = run.checkpoint if isinstance(run, Run) else run
    config, _, _ = composed("evaluate", EvaluationConfig, (), {"checkpoint": path, **settings})
    return evaluate_run(load(path), config)


@standard_streams()
def explore(run: Run | Path | str | None = None, **settings: Any) -> Path:
    """Write a run's latent space, or with `sweep` two, as a web page, as `python -m vaelab.explore`."""
    from vaelab.runs.environment import importing

    with importing():
        from vaelab.explorer.page import explore as write_page
        from vaelab.training.run import Run

    if run is not None:
        settings["run"] = run.checkpoint if isinstance(run, Run) else run
    config, _, _ = composed("explore", ExploreConfig, (), settings)
    return write_page(config)


@standard_streams()
def compare(sweep: Path | str, **settings: Any) -> ComparisonResult:
    """Compare the runs of a folder, as `python -m vaelab.compare`."""
    from vaelab.runs.environment import importing

    with importing():
        from vaelab.comparison.compare import compare as compare_runs

    config, _, _ = composed("compare", CompareConfig, (), {"sweep": sweep, **settings})
    return compare_runs(config)


@standard_streams()
def sample(run: Run | Path | str, count: int = 64, seed: int = 0, **settings: Any) -> Tensor:
    """The images of `python -m vaelab.sample`, shape (count, 1, H, W), in [0, 1]; nothing is written."""
    given = {"run": "a run", "format": "npz", "count": count, "seed": seed, **settings}
    config, _, _ = composed("sample", SampleConfig, (), given)
    from vaelab.runs.environment import importing

    with importing():
        from vaelab.evaluation.samples import sample as images_of
        from vaelab.training.run import Run, load

    return images_of(run if isinstance(run, Run) else load(run), config)


def composed(
    command: str, schema: type[Schema], overrides: tuple[str, ...], settings: dict[str, Any]
) -> tuple[Schema, Path, list[str]]:
    """Checked settings, Hydra's output folder, and the overrides. Raises VaelabError."""
    lines = [*overrides, *(quote_override(key, value) for key, value in settings.items())]
    try:
        arguments = prepare(lines, command, schema)
        if shows_only(arguments):
            raise VaelabError(f"A function takes settings alone: leave {' '.join(arguments.flags)} out.")
        refuse_several_values(arguments.parsed)
        with composing(command, arguments.given) as compose:
            whole = compose(arguments.overrides)
            if is_sweep(whole, arguments.given):
                line = shlex.join(
                    ["python", "-m", f"vaelab.{command}", *arguments.flags, *arguments.overrides]
                )
                raise VaelabError(f"This is a sweep, and a function makes one run: type {line}")
            folder = Path(expand_home(whole.hydra.run.dir))
            return settings_of(whole, schema), folder, arguments.overrides
    except Exception as error:
        raise VaelabError(one_line(error, schema)) from error
