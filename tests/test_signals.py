"""A signal that a library takes for an error of its own still ends the program as that signal."""

from __future__ import annotations

import signal

import pytest

from vaelab.runs.signals import ended_within, unwinding


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
