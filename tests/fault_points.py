"""Makes something go wrong at an exact moment of a process: before its n-th change to files, or before a certain one.

Python's audit hooks tell of every file that is opened, moved or removed before it happens. What then happens is
real: kill -9, a disk without room, a deleted folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Fault:
    """What is to happen, as JSON has it.

    `do` is kill, fill, delete, nothing or a signal's name; it happens before change number `at` (from 1), or before the
    `time`-th opening of a file for writing whose name contains `opening`. `where` is the disk that is filled, or
    the folder that is deleted. `count_into` is a file that gets the number of changes when the process ends.
    """

    def __init__(
        self,
        do: str = "nothing",
        at: int = 0,
        opening: str = "",
        time: int = 1,
        where: str = "",
        count_into: str = "",
    ) -> None:
        self.do, self.at, self.opening, self.time = do, at, opening, time
        self.where, self.count_into = where, count_into
        self.changes = 0
        self.openings = 0
        self.busy = False
        if do == "SIGINT":  # which is ignored where a shell has started pytest in the background
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if self.busy or not (opened or event in CHANGES) or str(arguments[0]).startswith("/dev/"):
            return
        self.changes += 1
        self.openings += bool(opened and self.opening and self.opening in str(arguments[0]))
        if self.changes == self.at or (self.opening and self.openings == self.time):
            self.busy = True
            self.strike()

    def strike(self) -> None:
        if self.do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.do == "fill":
            fill(Path(self.where))
        elif self.do == "delete":
            shutil.rmtree(self.where)
        elif self.do.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[self.do])

    def end(self) -> None:
        self.busy = True
        if self.count_into:
            Path(self.count_into).write_text(str(self.changes))


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for chunk in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(chunk))
