"""SIGINT, SIGTERM and what a cluster sends end a run at a moment when everything can be saved."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

BY_SIGNAL = 128  # plus the signal's number: the exit status after a signal, as in shells
DEBOUNCE_S = 1.0
"""Signals within this many seconds count as one: Ctrl-C reaches jobs from the terminal and from the sweep."""


class Interrupted(Exception):
    """A signal requested the end of the run."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def unwinding() -> Iterator[None]:
    """Within the context, SIGTERM raises SystemExit, so that clean-up code runs as after Ctrl-C."""
    main = threading.current_thread() is threading.main_thread()  # elsewhere Python allows no handlers
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(BY_SIGNAL + number))
    try:
        yield
    except Exception as error:
        if (status := ended_within(error)) is not None:
            sys.exit(status)
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ended_within(error: BaseException | None) -> int | None:
    """The exit status of a signal that a library, during an import for example, turned into another error.

    None if no signal is among the causes.
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return BY_SIGNAL + signal.SIGINT
        if isinstance(error, SystemExit) and error.code == BY_SIGNAL + signal.SIGTERM:
            return BY_SIGNAL + signal.SIGTERM
        error = error.__cause__ or error.__context__
    return None


class Signals:
    """Context manager: SIGINT, SIGTERM and SIGHUP are noted; a second signal has its usual effect.

    The same goes for signals with handlers of a cluster's launcher, which run after everything has been
    saved.
    """

    OURS = (signal.SIGINT, signal.SIGTERM)
    HANG_UP = getattr(signal, "SIGHUP", None)  # sent when a terminal is closed; `nohup` has it ignored
    LAUNCHERS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))

    def __init__(self) -> None:
        self.received = 0
        self.since = 0.0
        self.raise_immediately = False  # true only where nothing is left incomplete
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            awaited = [number for number in self.LAUNCHERS if callable(signal.getsignal(number))]
            if self.HANG_UP and signal.getsignal(self.HANG_UP) != signal.SIG_IGN:
                awaited.append(self.HANG_UP)
            self.before = {number: signal.signal(number, self.note) for number in (*self.OURS, *awaited)}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if kind is None and self.received in self.LAUNCHERS:
            signal.raise_signal(self.received)

    def note(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received, self.since = number, time.monotonic()
            if self.raise_immediately:
                raise Interrupted(number)
        elif time.monotonic() - self.since > DEBOUNCE_S:
            for each, handler in self.before.items():
                signal.signal(each, handler)
            signal.raise_signal(number)

    def check(self) -> None:
        """Raise Interrupted if a signal has been received."""
        if self.received:
            raise Interrupted(self.received)
