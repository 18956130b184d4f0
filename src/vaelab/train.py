"""Train one VAE from one shell line, `python -m vaelab.train model=conv beta=0.5`; with -m, a sweep."""

import sys

from vaelab.cli.entry import Job, entry_point
from vaelab.cli.jobs import job_of_a_sweep, show_run
from vaelab.cli.sweep import sweeping
from vaelab.config import Config
from vaelab.pages.run_report import write_run_report
from vaelab.runs.files import remove_if_empty
from vaelab.runs.folder import RunFolder, existing
from vaelab.runs.signals import BY_SIGNAL


def train(job: Job[Config]) -> float | None:
    """One run, new or resumed; returns the best neg_elbo on the validation images, for a sweeper."""
    if job.sweep is not None:
        return job_of_a_sweep(job)
    try:
        config = job.settings()
        if config.resume is not None:
            existing(config.resume)
        from vaelab.training import session  # torch, which takes seconds: only for settings that resolve

        caller = session.Caller(job.overrides, write_run_report, owns_process=True)
        if config.resume is None:
            outcome = session.train(config, RunFolder(job.folder), caller)
        else:
            keys = [line.partition("=")[0].lstrip("+~") for line in job.overrides]
            outcome = session.resume(config, keys, caller)
        show_run(outcome.folder)
    finally:
        remove_if_empty(job.folder)
    if outcome.interrupted_by:
        sys.exit(BY_SIGNAL + outcome.interrupted_by)
    return outcome.neg_elbo


main = entry_point("train", Config, train, around=sweeping)

if __name__ == "__main__":
    main()
