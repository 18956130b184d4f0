"""Train one VAE from one shell line, `python -m vaelab.train model=conv beta=0.5`; with -m, a sweep."""

from __future__ import annotations

import math
import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vaelab import config
from vaelab.cli import command_line, sweep
from vaelab.cli.repeating import spelled_out
from vaelab.config import Config, ConfigError, VaelabError, quote_override
from vaelab.pages.run_report import write_run_report
from vaelab.runs.files import InUse, remove_if_empty
from vaelab.runs.folder import RunFolder, existing
from vaelab.runs.signals import BY_SIGNAL

command_line.register()


@hydra.main(version_base="1.3", config_path=str(config.CONF_DIR), config_name="train")
def run(composed: DictConfig) -> float:
    """One job of Hydra's: returns the best held-out neg_elbo, in nats per image, for a sweeper."""
    job = HydraConfig.get()
    os.chdir(job.runtime.cwd)  # where the line was typed: a launcher may have begun this process elsewhere
    output = Path(job.runtime.output_dir)
    if output.is_relative_to(Path.cwd()):
        output = output.relative_to(Path.cwd())
    typed: list[str] = OmegaConf.to_container(job.overrides.task, resolve=False)  # type: ignore[assignment]
    if job.mode == RunMode.MULTIRUN:
        return job_of_a_sweep(composed, RunFolder(output), typed)
    try:
        # In here too, because Hydra announces what leaves this function.
        with command_line.errors_in_one_line(Config):
            if not job.run.dir:
                raise ConfigError("hydra.run.dir must be a folder's path, got ''.")
            asked = command_line.settings_from(composed, Config)
            if asked.resume is not None:
                existing(asked.resume)
            from vaelab.training import session  # torch, which takes seconds: only for settings that resolve

            caller = session.Caller(typed, write_run_report, owns_process=True)
            if asked.resume is None:
                outcome = session.train(asked, RunFolder(output), caller)
            else:
                keys = [override.split("=")[0].lstrip("+~") for override in typed]
                outcome = session.resume(asked, keys, caller)
            command_line.show_run(outcome.folder)
    finally:
        remove_if_empty(output)
    if outcome.interrupted_by:
        sys.exit(BY_SIGNAL + outcome.interrupted_by)
    return outcome.neg_elbo


def job_of_a_sweep(composed: DictConfig, folder: RunFolder, typed: list[str]) -> float:
    """The same where a failure must not end the others: it goes into the job's log, and NaN returns."""
    if sweep.stopped:
        return math.nan
    try:
        from vaelab.training import session

        caller = session.Caller(typed, write_run_report, owns_process=True)
        outcome = session.sweep_job(command_line.settings_from(composed, Config), folder, caller)
    except Exception as error:
        known = isinstance(error, VaelabError | OSError)
        reason = command_line.one_line(error, Config) if known else traceback.format_exc()
        print(f"vaelab: {folder.name} failed: {reason}", file=sys.stderr)
        sweep.failed.append(folder.name)
        # A run that has begun has logged it, and run.json says it failed; the log of another's is its own.
        if not folder.run_json.exists() and not isinstance(error, InUse):
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.write_text(folder.log, f"{reason}\n")
        return math.nan
    command_line.show_run(outcome.folder)
    if outcome.interrupted_by:
        sweep_dir = quote_override("hydra.sweep.dir", HydraConfig.get().sweep.dir)
        print(f"vaelab: interrupted. To go on with the sweep, add {sweep_dir} to the line.", file=sys.stderr)
        if HydraConfig.get().launcher._target_.endswith(".JoblibLauncher"):
            sweep.stopped.append(outcome.interrupted_by)  # joblib would end the other jobs while they save
            return math.nan
        sys.exit(BY_SIGNAL + outcome.interrupted_by)
    return outcome.neg_elbo


def main() -> None:
    """The command line."""
    with command_line.errors_in_one_line(Config):
        sys.argv[1:] = spelled_out(sys.argv[1:])
        command_line.check_arguments()
        if command_line.show_help("train"):
            return
        if any(argument.startswith("resume=") for argument in sys.argv):
            sys.argv.append("hydra.run.dir=.")  # the run has its folder: Hydra need not make one
        run()
        for error in sweep.broken:
            raise error
        if sweep.failed:
            raise VaelabError(f"These jobs of the sweep failed: {', '.join(sweep.failed)}.")


if __name__ == "__main__":
    main()
