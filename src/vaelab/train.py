"""Train a VAE, or with -m a sweep of them: `python -m vaelab.train model=conv beta=0.5`."""

import sys

from vaelab.cli.api import new_or_resumed
from vaelab.cli.compose import Job
from vaelab.cli.entry import entry_point
from vaelab.cli.messages import show_run
from vaelab.cli.sweep import job_of_a_sweep
from vaelab.config import Config
from vaelab.data.datasets import check_root
from vaelab.runs.files import remove_if_empty
from vaelab.runs.folder import existing
from vaelab.runs.signals import BY_SIGNAL


@entry_point("train")
def main(job: Job) -> float | None:
    """One run, new or resumed; returns the best neg_elbo on the validation images, for a sweeper."""
    if job.sweep is not None:
        return job_of_a_sweep(job)
    try:
        config = job.settings(Config)
        if config.resume is None:
            check_root(config.dataset)
        if (path := config.resume or config.initial_weights) is not None:
            existing(path)
        outcome = new_or_resumed(config, job.folder, job.overrides, owns_process=True)
        show_run(outcome.folder)
    finally:
        remove_if_empty(job.folder.path)
    if outcome.interrupted_by:
        sys.exit(BY_SIGNAL + outcome.interrupted_by)
    return outcome.neg_elbo


if __name__ == "__main__":
    main()
