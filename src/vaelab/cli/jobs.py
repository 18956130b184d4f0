"""A job of a sweep: trains what no other job of the sweep has trained, and its failure is its own."""

import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from hydra.core.hydra_config import HydraConfig

from vaelab.cli.entry import Job
from vaelab.cli.messages import one_line
from vaelab.config import Config, VaelabError, quote_override, training_digest
from vaelab.pages.run_report import write_run_report
from vaelab.runs.files import TRAININGS, InUse, remove_if_empty, write_bytes, writing
from vaelab.runs.folder import RunFolder
from vaelab.runs.signals import BY_SIGNAL

FAILURE = ".failed"
"""The ending of the file that tells the sweep of a failed job, wherever that ran."""

interrupted_by = 0
"""The signal that ended a job in this process, which joblib has for several jobs: it starts no other."""


def job_of_a_sweep(job: Job[Config]) -> float | None:
    """neg_elbo of the best checkpoint, validation images; or None, which a search takes as a failure.

    An error goes into the job's log and to stderr, and ends no other job.
    """
    if interrupted_by:
        return None
    assert job.sweep is not None
    home = folder = RunFolder(job.folder)
    try:
        config = job.settings()
        with claimed(training_digest(config), job.sweep, folder) as home:
            if home.path != folder.path:
                print(f"{folder.name} is the same training as {home.name}", file=sys.stderr)
            from vaelab.training import session  # torch, which takes seconds: only for settings that resolve

            caller = session.Caller(job.overrides, write_run_report, owns_process=True)
            result = session.sweep_job(config, home, caller)
    except Exception as error:
        known = isinstance(error, VaelabError | OSError)
        reason = one_line(error, Config) if known else traceback.format_exc()
        print(f"vaelab: {folder.name} failed: {reason}", file=sys.stderr)
        write_bytes(job.sweep / TRAININGS / f"{home.name}{FAILURE}", reason.encode())
        # A run that has started has logged it, and run.json says it failed; the log of another's is its own.
        if not home.run_json.exists() and not isinstance(error, InUse):
            home.path.mkdir(parents=True, exist_ok=True)
            home.write_text(home.log, f"{reason}\n")
        return None
    if home.path == folder.path:
        show_run(home)
    if result.interrupted_by:
        leave(result.interrupted_by, job.sweep)
        return None
    return result.neg_elbo


def leave(number: int, sweep: Path) -> None:
    """End the process that a signal has interrupted, when its job has saved."""
    global interrupted_by
    interrupted_by = number
    to_go_on = quote_override("hydra.sweep.dir", sweep)
    print(f"vaelab: interrupted. To go on with the sweep, add {to_go_on} to the line.", file=sys.stderr)
    if not str(HydraConfig.get().launcher._target_).endswith(".JoblibLauncher"):
        sys.exit(BY_SIGNAL + number)  # joblib would end the other jobs while they save


@contextmanager
def claimed(digest: str, sweep: Path, folder: RunFolder) -> Iterator[RunFolder]:
    """Inside, no other job trains these settings; yields the folder in which they are, or are to be, trained.

    Who comes first gives its own. Others wait here, in this process or another, and find what is finished.
    """
    claim = sweep / TRAININGS / digest[:16]
    with writing(claim):
        claim.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(claim.with_suffix(".lock")):
        if not claim.exists():
            write_bytes(claim, str(folder.path.absolute().relative_to(sweep.absolute())).encode())
        home = RunFolder(sweep / claim.read_text())
        if home.path != folder.path:
            remove_if_empty(folder.path)  # Hydra has made it
        yield home


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
