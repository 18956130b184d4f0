"""Evaluate a run's best checkpoint, or another one: `python -m vaelab.evaluate checkpoint=outputs/...`."""

from __future__ import annotations

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from vaelab import config
from vaelab.cli import command_line
from vaelab.config import EvaluationConfig, VaelabError
from vaelab.runs.folder import existing
from vaelab.runs.signals import BY_SIGNAL

command_line.register()

failed: list[str] = []
"""What went wrong with single measures, or with checkpoints of a multirun: the others go on."""


@hydra.main(version_base="1.3", config_path=str(config.CONF_DIR), config_name="evaluate")
def run(composed: DictConfig) -> None:
    """One evaluation."""
    try:
        with command_line.errors_in_one_line(EvaluationConfig):
            asked = command_line.settings_from(composed, EvaluationConfig)
            existing(asked.checkpoint)
            from vaelab.training.run import load  # torch takes seconds: only for settings that resolve

            trained = load(asked.checkpoint)
            from vaelab.evaluation.evaluate import (
                evaluate,  # and so does this: only for a checkpoint that loads
            )

            outcome = evaluate(trained, asked)
    except SystemExit as failure:
        if HydraConfig.get().mode != RunMode.MULTIRUN or failure.code != command_line.FAILED:
            raise
        failed.append(str(composed.checkpoint))
        return
    print(outcome.text, end="")
    failed.extend(outcome.failed)
    if outcome.interrupted_by:
        sys.exit(BY_SIGNAL + outcome.interrupted_by)
    print(f"\nEvaluation folder: {outcome.folder}")


def main() -> None:
    """The command line."""
    with command_line.errors_in_one_line(EvaluationConfig):
        command_line.check_arguments()
        if command_line.show_help("evaluate"):
            return
        run()
        if failed:
            raise VaelabError(f"These could not be evaluated, see above: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
