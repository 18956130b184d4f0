"""Runs command lines in forks of a process that has imported the libraries already: half of a short run's time.

`python warm.py` reads a job a line from stdin, JSON with module, arguments, cwd, env, stdout and stderr (paths),
and answers each with its exit status, minus the signal's number where one killed it. A job may also have `signals`,
pairs of seconds and a signal's number, and a `fault` (see fault_points.py). One with `plugins` runs where vaelab
was not imported before: it looks for plugins when it is imported. With `until_exit`, what libraries
do when the interpreter ends is done too, such as ending processes. What depends on the environment or on libraries
not being there takes a process of its own (see harness.py).
"""

from __future__ import annotations

import gc
import json
import logging
import os
import runpy
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fault_points import Fault


def preload() -> None:
    """The imports that take long and start no threads."""
    import hydra.main  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import pydantic  # noqa: F401
    import scipy.ndimage
    import scipy.stats  # noqa: F401
    import sklearn.linear_model
    import sklearn.mixture
    import sklearn.neighbors  # noqa: F401
    import torch

    torch.optim.SGD(
        [torch.zeros(1, requires_grad=True)]
    )  # the first optimiser imports torch.compile's modules


def preload_vaelab() -> None:
    """What every command begins with. The modules of the commands themselves run as `__main__`: not those."""
    import vaelab.cli.entry
    import vaelab.comparison.compare
    import vaelab.pages.run_report
    import vaelab.training.session  # noqa: F401
    from vaelab.cli.compose import composing

    with composing("train") as compose:
        compose([])


def run(job: dict[str, Any]) -> int:
    """The job in this process: its exit status, as a shell would see it."""
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    for number, path in ((0, os.devnull), (1, job["stdout"]), (2, job["stderr"])):
        file = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        mode, encoding = (
            "r" if number == 0 else "w",
            os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")[0],
        )
        setattr(sys, name, open(number, mode, encoding=encoding or "utf-8", closefd=False))  # noqa: SIM115
    fault = Fault(**job.get("fault", {}))
    sys.argv[1:] = job["arguments"]
    sys.path.insert(0, job["cwd"])  # as python -m has it
    try:
        runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        if isinstance(exit.code, str):
            print(exit.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    fault.end()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def main() -> None:
    preload()
    keep()
    with another_process() as with_vaelab:
        print("warm", flush=True)
        for line in sys.stdin:
            job = json.loads(line)
            print(answer(job) if job["plugins"] else with_vaelab(line), flush=True)


def keep() -> None:
    """Exempt what is imported from garbage collection, a third of the time of a short run in each fork."""
    gc.collect()
    gc.freeze()


def answer(job: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        status = run(job)
        if job.get("until_exit"):
            sys.exit(status)
        os._exit(status)
    return wait_for(child, job.get("signals", []))


@contextmanager
def another_process() -> Iterator[Callable[[str], str]]:
    """Within the context, a fork that imports vaelab; the function has it answer a line."""
    (its_jobs, jobs), (answers, its_answers) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(jobs)
        preload_vaelab()
        keep()
        with os.fdopen(its_jobs) as lines:
            for line in lines:
                os.write(its_answers, f"{answer(json.loads(line))}\n".encode())
        os._exit(0)
    os.close(its_jobs)
    os.close(its_answers)
    with os.fdopen(answers) as lines:

        def answered(line: str) -> str:
            os.write(jobs, line.encode())
            return lines.readline().strip()

        yield answered
        os.close(jobs)
        os.waitpid(child, 0)


def wait_for(child: int, signals: list[tuple[float, int]]) -> int:
    """The exit status of a process that is sent signals after so many seconds each."""
    started = time.monotonic()
    for seconds, number in signals:
        while time.monotonic() - started < seconds:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, number)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
