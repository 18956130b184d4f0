"""Hydra's launchers, where a job that is lost, killed or out of memory, ends no other, or says what to do.

conf/hydra/launcher has their settings. Hydra finds launchers only in this namespace package.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from vaelab.cli import sweep
from vaelab.config import VaelabError, quote_override
from vaelab.runs.folder import RunFolder
from vaelab.runs.signals import BY_SIGNAL, Signals

Waiting = Callable[[], JobReturn]
"""Waits for a job. Raises whatever the engine raises where it can't say how the job ended."""

QUEUE_S = 10
"""Seconds between two questions about a job in Slurm's queue."""

ANSWER_S = 5
"""Seconds that a Ray cluster has to answer."""

SAVING_S = 60
"""Seconds that jobs on a Ray cluster have to save their state after Ctrl-C."""


class Engine(Launcher):
    """What launchers are told by Hydra."""

    def __init__(self, **params: Any) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config


class JoblibLauncher(Engine):
    """Jobs side by side on this machine. The arguments are those of Hydra's launcher."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher as Hydras
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        launcher = Hydras(**self.params)
        launcher.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        try:
            with passed_on() as received:
                returned = launcher.launch(job_overrides, initial_job_idx)
        except TerminatedWorkerError as error:
            folder = quote_override("hydra.sweep.dir", self.config.hydra.sweep.dir)
            raise VaelabError(
                "A job was killed, perhaps for want of memory, and joblib ended the others with it: "
                f"add {folder} to the line to go on, with a smaller hydra.launcher.n_jobs."
            ) from error
        if received:
            sys.exit(BY_SIGNAL + received[0])
        return returned


@contextmanager
def passed_on() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM go to the processes that run jobs: when these have saved, the waiting ends.

    Yields the signals that came. Ctrl-C in a terminal reaches those processes twice: see `Signals`.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        running = multiprocessing.active_children()
        if not running or received:
            raise KeyboardInterrupt
        received.append(number)
        for process in running:
            assert process.pid is not None
            os.kill(process.pid, number)

    before = {number: signal.signal(number, note) for number in Signals.OURS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Enduring(Engine):
    """Starts all jobs, then waits for each of them, whatever becomes of the others."""

    @abstractmethod
    def start(self, jobs: Sequence[Sequence[str]], numbers: Sequence[int]) -> list[Waiting]:
        """Hand jobs, their overrides and their numbers in the sweep, to the engine."""

    @abstractmethod
    def leave(self) -> None:
        """What happens to the jobs when Ctrl-C ends the waiting."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        try:
            return self.wait_for_all(job_overrides, initial_job_idx)
        except KeyboardInterrupt:
            self.leave()
            raise

    def wait_for_all(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        returned = []
        for number, overrides, wait in zip(
            numbers, job_overrides, self.start(job_overrides, numbers), strict=True
        ):
            try:
                returned.append(wait())
            except Exception as error:  # of the engine's: what a job raises, it reports by itself
                hydra = self.settings(overrides, number).hydra
                sweep.lose(RunFolder(Path(hydra.sweep.dir, hydra.sweep.subdir)), error)
                returned.append(JobReturn(status=JobStatus.COMPLETED, _return_value=math.nan))
        return returned

    def settings(self, overrides: Sequence[str], number: int) -> DictConfig:
        """What Hydra tells a job; its folder's name among it."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.num = number
            config.hydra.job.id = f"{number}"
        HydraConfig.instance().set_config(config)  # the folder's name refers to it
        return config


class RayLauncher(Enduring):
    """A task on a Ray cluster for each job. `ray` has the arguments of ray.init and ray.remote."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.tasks: list[Any] = []

    def start(self, jobs: Sequence[Sequence[str]], numbers: Sequence[int]) -> list[Waiting]:
        import ray
        from hydra_plugins.hydra_ray_launcher._launcher_util import launch_job_on_ray, start_ray

        asked = self.params["ray"]
        start_ray(OmegaConf.create({**asked.init, "address": cluster(asked.init.address)}))
        self.tasks = []
        for overrides, number in zip(jobs, numbers, strict=True):
            task = launch_job_on_ray(
                self.hydra_context,
                asked.remote,
                self.settings(overrides, number),
                self.task_function,
                Singleton.get_state(),
            )
            self.tasks.append(task)

        get = cast("Callable[[Any], JobReturn]", ray.get)
        return [partial(get, task) for task in self.tasks]

    def leave(self) -> None:
        import ray

        print("vaelab: interrupted, the jobs save their state", file=sys.stderr)
        for task in self.tasks:
            ray.cancel(task)  # a SIGINT in its process
        ray.wait(self.tasks, num_returns=len(self.tasks), timeout=SAVING_S)


def cluster(address: str | None) -> str:
    """The cluster to go to: the one that was named, else this machine's, else one of our own.

    Raises VaelabError where the one that was named doesn't answer; Ray itself would wait for minutes.
    """
    named = address or os.environ.get("RAY_ADDRESS")
    note = Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster"  # also after a crash
    wanted = named or (note.read_text().strip() if note.is_file() else "local")
    host, _, port = wanted.rpartition(":")
    if not port.isdecimal() or "/" in host:  # local, auto, ray://…: Ray's own words
        return wanted
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        if named is None:
            return "local"
        raise VaelabError(
            f"No Ray cluster answers at {wanted}: type hydra.launcher.ray.init.address=HOST:PORT of one "
            "that runs, or hydra.launcher.ray.init.address=local to start one here."
        ) from error
    return wanted


class SlurmLauncher(Enduring):
    """An element of a Slurm job array for each job. The arguments are those of submitit's launcher."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.submitted: list[Any] = []

    def start(self, jobs: Sequence[Sequence[str]], numbers: Sequence[int]) -> list[Waiting]:
        import submitit
        from hydra_plugins.hydra_submitit_launcher import submitit_launcher
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

        launcher = submitit_launcher.SlurmLauncher(**self.params)
        launcher.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        params = dict(launcher.params)
        executor = submitit.AutoExecutor(
            cluster="slurm",
            folder=params.pop("submitit_folder"),
            slurm_max_num_timeout=params.pop("max_num_timeout"),
        )
        executor.update_parameters(
            **{key if hasattr(BaseQueueConf, key) else f"slurm_{key}": params[key] for key in params}
        )
        try:
            self.submitted = executor.map_array(
                launcher,
                [list(overrides) for overrides in jobs],
                ["hydra.sweep.dir"] * len(jobs),
                numbers,
                [f"{number}" for number in numbers],
                [Singleton.get_state()] * len(jobs),
            )
        except submitit.core.utils.FailedJobError as error:
            *_, reason = str(error).strip().splitlines()
            raise VaelabError(
                f"Slurm took no job: {reason.removeprefix('sbatch: ')}. What can be set, such as "
                "hydra.launcher.partition=NAME, is in conf/hydra/launcher/submitit_slurm.yaml."
            ) from error
        return [partial(result_of, job) for job in self.submitted]

    def leave(self) -> None:
        if not self.submitted:
            return
        array = self.submitted[0].job_id.partition("_")[0]
        print(
            f"vaelab: the jobs go on: scancel {array} ends them, vaelab.compare compares what has finished.",
            file=sys.stderr,
        )


def result_of(job: Any) -> JobReturn:
    """Wait for a job of submitit's. Raises where it has ended without a result: killed, or out of memory.

    submitit asks sacct, which on a cluster without accounting never says that a job has ended.
    """
    path: Path = job.paths.result_pickle
    for second in count():
        if path.exists():
            break
        if second % QUEUE_S == 0 and not is_queued(job.job_id):
            time.sleep(QUEUE_S)  # a shared file system may be late
            if not path.exists():
                raise RuntimeError(f"Slurm has ended job {job.job_id}: see {job.paths.stderr}")
        time.sleep(1)
    (returned,) = job.results()
    return returned


def is_queued(job_id: str) -> bool:
    """Whether a job waits, runs, or can't be asked about."""
    command = ["squeue", "--noheader", f"--jobs={job_id}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return True
    return bool(asked.stdout.strip()) or (asked.returncode != 0 and "Invalid job id" not in asked.stderr)
