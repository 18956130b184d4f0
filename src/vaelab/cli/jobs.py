"""A job of a sweep: trains what no other job of the sweep has trained, and its failure is its own."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock
from hydra.core.hydra_config import HydraConfig

from vaelab.cli.entry import Job
from vaelab.cli.messages import one_line
from vaelab.config import Config, VaelabError, quote_override, training_digest
from vaelab.pages.run_report import write_run_report
from vaelab.runs.files import InUse, remove_if_empty, write_bytes, writing
from vaelab.runs.folder import RunFolder
from vaelab.runs.signals import BY_SIGNAL

TRAININGS = ".trainings"
"""In a sweep's folder: for each training a file, named by its digest, that says which job's folder it has."""

interrupted_by = 0
"""The signal that ended a job in this process, which joblib has for several jobs: it starts no other."""


def job_of_a_sweep(job: Job[Config]) -> float | None:
    """neg_elbo of the best checkpoint, validation images; or None, which a search takes as a failure.

    An error goes into the job's log and to stderr, and ends no other job.
    """
    folder = RunFolder(job.folder)
    if interrupted_by:
        return None
    try:
        return train_once(job, folder)
    except Exception as error:
        known = isinstance(error, VaelabError | OSError)
        reason = one_line(error, Config) if known else traceback.format_exc()
        print(f"vaelab: {folder.name} failed: {reason}", file=sys.stderr)
        # A run that has started has logged it, and run.json says it failed; the log of another's is its own.
        if not folder.run_json.exists() and not isinstance(error, InUse):
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.write_text(folder.log, f"{reason}\n")
        return None


def train_once(job: Job[Config], folder: RunFolder) -> float | None:
    """Train what is missing in the folder of this training: the job's own, or that of an earlier job."""
    global interrupted_by
    config = job.settings()
    with claimed(config, job, folder) as home:
        if home.path != folder.path:
            print(f"{folder.name} is the same training as {home.name}", file=sys.stderr)
        from vaelab.training import session  # torch, which takes seconds: only for settings that resolve

        caller = session.Caller(job.overrides, write_run_report, owns_process=True)
        outcome = session.sweep_job(config, home, caller)
    if home.path == folder.path:
        show_run(home)
    if not outcome.interrupted_by:
        return outcome.neg_elbo
    assert job.sweep is not None
    to_go_on = quote_override("hydra.sweep.dir", job.sweep)
    print(f"vaelab: interrupted. To go on with the sweep, add {to_go_on} to the line.", file=sys.stderr)
    interrupted_by = outcome.interrupted_by
    if str(HydraConfig.get().launcher._target_).endswith(".JoblibLauncher"):
        return None  # an exit would end the other jobs while they save
    sys.exit(BY_SIGNAL + interrupted_by)


@contextmanager
def claimed(config: Config, job: Job[Config], folder: RunFolder) -> Iterator[RunFolder]:
    """Inside, no other job trains these settings; yields the folder in which they are, or are to be, trained.

    Who comes first gives its own. Others wait here, in this process or another, and find what is finished.
    """
    assert job.sweep is not None
    claim = job.sweep / TRAININGS / training_digest(config)[:16]
    with writing(claim):
        claim.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(claim.with_suffix(".lock")):
        if claim.exists():
            remove_if_empty(folder.path)  # Hydra has made it
        else:
            write_bytes(claim, str(folder.path.absolute().relative_to(job.sweep.absolute())).encode())
        yield RunFolder(job.sweep / claim.read_text())


def show_run(folder: RunFolder) -> None:
    """Print where a run lies and what to open in it: the only thing on stdout."""
    print(f"Run folder: {folder.path}")
    for path, meaning in folder.worth_opening():
        print(f"  {path:<32}{meaning}")
    if folder.best_checkpoint.is_file():
        line = ["python", "-m", "vaelab.evaluate", quote_override("checkpoint", folder.path)]
        print(f"To evaluate it: {shlex.join(line)}")
        line = ["python", "-m", "vaelab.explore", quote_override("run", folder.path)]
        print(f"To explore its latent space: {shlex.join(line)}")
