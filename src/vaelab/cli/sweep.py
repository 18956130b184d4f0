"""Running a sweep: each training happens once, signals reach every job, failed jobs are named."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from vaelab.cli.arguments import Arguments, refuse_several_values, refuse_too_many, shows_only
from vaelab.cli.compose import Job, as_typed, composing, settings_of
from vaelab.cli.messages import one_line
from vaelab.cli.plan import JOBLIB, Sweep, combinations, known_to_hydra, planned, subfolder
from vaelab.config import SCHEMAS, Config, VaelabError, expand_home, quote_override
from vaelab.data.datasets import OWN_FILES, spec_of
from vaelab.runs.files import TRAININGS, InUse, locked, remove_if_empty, write_bytes, writing
from vaelab.runs.folder import RunFolder, checkpoint_at, natural, run_folders, sha256_of
from vaelab.runs.logs import terminal
from vaelab.runs.signals import BY_SIGNAL, Signals

if TYPE_CHECKING:
    from vaelab.training.session import TrainingResult

FAILURE = ".failed"
"""Suffix of the file by which a failed job, on whatever machine, is reported to the sweep."""

STARTED = "sweep.json"
"""The file that tells each job, wherever it runs, the command of the whole sweep and its number of jobs."""

INTERRUPTED = "interrupted"
"""The file that tells joblib's processes that a signal ended a job, so that they start no further one."""


@dataclass
class Comparison(Callback):
    """The comparison after the last job, with the settings `hydra.callbacks.compare.…`.

    Hydra 1.3 doesn't call its callbacks when a launcher raises, and 1.4 doesn't pass them the error. So this
    callback only holds the settings, and `end` compares.
    """

    enabled: bool = True
    evaluate: bool = True
    figures: bool = True

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Expand `~` in a yaml's hydra.run.dir before Hydra creates it; a command line has no ~ left."""
        plain: Any = OmegaConf.to_container(config.hydra.run, resolve=False)
        if str(plain["dir"]).startswith("~"):
            config.hydra.run.dir = expand_home(plain["dir"])


@contextmanager
def sweeping(command: str, arguments: Arguments) -> Iterator[list[str]]:
    """Context of a command: if it is a sweep of trainings, check it, yield its overrides, then compare."""
    sweep = planned(arguments) if command == "train" else None
    if sweep is None:
        if arguments.given["multirun"]:
            refuse_too_many(arguments.parsed)
        else:
            refuse_several_values(arguments.parsed)
        if command != "train" and not shows_only(arguments):
            with composing(command, arguments.given) as compose:
                for each in combinations(arguments.parsed, is_grid=True):
                    settings_of(compose(each), SCHEMAS[command])
        yield []
        return
    start(sweep, sys.argv[1:])
    error = None
    with forward_signals() as received:
        try:
            yield sweep.overrides
        except Exception as raised:
            error = raised
    if received:
        sys.exit(BY_SIGNAL + received[0])
    end(sweep, error)


def start(sweep: Sweep, line: Sequence[str]) -> None:
    """Make the folder of a sweep and what its jobs read there; `line` is what was typed."""
    for path in (*failures(sweep), sweep.folder / TRAININGS / INTERRUPTED):  # left by an earlier call
        path.unlink(missing_ok=True)
    claim_runs(sweep.folder)
    facts = {"command": shlex.join(["python", "-m", "vaelab.train", *line]), "jobs": sweep.jobs}
    (sweep.folder / TRAININGS).mkdir(parents=True, exist_ok=True)
    write_bytes(sweep.folder / TRAININGS / STARTED, json.dumps(facts).encode())


def failures(sweep: Sweep) -> list[Path]:
    """The files that report failed jobs."""
    return [*(sweep.folder / TRAININGS).glob(f"*{FAILURE}")]


def end(sweep: Sweep, error: Exception | None) -> None:
    """Compare, pack, and raise a VaelabError that names the jobs without a finished run."""
    from vaelab.comparison.compare import compare  # torch: not for --help

    if isinstance(error, VaelabError | HydraException | OSError):
        raise error
    folder = RunFolder(sweep.folder)
    started = [path for path in sweep.folder.glob("[!.]*") if path.is_dir()]
    if error is not None:
        reason = " ".join(str(error).split())
        if not started:
            (sweep.folder / TRAININGS / STARTED).unlink()
            for path in (sweep.folder / TRAININGS, sweep.folder):
                remove_if_empty(path)
            raise VaelabError(f"The sweep did not start: {reason}") from error
        resume_command = quote_override("hydra.sweep.dir", folder.path)
        print(f"vaelab: the sweep ended with {type(error).__name__}: {reason}", file=sys.stderr)
        print(f"vaelab: to continue it, add {resume_command} to the command.", file=sys.stderr)
    failed, steps = failed_jobs(sweep), []
    if sweep.comparison is not None:
        try:
            outcome = compare(sweep.comparison)
        except (KeyboardInterrupt, SystemExit):
            by_hand = sweep.comparison.model_dump(include={"sweep", "evaluate", "figures"})
            line = ["python", "-m", "vaelab.compare", *itertools.starmap(quote_override, by_hand.items())]
            print(f"vaelab: interrupted. To compare the runs: {shlex.join(line)}", file=sys.stderr)
            raise
        print(outcome.summary)
        steps = outcome.failed
    pack(sweep, failed, steps)
    if error is not None:
        raise error


def failed_jobs(sweep: Sweep) -> list[str]:
    """The names of the jobs without a finished run."""
    from vaelab.comparison.compare import unfinished

    started = [path for path in sweep.folder.glob("[!.]*") if path.is_dir()]
    killed = [path.name for path in started if not any(path.iterdir())]  # before they wrote anything
    names = {*unfinished(sweep.folder), *killed, *(path.stem for path in failures(sweep))}
    return sorted(names, key=natural)


def pack(sweep: Sweep, jobs: Sequence[str], steps: Sequence[str]) -> None:
    """Pack a sweep if its settings say so, then raise a VaelabError that names what failed, if anything.

    `jobs` names the jobs that failed, and `steps` the steps of the comparison that failed.
    """
    folder = RunFolder(sweep.folder)
    if sweep.zip:
        folder.remove_leftovers()
        folder.write_zip()
    of = {"jobs of the sweep": jobs, "steps of the comparison": steps}
    failed = [f"These {what} failed: {', '.join(names)}." for what, names in of.items() if names]
    if failed:
        raise VaelabError(" ".join(failed))


def in_this_process(sweep: Sweep, arguments: Arguments) -> bool:
    """Run a sweep's jobs in turn, as Hydra's basic launcher does; returns whether a signal ended it."""
    start(sweep, [*arguments.flags, *arguments.overrides])
    OmegaConf.save(sweep.composed, sweep.folder / "multirun.yaml")
    for number, overrides in enumerate(sweep.combinations):
        with composing("train", arguments.given) as compose:
            composed = compose([*overrides, *sweep.overrides])
        folder = RunFolder(sweep.folder / subfolder(composed, number))
        job = Job(composed, folder, [*composed.hydra.overrides.task], sweep.folder)
        with known_to_hydra(composed):
            result = train_job(job, owns_process=False)
        if result is not None and result.interrupted_by:
            if result.interrupted_by != signal.SIGINT:
                sys.exit(BY_SIGNAL + result.interrupted_by)
            return True
    return False


@contextmanager
def forward_signals() -> Iterator[list[int]]:
    """Within the context, SIGINT and SIGTERM are forwarded to the processes that run jobs, which then save.

    Yields the list of signals received so far. Ctrl-C in a terminal reaches those processes twice: see
    `Signals`.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        running = multiprocessing.active_children()
        if received or not running:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(BY_SIGNAL + number)
        received.append(number)
        for process in running if os.name != "nt" else ():  # there it kills, and Ctrl-C reaches all anyway
            os.kill(process.pid or 0, number)

    before = {number: signal.signal(number, note) for number in Signals.OURS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def job_of_a_sweep(job: Job) -> float | None:
    """Run a job; returns neg_elbo of its best checkpoint on the validation images, or None.

    A search treats None as a failure. An error goes into the job's log and to stderr, and ends no other job.
    """
    assert job.sweep is not None
    interrupted = job.sweep / TRAININGS / INTERRUPTED
    result = None if interrupted.exists() else train_job(job, owns_process=True)
    if result is None:
        return None
    if result.folder.path == job.folder.path:
        print(f"Run folder: {job.folder.path}")
    if not result.interrupted_by:
        return result.neg_elbo
    resume_command = quote_override("hydra.sweep.dir", job.sweep)
    print(
        f"vaelab: interrupted. To continue the sweep, add {resume_command} to the command.", file=sys.stderr
    )
    if HydraConfig.get().runtime.choices["hydra/launcher"] not in JOBLIB:
        sys.exit(BY_SIGNAL + result.interrupted_by)
    write_bytes(interrupted, b"")
    return None


def train_job(job: Job, *, owns_process: bool) -> TrainingResult | None:
    """Train what is missing of a sweep's job; None where it failed, which is logged."""
    assert job.sweep is not None
    home = folder = job.folder
    try:
        sweep = json.loads((job.sweep / TRAININGS / STARTED).read_text(encoding="utf-8"))
        config = job.settings(Config)
        hydra = HydraConfig.get().job
        place = f"run {hydra.num + 1} of {sweep['jobs']}"
        same = {*hydra.config.override_dirname.exclude_keys}
        own = [as_typed(line) for line in job.overrides if line.partition("=")[0].lstrip("+~") not in same]
        print(f"{place}: {' '.join(own)}", file=terminal())
        # These import torch and matplotlib, which takes seconds: only for settings that resolve.
        from vaelab.pages.run_report import write_run_report
        from vaelab.training import session
        from vaelab.training.identity import training_digest

        files = spec_of(config.dataset).identity()
        if config.initial_weights is not None:
            files += sha256_of(checkpoint_at(config.initial_weights))
        with claimed(training_digest(config, files), job.sweep, folder) as home:
            if home.path != folder.path:
                print(f"{folder.name} is the same training as {home.name}", file=terminal())
            caller = session.Caller(
                job.overrides, write_run_report, owns_process, command=sweep["command"], place=place
            )
            return session.sweep_job(config, home, caller)
    except Exception as error:
        known = isinstance(error, VaelabError | OSError)
        reason = one_line(error, Config) if known else traceback.format_exc()
        print(f"vaelab: {folder.name} failed: {reason}", file=sys.stderr)
        write_bytes(job.sweep / TRAININGS / f"{home.name}{FAILURE}", reason.encode())
        # A run that has started has logged it, and run.json says it failed; another run's log is left alone.
        if not home.run_json.exists() and not isinstance(error, InUse):
            home.path.mkdir(parents=True, exist_ok=True)
            home.write_text(home.log, f"{reason}\n")
        return None


def claim_runs(sweep: Path) -> None:
    """Let the jobs of a sweep find existing runs in its folder by their settings.

    Their job numbers may differ: the grid may have been smaller, or the folder may be a copy.
    """
    # These import torch, which takes seconds: only for a sweep that may start.
    from vaelab.training import checkpoint
    from vaelab.training.identity import training_digest

    found = {}
    for path in run_folders(sweep):
        with suppress(OSError, VaelabError):
            saved = checkpoint.load(RunFolder(path).last_checkpoint)
            files = saved.data.sha256.get(OWN_FILES, "") + saved.initial_weights.get("sha256", "")
            found[str(path.relative_to(sweep))] = training_digest(checkpoint.config_of(saved), files)
    for name, digest in found.items():
        claim = claim_of(sweep, digest)
        before = claim.read_text(encoding="utf-8") if claim.exists() else ""
        if found.get(before, digest) != digest or not (sweep / before / "run.json").exists():
            write_bytes(claim, name.encode())


def claim_of(sweep: Path, digest: str) -> Path:
    """The file that names the job in which these settings are trained."""
    claim = sweep / TRAININGS / digest[:16]
    with writing(claim):
        claim.parent.mkdir(parents=True, exist_ok=True)
    return claim


@contextmanager
def claimed(digest: str, sweep: Path, folder: RunFolder) -> Iterator[RunFolder]:
    """Within the context, no other job trains these settings; yields the folder in which they are trained.

    The first job provides its own folder. Other jobs, in this or another process, wait and find it finished.
    """
    claim = claim_of(sweep, digest)
    with locked(claim.with_suffix(".lock")):
        if not claim.exists() and not folder.run_json.exists():  # a run.json here is that of another training
            write_bytes(claim, str(folder.path.absolute().relative_to(sweep.absolute())).encode())
        home = RunFolder(sweep / claim.read_text(encoding="utf-8")) if claim.exists() else folder
        if home.path != folder.path:
            remove_if_empty(folder.path)  # Hydra has made it
        yield home
