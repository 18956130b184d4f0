"""What every door shares: Hydra told to be quiet, and errors as one line that says what to type instead."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import (
    CompactHydraException,
    ConfigCompositionException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException

from vaelab import config
from vaelab.config import ConfigError, VaelabError
from vaelab.run_folder import RunFolder

FAILED = 1
"""Exit status of a run that ended with an error, a wrong setting included."""

BY_SIGNAL = 128
"""Plus the signal's number: the exit status of a run that was interrupted, as shells have it."""

TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"
"""Whether whoever started this process asked Hydra, and so vaelab, for full tracebacks."""

os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what went wrong, and leaves the wording to vaelab


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and exit status 1; all else keeps its traceback."""
    try:
        yield
    except (VaelabError, CompactHydraException, OmegaConfBaseException) as error:
        if TRACEBACKS:
            raise
        print(f"vaelab: {one_line(error)}", file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt:  # before or after a run, which has handlers of its own
        sys.exit(BY_SIGNAL + signal.SIGINT)


def one_line(error: Exception) -> str:
    """One sentence out of what vaelab, Hydra or OmegaConf raised."""
    if isinstance(error, VaelabError):
        return str(error)
    if isinstance(error, OmegaConfBaseException):
        return str(config.explain(error))
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return str(config.unknown(group, choice, error.options))
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' can't be read: type settings as key=value, lists as key=[a,b], no spaces."
    if isinstance(error, ConfigCompositionException):
        if isinstance(error.__cause__, OmegaConfBaseException):
            return str(config.explain(error.__cause__))
        if match := re.search(r"Could not override '([^'@]+)", str(error)):
            return str(ConfigError(f"'{match[1]}' is no group: type model, dataset, loss or experiment."))
    return " ".join(str(error).split())


def show_run(folder: RunFolder) -> None:
    """Print where a run lies and what to open in it: the only thing on stdout."""
    print(f"Run folder: {folder.path}")
    for path, meaning in folder.worth_opening():
        print(f"  {path:<32}{meaning}")
