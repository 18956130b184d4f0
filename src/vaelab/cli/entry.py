"""The entry point of every command: checks and composes its settings and runs it; an error is one line."""

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vaelab.cli.arguments import prepare, swept_keys
from vaelab.cli.completion import answer
from vaelab.cli.compose import VERSION_BASE, WHITELIST, Job, help_text, register
from vaelab.cli.messages import errors_in_one_line
from vaelab.cli.sweep import sweeping
from vaelab.config import CONF_DIR, SCHEMAS, VaelabError
from vaelab.runs.folder import RunFolder
from vaelab.runs.logs import standard_streams

TRACEBACKS = "HYDRA_FULL_ERROR"
"""If 1, Hydra raises errors instead of printing them, and vaelab prints tracebacks."""


def entry_point(command: str) -> Callable[[Callable[[Job], object]], Callable[[], None]]:
    """Decorator: turns a function that runs one job into the main function of a command."""
    return lambda body: partial(run_command, command, body)


def version_line() -> str:
    """`vaelab 0.2.0, Hydra 1.3.8, PyTorch 2.11.0`, without importing them."""
    names = {"vaelab": "vaelab", "Hydra": "hydra-core", "PyTorch": "torch"}
    return ", ".join(f"{name} {version(package)}" for name, package in names.items())


def write_any_character() -> None:
    """Let −, ± and → be printed where the encoding of an output lacks them, as on Windows that of a pipe."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            chosen = os.name != "nt" or "PYTHONIOENCODING" in os.environ
            stream.reconfigure(encoding=stream.encoding if chosen else "utf-8", errors="replace")


@standard_streams()
def run_command(command: str, body: Callable[[Job], object]) -> None:
    """Check the command line, let Hydra compose conf/COMMAND.yaml with it, and run the job or the jobs."""
    schema = SCHEMAS[command]
    tracebacks = os.environ.get(TRACEBACKS) == "1"
    failed: list[str] = []
    write_any_character()
    with errors_in_one_line(schema, tracebacks):
        register()
        arguments = prepare(sys.argv[1:], command, schema)
        if arguments.given["version"]:
            print(version_line())
            return
        if arguments.given["help"]:
            one_value = [str(part.input_line) for part in arguments.parsed if not part.is_sweep_override()]
            print(help_text(command, arguments.given, one_value))
            return
        if arguments.given["shell_completion"]:
            print(answer(" ".join(arguments.overrides), schema))
            return

        @hydra.main(config_path=str(CONF_DIR), config_name=command, **VERSION_BASE, **WHITELIST)
        def run(composed: DictConfig) -> object:
            hydra_config = HydraConfig.get()
            os.chdir(hydra_config.runtime.cwd)  # a launcher may have started this elsewhere
            sweep = Path(hydra_config.sweep.dir) if hydra_config.mode == RunMode.MULTIRUN else None
            overrides: Any = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
            job = Job(composed, RunFolder(hydra_config.runtime.output_dir), overrides, sweep)
            try:
                with errors_in_one_line(schema, tracebacks):  # Hydra prints a line about what leaves run()
                    return body(job)
            except SystemExit as end:
                if sweep is None or end.code != 1:
                    raise
                keys = [(line.partition("=")[0].lstrip("+~"), line) for line in overrides]
                failed.append(" ".join(line for key, line in keys if key in swept_keys(arguments.parsed)))
                return None  # the other jobs of a multirun continue

        with sweeping(command, arguments) as more:
            # The one place where a command line changes: Hydra reads this one.
            typed, sys.argv[1:] = sys.argv[1:], [*arguments.flags, *arguments.overrides, *more]
            try:
                with env_override({TRACEBACKS: "1"}):  # Hydra then raises errors, which vaelab words
                    run()
            finally:
                sys.argv[1:] = typed
        if failed:
            raise VaelabError(f"These jobs failed (see above): {', '.join(failed)}.")
