"""A sweep: invalid settings are refused first, each training happens once, failed jobs are named last."""

import itertools
import multiprocessing
import os
import shlex
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from vaelab.cli.arguments import (
    MOST_JOBS,
    Arguments,
    check,
    parse,
    refuse_several_values,
    refuse_too_many,
    shows_only,
    swept_keys,
)
from vaelab.cli.compose import Job, composing, is_sweep, settings_of
from vaelab.cli.messages import one_line, show_run
from vaelab.cli.search import continuing
from vaelab.config import (
    SCHEMAS,
    CompareConfig,
    Config,
    ConfigError,
    VaelabError,
    expand_home,
    quote_override,
)
from vaelab.config.base import GROUPS, check_switch
from vaelab.config.errors import flattened, must_be
from vaelab.config.train import training_digest
from vaelab.data.datasets import check_root
from vaelab.pages.run_report import write_run_report
from vaelab.runs.files import TRAININGS, InUse, locked, remove_if_empty, write_bytes, writing
from vaelab.runs.folder import RunFolder, natural, refuse_inside_a_run, refuse_system, run_folders
from vaelab.runs.signals import BY_SIGNAL, Signals

EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"
"""Keys that don't name the folders of jobs."""

FAILURE = ".failed"
"""The ending of the file that reports a failed job to the sweep, wherever it ran."""

INTERRUPTED = "interrupted"
"""The file that tells joblib's processes that a signal has ended a job: they start no other."""

PARAMS = "hydra.sweeper.params."
"""Begins the settings of a sweep in yaml: what it sweeps over."""

JOBLIB = ("parallel", "joblib")
"""The launchers that would end the other jobs while they save, if one ended with a signal's status."""


@dataclass
class Comparison(Callback):
    """The comparison when the last job has ended: the settings `hydra.callbacks.compare.…`.

    Hydra 1.3 doesn't call its callbacks when a launcher raises, and 1.4 doesn't pass them the error.
    So these are read here, and `Sweep.end` compares.
    """

    enabled: bool = True
    evaluate: bool = True
    figures: bool = True

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Before Hydra makes the folder of a run: `~` in a yaml; on a command line it is expanded already."""
        plain: Any = OmegaConf.to_container(config.hydra.run, resolve=False)
        if str(plain["dir"]).startswith("~"):
            config.hydra.run.dir = expand_home(plain["dir"])


@dataclass(frozen=True)
class Sweep:
    """A sweep that may start: all its combinations have been composed and checked."""

    folder: Path
    comparison: CompareConfig | None
    zip: bool
    overrides: list[str]
    """Overrides for every job, beside those of the command line."""

    def failures(self) -> list[Path]:
        """A file for each job that has failed."""
        return [*(self.folder / TRAININGS).glob(f"*{FAILURE}")]

    def end(self, error: Exception | None) -> None:
        """Compare, pack, and raise a VaelabError that names the jobs without a finished run."""
        from vaelab.comparison.compare import compare, unfinished  # torch: not for --help

        if isinstance(error, VaelabError | HydraException | OSError):
            raise error
        folder = RunFolder(self.folder)
        started = [path for path in self.folder.glob("[!.]*") if path.is_dir()]
        if error is not None:
            reason = " ".join(str(error).split())
            if not started:
                raise VaelabError(f"The sweep did not start: {reason}") from error
            resume_command = quote_override("hydra.sweep.dir", folder.path)
            print(f"vaelab: the sweep ended with {type(error).__name__}: {reason}", file=sys.stderr)
            print(f"vaelab: to continue it, add {resume_command} to the line.", file=sys.stderr)
        killed = [path.name for path in started if not any(path.iterdir())]  # before they wrote anything
        names = {*unfinished(self.folder), *killed, *(path.stem for path in self.failures())}
        failed = sorted(names, key=natural)
        if self.comparison is not None:
            try:
                outcome = compare(self.comparison)
            except (KeyboardInterrupt, SystemExit):
                by_hand = self.comparison.model_dump(include={"sweep", "evaluate", "figures"})
                line = ["python", "-m", "vaelab.compare", *itertools.starmap(quote_override, by_hand.items())]
                print(f"vaelab: interrupted. To compare the runs: {shlex.join(line)}", file=sys.stderr)
                raise
            print(f"{outcome.text}\nComparison: {outcome.folder}")
            failed += outcome.failed
        if self.zip:
            folder.remove_leftovers()
            folder.write_zip()
        if failed:
            raise VaelabError(f"These jobs of the sweep failed: {', '.join(failed)}.")
        if error is not None:
            raise error


@contextmanager
def sweeping(command: str, arguments: Arguments) -> Iterator[list[str]]:
    """Around a command: where it is a sweep of trainings, check it, yield its overrides, and end it."""
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
    for path in (*sweep.failures(), sweep.folder / TRAININGS / INTERRUPTED):  # of an earlier time
        path.unlink(missing_ok=True)
    claim_runs(sweep.folder)
    error = None
    with forward_signals() as received:
        try:
            yield sweep.overrides
        except Exception as raised:
            error = raised
    if received:
        sys.exit(BY_SIGNAL + received[0])
    sweep.end(error)


def planned(arguments: Arguments) -> Sweep | None:
    """The sweep of the command line or of a yaml, or None. Raises VaelabError and Hydra's errors."""
    given, parsed = arguments.given, arguments.parsed
    if shows_only(arguments):
        return None
    with composing("train", given) as compose:
        parsed = parse([str(part.input_line) for part in parsed])  # again, where Hydra knows the groups
        whole = compose([str(part.input_line) for part in parsed if not part.is_sweep_override()])
        config = whole.hydra
        in_yaml = [f"{key}={value}" for key, value in (config.sweeper.get("params") or {}).items()]
        if not is_sweep(whole, given):
            if given["multirun"]:
                raise VaelabError("hydra.mode=RUN makes one run, and -m a sweep: leave one of them out.")
            refuse_several_values(parsed)
            settings_of(whole, Config)
            if in_yaml:
                print(f"WARNING: only a sweep has {' '.join(in_yaml)}: type -m for it.", file=sys.stderr)
            return None
        parsed = [*parse(in_yaml), *parsed]
        for part in parsed:
            check(part, Config)
        is_grid = config.runtime.choices["hydra/sweeper"] == "basic"
        if is_grid:
            refuse_too_many(parsed)
        elif (trials := config.sweeper.get("n_trials") or 0) > MOST_JOBS:
            raise must_be("hydra.sweeper.n_trials", f"a whole number up to {MOST_JOBS:,}", trials)
        configs, subfolders = [], []
        jobs = [*combinations(parsed, is_grid)]
        for number, job in enumerate(tqdm(jobs, "checking", disable=None, leave=False, delay=1)):
            composed = compose(job)
            refuse_what_is_for_all_jobs(composed, whole, job, parsed)
            configs.append(settings_of(composed, Config))
            subfolders.append(subfolder(composed, number))
    with known_to_hydra(whole):  # the folder's name may refer to it
        folder = Path(expand_home(config.sweep.dir)).absolute()
    refuse_system(folder, "hydra.sweep.dir")
    refuse_inside_a_run(folder / "job", "hydra.sweep.dir")
    check_subfolders(subfolders)
    check_jobs(configs, config)
    if not is_grid and not all(each.dataset.val_size for each in configs):
        raise ConfigError(
            "A search with dataset.val_size=0 would choose by the test images: type dataset.val_size=5000."
        )
    same = sorted({str(part.key_or_group) for part in parsed} - swept_keys(parsed))
    overrides = [
        "hydra.mode=MULTIRUN",  # from an experiment's yaml, Hydra 1.4 doesn't take it
        quote_override("hydra.sweep.dir", folder),  # once for all: jobs may run on other machines
        quote_override(EXCLUDED, [*config.job.config.override_dirname.exclude_keys, *same]),
        *continuing(config.sweeper, folder),
    ]
    wanted = config.callbacks.compare
    enabled, evaluate, figures = (
        check_switch(f"hydra.callbacks.compare.{name}", wanted[name])
        for name in ("enabled", "evaluate", "figures")
    )
    comparison = CompareConfig(sweep=str(RunFolder(folder).path), evaluate=evaluate, figures=figures)
    zipped = any(each.artifacts.zip for each in configs)
    return Sweep(folder, comparison if enabled else None, zipped, overrides)


def for_all_jobs(composed: DictConfig) -> dict[str, Any]:
    """Hydra's own settings that it reads once for a whole sweep, as they would be typed; a choice first."""
    hydra = composed.hydra
    found = {key: hydra.runtime.choices[key] for key in ("hydra/launcher", "hydra/sweeper")}
    nested = OmegaConf.masked_copy(hydra, ["sweeper", "launcher", "callbacks", "sweep"])
    found |= flattened({"hydra": OmegaConf.to_container(nested, resolve=False)})
    return {key: value for key, value in found.items() if key != "hydra.sweep.subdir"}


def refuse_what_is_for_all_jobs(
    job: DictConfig, whole: DictConfig, overrides: Sequence[str], parsed: Sequence[Override]
) -> None:
    """Raise VaelabError where a choice among several would set what holds for all jobs, as a study does."""
    common = for_all_jobs(whole)
    lost = {key: value for key, value in for_all_jobs(job).items() if common.get(key, key) != value}
    if not lost:
        return
    swept = swept_keys(parsed) & {*GROUPS}
    choice = " ".join(line for line in overrides if line.partition("=")[0] in swept)
    params = [key.removeprefix(PARAMS) + f"={lost[key]}" for key in lost if key.startswith(PARAMS)]
    if params:
        raise VaelabError(
            f"{choice} is a sweep of its own ({' '.join(params)}) and can't be one value of another: type "
            f"one at a time, -m {choice}."
        )
    setting = quote_override(*next(iter(lost.items())))
    raise VaelabError(
        f"{choice} has {setting}, which holds for all jobs of a sweep and not for one: type {setting} on the "
        "command line."
    )


@contextmanager
def known_to_hydra(composed: DictConfig) -> Iterator[None]:
    """Inside, `${hydra:…}` stands for what was composed."""
    hydra = HydraConfig.instance()
    before = hydra.cfg
    hydra.set_config(composed)
    try:
        yield
    finally:
        hydra.cfg = before


def combinations(parsed: Sequence[Override], is_grid: bool) -> Iterator[tuple[str, ...]]:
    """The overrides of each job of a grid; of a search, whose jobs are not known yet, those of one.

    A search has one for each choice in its groups.
    """
    values: dict[str, list[str]] = {}
    for part in parsed:
        key = part.get_key_element()
        if part.is_interval_sweep():
            if is_grid:
                raise VaelabError(
                    f"'{part.input_line}' is for a search: type hydra/sweeper=search beside it, or values, "
                    f"{key}=a,b."
                )
            values[key] = [f"{key}={part.value().start}"]  # type: ignore[union-attr]
        elif part.is_sweep_override():
            few = None if is_grid or part.key_or_group in GROUPS else 1
            values[key] = [f"{key}={value}" for value in itertools.islice(part.sweep_string_iterator(), few)]
        else:
            values[key] = [str(part.input_line)]
    return itertools.product(*values.values())


def subfolder(composed: DictConfig, number: int) -> str:
    """The folder of a job in its sweep's. Raises OmegaConf's errors for what only a running job knows."""
    composed.hydra.job.num = number
    with known_to_hydra(composed):
        return os.path.normpath(composed.hydra.sweep.subdir)


def check_subfolders(subfolders: Sequence[str]) -> None:
    """Raise ConfigError for jobs that would not have a folder each, inside the sweep's."""
    for each, jobs in Counter(subfolders).items():
        if each == "." or each.startswith("..") or Path(each).is_absolute():
            raise ConfigError(f"hydra.sweep.subdir={each} is not a folder inside the sweep's: leave it out.")
        if jobs > 1:
            raise ConfigError(f"hydra.sweep.subdir={each} is the folder of several jobs: leave it out.")


def check_jobs(configs: Sequence[Config], hydra: DictConfig) -> None:
    """Raise VaelabError for what could never run in a sweep, because of a model or the data too."""
    if any(config.resume is not None for config in configs):
        raise ConfigError(
            "resume continues one run: leave -m out. A sweep is continued by its own command and "
            "hydra.sweep.dir=FOLDER."
        )
    runs_here = hydra.runtime.choices["hydra/launcher"] in ("basic", *JOBLIB)
    data = {repr(config.dataset): config.dataset for config in configs if runs_here}
    for each in data.values():
        check_root(each)
    import torch  # takes seconds: only for settings that resolve

    from vaelab.data.splits import load
    from vaelab.training.state import check_model, check_settings

    for config in configs:
        check_settings(config) if runs_here else check_model(config)
    for each in data.values():
        load(each, torch.device("cpu"))


@contextmanager
def forward_signals() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM go to the processes that run jobs: when these have saved, the waiting ends.

    Yields the signals that came. Ctrl-C in a terminal reaches those processes twice: see `Signals`.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        running = multiprocessing.active_children()
        if received or not running:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(BY_SIGNAL + number)
        received.append(number)
        for process in running:
            os.kill(process.pid or 0, number)

    before = {number: signal.signal(number, note) for number in Signals.OURS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def job_of_a_sweep(job: Job) -> float | None:
    """neg_elbo of the best checkpoint, validation images; or None, which a search takes as a failure.

    An error goes into the job's log and to stderr, and ends no other job.
    """
    assert job.sweep is not None
    interrupted = job.sweep / TRAININGS / INTERRUPTED
    if interrupted.exists():
        return None
    home = folder = job.folder
    try:
        config = job.settings(Config)
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
        # A run that has started has logged it, and run.json says it failed; another run's log is left alone.
        if not home.run_json.exists() and not isinstance(error, InUse):
            home.path.mkdir(parents=True, exist_ok=True)
            home.write_text(home.log, f"{reason}\n")
        return None
    if home.path == folder.path:
        show_run(home)
    if not result.interrupted_by:
        return result.neg_elbo
    resume_command = quote_override("hydra.sweep.dir", job.sweep)
    print(f"vaelab: interrupted. To continue the sweep, add {resume_command} to the line.", file=sys.stderr)
    if HydraConfig.get().runtime.choices["hydra/launcher"] not in JOBLIB:
        sys.exit(BY_SIGNAL + result.interrupted_by)
    write_bytes(interrupted, b"")
    return None


def claim_runs(sweep: Path) -> None:
    """Let the jobs of a sweep find the runs that are in its folder already, by their settings.

    Their numbers may be others: the grid may have been smaller, or the folder is a copy.
    """
    from vaelab.training import checkpoint  # torch, which takes seconds: only for a sweep that may start

    found = {}
    for path in run_folders(sweep):
        with suppress(OSError, VaelabError):
            saved = checkpoint.load(RunFolder(path).last_checkpoint)
            found[str(path.relative_to(sweep))] = training_digest(checkpoint.config_of(saved))
    for name, digest in found.items():
        claim = claim_of(sweep, digest)
        before = claim.read_text() if claim.exists() else ""
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
    """Inside, no other job trains these settings; yields the folder in which they are, or are to be, trained.

    The first job provides its own folder. Others wait, in this or another process, and find it finished.
    """
    claim = claim_of(sweep, digest)
    with locked(claim.with_suffix(".lock")):
        if not claim.exists() and not folder.run_json.exists():  # of another training
            write_bytes(claim, str(folder.path.absolute().relative_to(sweep.absolute())).encode())
        home = RunFolder(sweep / claim.read_text()) if claim.exists() else folder
        if home.path != folder.path:
            remove_if_empty(folder.path)  # Hydra has made it
        yield home
