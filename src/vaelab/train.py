"""Train one VAE from one shell line: `python -m vaelab.train model=conv beta=0.5`."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from vaelab import command_line, config
from vaelab.config import Config, VaelabError
from vaelab.run_folder import RunFolder, remove_if_empty

command_line.register()

failed_jobs: list[str] = []
"""Folders of the jobs of a sweep that couldn't be run to their end: the others go on."""


@hydra.main(version_base="1.3", config_path=str(config.CONF_DIR), config_name="train")
def run(composed: DictConfig) -> float:
    """One job of Hydra's: returns best.pt's held-out neg_elbo, in nats per image, for a sweeper."""
    job = HydraConfig.get()
    output = Path(job.runtime.output_dir)
    typed = list(job.overrides.task)
    try:
        with command_line.errors_in_one_line(
            Config
        ):  # in here too: Hydra announces what leaves this function
            asked = config.resolve(composed, Config)
            from vaelab.training import session  # torch, which takes seconds: only for settings that resolve

            if asked.resume is None:
                outcome = session.train(asked, RunFolder(output), typed)
            else:
                keys = [override.split("=")[0].lstrip("+~") for override in typed]
                outcome = session.resume(asked, keys, typed)
    except SystemExit as failure:
        if job.mode != RunMode.MULTIRUN or failure.code != command_line.FAILED:
            raise
        failed_jobs.append(output.name)
        return math.nan
    finally:
        remove_if_empty(output)
    command_line.show_run(outcome.folder)
    if outcome.interrupted_by:
        sys.exit(command_line.BY_SIGNAL + outcome.interrupted_by)
    return outcome.neg_elbo


def main() -> None:
    """The command line."""
    with command_line.errors_in_one_line(Config):
        run()
        if failed_jobs:
            raise VaelabError(f"These jobs of the sweep failed, see above: {', '.join(failed_jobs)}.")


if __name__ == "__main__":
    main()
