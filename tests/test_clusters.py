"""Jobs that are killed, by launcher: joblib, and Slurm on a cluster started and stopped here, skipped where absent."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import TABLE_ONLY, TINY, UNDRAWN, command_line_of, environment, status
from whole_runs import start

SWEEP = ("-m", *TINY, *UNDRAWN, *TABLE_ONLY, "hydra.sweep.dir=sweep")
PATIENCE_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: object, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def epochs_done(run: Path) -> int:
    try:
        return len((run / "metrics.csv").read_text().splitlines()) - 1
    except FileNotFoundError:
        return 0


def kill(run: Path) -> None:
    """kill -9 the process that writes the log of a run."""
    log = str((run / "train.log").resolve())
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(file.readlink()) == log for file in (process / "fd").iterdir()):
                os.kill(int(process.name), signal.SIGKILL)
                return
    pytest.fail(f"nothing writes {log}")


def start_sweep(folder: Path, env: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return start(folder, *SWEEP, *arguments, env=env, start_new_session=True)  # a Ctrl-C of its own


def is_alive(group: int) -> bool:
    """Whether any process of a group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def assert_continued(run: Path, epochs: int, err: str) -> None:
    """Finished, and not from the start."""
    assert (status(run), epochs_done(run)) == ("finished", epochs), err
    assert re.search(r"Continuing after epoch [1-9]\d*,", (run / "train.log").read_text())


def both_train(sweep: subprocess.Popen[str], *runs: Path) -> None:
    for run in runs:
        wait_until(
            lambda run=run: epochs_done(run) >= 2 or sweep.poll() is not None, f"{run.name} does not train"
        )
        assert sweep.poll() is None, sweep.communicate()


# --- joblib -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_joblib_says_how_to_continue_after_a_job_was_killed(tmp_path: Path) -> None:
    engine = ("hydra/launcher=parallel", "hydra.launcher.n_jobs=2")
    env = environment(PYTHONWARNINGS="ignore")  # loky's resource tracker warns of what the killed one left
    sweep = start_sweep(tmp_path, env, "epochs=40", "seed=1,2", *engine)
    killed = tmp_path / "sweep" / "0_seed-1"
    both_train(sweep, killed)
    kill(killed)
    _, err = sweep.communicate(timeout=PATIENCE_S)
    assert sweep.returncode == 1
    assert "vaelab: the sweep ended with TerminatedWorkerError: " in err
    assert "vaelab: to continue it, add hydra.sweep.dir=sweep" in err
    assert "0_seed-1" in err.splitlines()[-1]
    _, err = start_sweep(tmp_path, env, "epochs=40", "seed=1,2", *engine).communicate(timeout=PATIENCE_S)
    assert_continued(killed, 40, err)


OWN_SESSION = """
import os, pathlib, runpy
os.setsid()  # a Ctrl-C of its own
pathlib.Path("pid").write_text(str(os.getpid()))
runpy.run_module("vaelab.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_joblib_lets_all_jobs_save_when_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "own_session.py").write_text(OWN_SESSION)
    jobs = ("epochs=500", "seed=1,2,3", "hydra/launcher=parallel", "hydra.launcher.n_jobs=2")
    first, second = tmp_path / "sweep" / "0_seed-1", tmp_path / "sweep" / "1_seed-2"
    with ThreadPoolExecutor() as elsewhere:
        ended = elsewhere.submit(
            command_line_of("own_session", tmp_path),
            *SWEEP,
            *jobs,
            going_wrong={"until_exit": True},
            PYTHONWARNINGS="ignore",
        )
        wait_until(
            lambda: ended.done() or min(map(epochs_done, (first, second))) >= 2, "the jobs do not train"
        )
        assert not ended.done(), ended.result()
        sweep = int((tmp_path / "pid").read_text())
        os.killpg(sweep, number) if number == signal.SIGINT else os.kill(sweep, number)
        result = ended.result(PATIENCE_S)
    assert result.returncode == 128 + number, result.stderr
    assert "vaelab: interrupted. To continue the sweep, add hydra.sweep.dir=" in result.stderr
    assert [status(first), status(second)] == ["interrupted", "interrupted"]
    wait_until(lambda: not is_alive(sweep), "processes of the sweep are left")
    assert not (tmp_path / "sweep" / "2_seed-3" / "run.json").exists()


# --- Slurm ------------------------------------------------------------------------------------------------

SLURM_CONF = """
ClusterName=vaelab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
SchedulerParameters=sched_min_interval=100000
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A cluster of this one machine; the environment in which it is found."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    for tool in ("munged", "slurmctld", "slurmd", "sbatch"):
        if shutil.which(tool, path=path) is None:
            pytest.skip(f"{tool} is not here: Debian's packages are slurmctld slurmd slurm-client munge")
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "munge.key").write_bytes(os.urandom(64))
    (folder / "munge.key").chmod(0o600)
    (folder / "slurm.conf").write_text(
        SLURM_CONF.format(
            host=socket.gethostname().split(".")[0], user=getpass.getuser(), folder=folder, cores=os.cpu_count(),
            controller_port=free_port(), node_port=free_port(),
        )
    )  # fmt: skip
    env = environment(PATH=path, SLURM_CONF=str(folder / "slurm.conf"), PYTHONWARNINGS="default")
    daemons = (
        ["munged", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key",
         f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"],
        ["slurmctld", "-c"],
        ["slurmd", "-c"],
    )  # fmt: skip
    try:
        for command in daemons:
            subprocess.run(command, env=env, check=True, capture_output=True, cwd=folder)
        idle = ["sinfo", "--noheader", "--format=%T"]
        wait_until(
            lambda: (
                "idle" in subprocess.run(idle, env=env, capture_output=True, text=True, check=False).stdout
            ),
            "no node of the Slurm cluster is idle",
        )
        yield env
    finally:
        subprocess.run(["scancel", "--me"], env=env, check=False, capture_output=True)
        for pid in ("slurmd.pid", "slurmctld.pid", "munged.pid"):
            if (folder / pid).exists():
                os.kill(int((folder / pid).read_text()), signal.SIGTERM)


def test_slurm_jobs_survive_being_queued_again_and_being_lost(slurm: dict[str, str], tmp_path: Path) -> None:
    """One of two jobs is preempted and continues where it stopped; the other is killed: named, and continued later."""
    queue = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1")
    sweep = start_sweep(tmp_path, slurm, "epochs=40", "seed=1,2", *queue)
    preempted, killed = tmp_path / "sweep" / "0_seed-1", tmp_path / "sweep" / "1_seed-2"
    both_train(sweep, preempted, killed)
    subprocess.run(["scontrol", "requeue", slurm_job(slurm, 0)], env=slurm, check=True)
    wait_until(lambda: status(preempted) == "interrupted", "a job that is queued again does not save")
    done = epochs_done(preempted)
    kill(killed)
    out, err = sweep.communicate(timeout=PATIENCE_S)
    assert sweep.returncode == 1
    assert err.splitlines()[-1].endswith(" failed: 1_seed-2."), err
    assert (status(preempted), epochs_done(preempted)) == ("finished", 60)
    assert f"Continuing after epoch {done}," in (preempted / "train.log").read_text()
    assert "- 1_seed-2: running after epoch" in out
    out, err = start_sweep(tmp_path, slurm, "epochs=40", "seed=1,2", *queue).communicate(timeout=PATIENCE_S)
    assert_continued(killed, 40, err)
    assert "## Not compared" not in out


def slurm_job(env: dict[str, str], element: int) -> str:
    listed = subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%i"],
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    (job,) = (job for job in listed.stdout.split() if job.endswith(f"_{element}"))
    return job
