"""A sweep around its jobs: what could never run is refused first, and the last line names what failed."""

import itertools
import multiprocessing
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from vaelab.cli.arguments import Arguments, refuse_several_values
from vaelab.cli.compose import composing, settings_of
from vaelab.cli.jobs import FAILURE
from vaelab.config import CompareConfig, Config, ConfigError, VaelabError, quote_override
from vaelab.runs.files import TRAININGS
from vaelab.runs.folder import RunFolder, natural
from vaelab.runs.signals import BY_SIGNAL, Signals

EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"


@dataclass
class Comparison(Callback):
    """What happens when the last job has ended: the settings `hydra.callbacks.compare.…`.

    Hydra 1.3 doesn't call its callbacks when a launcher raises, and 1.4 doesn't tell them that it has raised.
    So they are read here, and `sweeping` calls this.
    """

    enabled: bool = True
    evaluate: bool = True
    figures: bool = True

    def compare(self, folder: Path) -> list[str]:
        """Compare the runs of a sweep; the names of what could not be measured or drawn."""
        from vaelab.comparison.compare import compare  # torch: not for --help

        if not self.enabled:
            return []
        outcome = compare(
            CompareConfig(sweep=str(RunFolder(folder).path), evaluate=self.evaluate, figures=self.figures)
        )
        print(f"{outcome.text}\nComparison: {outcome.folder}")
        return outcome.failed


@dataclass(frozen=True)
class Sweep:
    """A sweep that may start: all its combinations have been composed and checked."""

    folder: Path
    comparison: Comparison
    zip: bool
    excluded: list[str]
    """Keys that don't name the folders of jobs: what is the same in all of them."""

    def failures(self) -> list[Path]:
        """A file for each job that has failed."""
        return [*(self.folder / TRAININGS).glob(f"*{FAILURE}")]

    def end(self, error: Exception | None) -> None:
        """Compare, pack, and raise VaelabError that names the jobs without a finished run."""
        from vaelab.comparison.compare import unfinished  # torch: not for --help

        to_go_on = quote_override("hydra.sweep.dir", RunFolder(self.folder).path)
        started = [path for path in self.folder.glob("*") if path.is_dir() and not path.name.startswith(".")]
        if isinstance(error, VaelabError | HydraException | OSError):
            raise error
        reason = " ".join(str(error).split())
        if error is not None and not started:
            raise VaelabError(f"The sweep did not start: {reason}") from error
        if error is not None:
            print(f"vaelab: the sweep ended with {type(error).__name__}: {reason}", file=sys.stderr)
            print(f"vaelab: to go on with it, add {to_go_on} to the line.", file=sys.stderr)
        names = {*unfinished(self.folder), *(path.stem for path in self.failures())}
        names |= {
            path.name for path in started if not any(path.iterdir())
        }  # killed before they wrote anything
        try:
            failed = sorted(names, key=natural) + self.comparison.compare(self.folder)
        except (KeyboardInterrupt, SystemExit):
            line = ["python", "-m", "vaelab.compare", quote_override("sweep", RunFolder(self.folder).path)]
            print(f"vaelab: all jobs have ended. To compare them: {shlex.join(line)}", file=sys.stderr)
            raise
        if self.zip:
            RunFolder(self.folder).remove_leftovers()
            RunFolder(self.folder).write_zip()
        if failed:
            raise VaelabError(f"These jobs of the sweep failed: {', '.join(failed)}.")
        if error is not None:
            raise error


@contextmanager
def sweeping(arguments: Arguments) -> Iterator[list[str]]:
    """Around `vaelab.train`: where it is a sweep, check it, yield overrides for its jobs, and end it."""
    sweep = planned(arguments)
    if sweep is None:
        yield []
        return
    more = [quote_override("hydra.sweep.dir", sweep.folder)]  # once for all: jobs may run on other machines
    if not any(part.key_or_group == EXCLUDED for part in arguments.parsed):
        more.append(quote_override(EXCLUDED, sweep.excluded))
    for path in sweep.failures():  # of an earlier time
        path.unlink()
    error = None
    with passed_on() as received:
        try:
            yield more
        except Exception as raised:
            error = raised
    if received:
        sys.exit(BY_SIGNAL + received[0])
    sweep.end(error)


def planned(arguments: Arguments) -> Sweep | None:
    """The sweep that was typed or that an experiment is, or None. Raises VaelabError and Hydra's errors."""
    given, parsed = arguments.given, arguments.parsed
    may_be = given["multirun"] or given["config_name"] or {"experiment", "hydra.mode"} & {*arguments.keys}
    if not may_be or arguments.only_shows:
        refuse_several_values([] if arguments.only_shows else parsed)
        return None
    with composing("train", given["config_dir"], given["config_path"], given["config_name"]) as compose:
        whole = compose([str(part.input_line) for part in parsed if not part.is_sweep_override()])
        if not given["multirun"] and whole.hydra.mode != RunMode.MULTIRUN:
            refuse_several_values(parsed)
            return None
        HydraConfig.instance().set_config(whole)  # the folder's name may refer to it
        config: Any = HydraConfig.get()
        in_yaml = [f"{key}={value}" for key, value in (config.sweeper.get("params") or {}).items()]
        parsed = [*OverridesParser.create().parse_overrides(in_yaml), *parsed]
        is_grid = config.runtime.choices["hydra/sweeper"] == "basic"
        hydras = [str(part.input_line) for part in parsed if part.is_hydra_override()]
        configs = [checked(compose([*hydras, *each])) for each in combinations(parsed, is_grid)]
    same = {str(part.key_or_group) for part in parsed} - {
        str(part.key_or_group) for part in parsed if part.is_sweep_override()
    }
    settings = {key: value for key, value in config.callbacks.compare.items() if key != "_target_"}
    return Sweep(
        Path(config.sweep.dir).absolute(),
        Comparison(**settings),
        any(each.artifacts.zip for each in configs),
        [*config.job.config.override_dirname.exclude_keys, *sorted(same)],
    )


def combinations(parsed: Sequence[Override], is_grid: bool) -> Iterator[list[str]]:
    """The overrides of each job of a grid; of a search, whose jobs nobody knows yet, those of one."""
    values: dict[str, list[str]] = {}
    for part in parsed:
        key = part.get_key_element()
        if part.is_hydra_override():
            continue
        if part.is_interval_sweep():
            values[key] = [f"{key}={part.value().start}"]  # type: ignore[union-attr]
        elif part.is_sweep_override():
            values[key] = [f"{key}={value}" for value in part.sweep_string_iterator()]
        else:
            values[key] = [str(part.input_line)]
    for combination in itertools.islice(itertools.product(*values.values()), None if is_grid else 1):
        yield list(combination)


def checked(composed: DictConfig) -> Config:
    """The settings of a job. Raises ConfigError for what could never run, of its model too."""
    config = settings_of(composed, Config)
    if config.resume is not None:
        raise ConfigError(
            "resume continues one run: leave -m out. A sweep goes on with its own command and "
            "hydra.sweep.dir=FOLDER."
        )
    from vaelab.training.state import check_model  # torch takes seconds: only for settings that resolve

    check_model(config)
    return config


@contextmanager
def passed_on() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM go to the processes that run jobs: when these have saved, the waiting ends.

    Yields the signals that came. Ctrl-C in a terminal reaches those processes twice: see `Signals`.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        running = multiprocessing.active_children()
        if running and not received:
            received.append(number)
            for process in running:
                os.kill(process.pid or 0, number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            sys.exit(BY_SIGNAL + number)

    before = {number: signal.signal(number, note) for number in Signals.OURS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
