"""The way into every command: what is typed is checked, composed and run; an error is one line."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vaelab.cli.arguments import Arguments, prepare
from vaelab.cli.compose import VERSION_BASE, WHITELIST, register, settings_of
from vaelab.cli.messages import one_line
from vaelab.config import CONF_DIR, Settings, VaelabError
from vaelab.runs.signals import BY_SIGNAL, unwinding

FAILED = 1
"""Exit status of a command that ended with an error, a wrong setting included."""

TRACEBACKS = "HYDRA_FULL_ERROR"
"""Set to 1, Hydra raises what went wrong instead of printing it, and vaelab prints tracebacks."""

Schema = TypeVar("Schema", bound=Settings)


@dataclass(frozen=True)
class Job(Generic[Schema]):
    """One job of Hydra's: a run, or one of a sweep."""

    composed: DictConfig
    schema: type[Schema]
    folder: Path
    """Hydra's output folder: relative where it lies below the working directory."""
    overrides: list[str]
    """What was typed, and what a sweep adds."""
    sweep: Path | None
    """The folder of the sweep that the job belongs to."""

    def settings(self) -> Schema:
        """Typed, checked settings. Raises ConfigError."""
        return settings_of(self.composed, self.schema)

    def shown(self, keys: set[str]) -> str:
        """The part of the overrides in which the jobs of a sweep differ."""
        return " ".join(line for line in self.overrides if line.partition("=")[0].lstrip("+~") in keys)


Around = Callable[[Arguments], AbstractContextManager[list[str]]]


@contextmanager
def nothing_around(arguments: Arguments) -> Iterator[list[str]]:
    yield []


def entry_point(
    command: str, schema: type[Schema], body: Callable[[Job[Schema]], object], around: Around = nothing_around
) -> Callable[[], None]:
    """The function behind `python -m vaelab.COMMAND`: `conf/COMMAND.yaml`, its schema, and what a job does.

    `around` is entered for the whole command, before Hydra is called, and yields overrides to add.
    """

    def main() -> None:
        tracebacks = os.environ.get(TRACEBACKS) == "1"
        failed: list[str] = []
        with errors_in_one_line(schema, tracebacks):
            register()
            arguments = prepare(sys.argv[1:], command, schema)

            @hydra.main(config_path=str(CONF_DIR), config_name=command, **VERSION_BASE, **WHITELIST)
            def run(composed: DictConfig) -> object:
                job = the_job(composed, schema)
                try:
                    with errors_in_one_line(schema, tracebacks):  # Hydra announces what leaves this function
                        return body(job)
                except SystemExit as end:
                    if job.sweep is None or end.code != FAILED:
                        raise
                    failed.append(job.shown(arguments.swept))  # the others of a multirun go on
                    return None

            with around(arguments) as more, exceptions_raised():
                sys.argv[1:] = [*arguments.flags, *arguments.overrides, *more]
                run()
            if failed:
                raise VaelabError(f"These jobs failed, see above: {', '.join(failed)}.")

    return main


def the_job(composed: DictConfig, schema: type[Schema]) -> Job[Schema]:
    """What Hydra says of the job that begins."""
    told = HydraConfig.get()
    os.chdir(told.runtime.cwd)  # where the line was typed: a launcher may have started this process elsewhere
    folder = Path(told.runtime.output_dir)
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    overrides: list[str] = OmegaConf.to_container(told.overrides.task, resolve=False)  # type: ignore[assignment]
    sweep = Path(told.sweep.dir) if told.mode == RunMode.MULTIRUN else None
    return Job(composed, schema, folder, overrides, sweep)


@contextmanager
def exceptions_raised() -> Iterator[None]:
    """Inside, Hydra raises what went wrong, which is its documented setting; the wording is vaelab's."""
    before = os.environ.get(TRACEBACKS)
    os.environ[TRACEBACKS] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(TRACEBACKS, None)
        else:
            os.environ[TRACEBACKS] = before


@contextmanager
def errors_in_one_line(schema: type[Settings], tracebacks: bool) -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and exit status 1; all else keeps its traceback.

    `schema` has the settings that may be typed. With `tracebacks`, that is whatever there is.
    """
    try:
        with unwinding():
            yield
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on, as after | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
        sys.exit(BY_SIGNAL + signal.SIGPIPE)
    except (VaelabError, CompactHydraException, OmegaConfBaseException, YAMLError, OSError) as error:
        if tracebacks:
            raise
        print(f"vaelab: {one_line(error, schema)}", file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt:  # before or after a run, which has handlers of its own
        print("vaelab: interrupted", file=sys.stderr)
        sys.exit(BY_SIGNAL + signal.SIGINT)
