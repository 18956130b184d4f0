"""A signal that a library takes for an error of its own still ends the program as that signal."""

from __future__ import annotations

import signal

import pytest

from vaelab.signals import ended_within, unwinding


@pytest.mark.parametrize(
    ("struck", "status"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143), (SystemExit(1), None)]
)
def test_a_signal_within_another_error_is_found(struck: BaseException, status: int | None) -> None:
    try:
        try:
            raise struck
        except BaseException as cause:
            raise ImportError("initialization failed") from cause
    except ImportError as error:
        assert ended_within(error) == status
        assert ended_within(ValueError()) is None


def test_sigterm_inside_an_import_that_fails_ends_by_sigterm() -> None:
    with pytest.raises(SystemExit) as end, unwinding():
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit as cause:
            raise ImportError("initialization failed") from cause
    assert end.value.code == 143
    with pytest.raises(ValueError, match="its own"), unwinding():
        raise ValueError("its own")
