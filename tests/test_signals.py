"""Signals: a library takes one for an error of its own, a second one arrives, nobody reads the output any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from harness import environment
from vaelab.runs import signals
from vaelab.runs.signals import Signals, ended_within, unwinding


@pytest.mark.parametrize(
    ("cause", "status"),
    [(KeyboardInterrupt(), 130), (SystemExit(143), 143), (SystemExit(1), None), (None, None)],
)
def test_a_signal_within_another_error_is_found(cause: BaseException | None, status: int | None) -> None:
    error = ImportError("initialization failed")
    error.__cause__ = cause
    assert ended_within(error) == status


def fail_to_import() -> None:
    with unwinding():
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit as cause:
            raise ImportError("initialization failed") from cause


def test_sigterm_inside_an_import_that_fails_ends_by_sigterm() -> None:
    with pytest.raises(SystemExit) as end:
        fail_to_import()
    assert end.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_second_signal_has_its_usual_effect_unless_it_comes_within_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=10.0)
    monkeypatch.setattr(signals, "time", clock)
    with Signals() as noted:
        for clock.now in (10.0, 10.9):
            signal.raise_signal(signal.SIGINT)
        assert noted.received == signal.SIGINT
        clock.now = 11.1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_exit_status_is_141_when_the_reader_of_the_output_has_closed_it() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "vaelab.train", "--help"]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment())
    os.close(write)
    assert (result.returncode, result.stderr) == (141, "")
