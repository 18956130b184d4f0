"""The way into every command: what is typed is checked, composed and run; an error is one line."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vaelab.cli.arguments import prepare, swept_keys
from vaelab.cli.compose import VERSION_BASE, WHITELIST, Job, register
from vaelab.cli.messages import errors_in_one_line
from vaelab.cli.sweep import sweeping
from vaelab.config import CONF_DIR, SCHEMAS, VaelabError
from vaelab.runs.folder import RunFolder

TRACEBACKS = "HYDRA_FULL_ERROR"
"""Set to 1, Hydra raises what went wrong instead of printing it, and vaelab prints tracebacks."""


def entry_point(command: str) -> Callable[[Callable[[Job], object]], Callable[[], None]]:
    """Decorator: makes of what a job does the function behind `python -m vaelab.COMMAND`."""
    return lambda body: partial(run_command, command, body)


def run_command(command: str, body: Callable[[Job], object]) -> None:
    """Check what was typed, let Hydra compose conf/COMMAND.yaml with it, and run the job or a multirun's."""
    schema = SCHEMAS[command]
    tracebacks = os.environ.get(TRACEBACKS) == "1"
    failed: list[str] = []
    with errors_in_one_line(schema, tracebacks):
        register()
        arguments = prepare(sys.argv[1:], command, schema)

        @hydra.main(config_path=str(CONF_DIR), config_name=command, **VERSION_BASE, **WHITELIST)
        def run(composed: DictConfig) -> object:
            told = HydraConfig.get()
            os.chdir(told.runtime.cwd)  # where the line was typed: a launcher may have started this elsewhere
            sweep = Path(told.sweep.dir) if told.mode == RunMode.MULTIRUN else None
            overrides: Any = OmegaConf.to_container(told.overrides.task, resolve=False)
            job = Job(composed, RunFolder(told.runtime.output_dir), overrides, sweep)
            try:
                with errors_in_one_line(schema, tracebacks):  # Hydra announces what leaves this function
                    return body(job)
            except SystemExit as end:
                if sweep is None or end.code != 1:
                    raise
                keys = [(line.partition("=")[0].lstrip("+~"), line) for line in overrides]
                failed.append(" ".join(line for key, line in keys if key in swept_keys(arguments.parsed)))
                return None  # the others of a multirun go on

        with sweeping(command, arguments) as more:
            # The one place where a command line changes: Hydra reads this one.
            sys.argv[1:] = [*arguments.flags, *arguments.overrides, *more]
            os.environ[TRACEBACKS] = "1"  # the wording is vaelab's
            try:
                run()
            finally:
                os.environ[TRACEBACKS] = str(int(tracebacks))
        if failed:
            raise VaelabError(f"These jobs failed, see above: {', '.join(failed)}.")
