"""What a program may have set in its interpreter and would miss, and commands called within it."""

from __future__ import annotations

import importlib
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch


def main(command: str, *arguments: str) -> None:
    """A command as a script would call it, in this interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", *arguments])
        importlib.import_module(f"vaelab.{command}").main()
        assert sys.argv == ["script", *arguments]


@contextmanager
def kept() -> Iterator[None]:
    """Within the context, settings are unusual ones; afterwards everything must be as it was."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(mpl.rcParams, "font.size", 17)
            before = state()
            yield
            after = state()
    finally:
        torch.use_deterministic_algorithms(False)
    before["logging"].pop("torch.__trace", None)  # its handler removes itself
    after["logging"] = {name: after["logging"][name] for name in before["logging"]}  # imports make others
    for name, value in before.items():
        assert after[name] == value, name


def state() -> dict[str, Any]:
    known = logging.root.manager.loggerDict
    loggers = {
        "": logging.root,
        **{name: each for name, each in known.items() if isinstance(each, logging.Logger)},
    }
    return {
        "signals": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "hooks": (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "warnings": ([*warnings.filters], warnings.showwarning),
        "logging": {name: (each.level, each.propagate, [*each.handlers]) for name, each in loggers.items()},
        "directory": Path.cwd(),
        # Scikit-learn's are for OpenMP, which reads them later.
        "variables": {name: value for name, value in os.environ.items() if not name.startswith("KMP_")},
        "random": (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()),  # noqa: NPY002
        "NumPy": (np.geterr(), np.get_printoptions()),
        "algorithms": (
            torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
            torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        ),
        "PyTorch": (
            torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(), torch.get_num_threads(),
            torch.get_num_interop_threads(), torch.get_float32_matmul_precision(), torch.is_anomaly_enabled(),
        ),
        "denormals": bool(torch.tensor(1e-40) / 2 == 0),
        "matplotlib": ({key: str(value) for key, value in dict.items(mpl.rcParams)}, "matplotlib.pyplot" in sys.modules),
    }  # fmt: skip
