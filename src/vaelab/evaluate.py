"""Evaluate a run's best checkpoint, or another one: `python -m vaelab.evaluate checkpoint=outputs/...`."""

import sys

from vaelab.cli.compose import Job
from vaelab.cli.entry import entry_point
from vaelab.config import EvaluationConfig, VaelabError
from vaelab.runs.folder import existing
from vaelab.runs.logs import doing
from vaelab.runs.signals import BY_SIGNAL


@entry_point("evaluate")
def main(job: Job) -> None:
    config = job.settings(EvaluationConfig)
    existing(config.checkpoint)
    with doing("loading PyTorch and the checkpoint"):
        from vaelab.training.run import load  # torch takes seconds: only for settings that resolve

        run = load(config.checkpoint)
        from vaelab.evaluation import evaluate as evaluation  # and so does this: for a checkpoint that loads

    outcome = evaluation.evaluate(run, config)
    print(outcome.text, end="")
    if outcome.interrupted_by:
        sys.exit(BY_SIGNAL + outcome.interrupted_by)
    print(f"\nSummary: {outcome.folder / evaluation.SUMMARY}")
    print(f"Evaluation folder: {outcome.folder}")
    if outcome.failed:
        raise VaelabError(f"These steps failed (see above): {', '.join(outcome.failed)}.")


if __name__ == "__main__":
    main()
