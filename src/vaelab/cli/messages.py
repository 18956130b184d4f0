"""What commands print: errors as one sentence that says what to type instead, and where a run is."""

import errno
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException, ValidationError
from yaml import MarkedYAMLError, YAMLError

from vaelab import config
from vaelab.config.base import unknown_setting
from vaelab.runs import files
from vaelab.runs.folder import RunFolder
from vaelab.runs.signals import BY_SIGNAL, unwinding

EXTRAS = {
    "hydra/launcher/joblib": ("hydra/launcher=parallel", "joblib"),
    "hydra/launcher/submitit_slurm": ("hydra/launcher=slurm", "slurm"),
    "hydra/sweeper/optuna": ("hydra/sweeper=search", "optuna"),
}
"""Configs of Hydra's plugins: the choice that loads them, and the extra of vaelab that installs them."""


def one_line(error: Exception, schema: type[config.Settings]) -> str:
    """The sentence for an error; `schema` has the settings that may be given."""
    if isinstance(error, config.VaelabError):
        return str(error)
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}, is not valid YAML: {error.problem}."
    if isinstance(error, MissingConfigException) and error.missing_cfg_file in EXTRAS:
        choice, extra = EXTRAS[error.missing_cfg_file]
        return str(config.lacks(choice, extra))
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return str(config.unknown(group, choice, error.options))
    if isinstance(error, OverrideParseException):
        return unreadable(error.override)
    for each in (error, error.__cause__):
        if isinstance(each, OmegaConfBaseException):
            return explain(each, schema)
    if isinstance(error, OSError) and error.filename:
        if error.errno in (*files.FULL, errno.EROFS):
            return f"{error.filename} can't be written: {files.reason(error, Path(error.filename))}"
        return f"{error.filename}: {error.strerror}. Type another path."
    return " ".join(str(error).split())


UNQUOTED = "_/-\\+.$%*@?|:,[]{}'\" \t"
"""Characters that Hydra reads in a value without quotes, in addition to letters and digits."""


def unreadable(line: str) -> str:
    """The sentence for an override that Hydra can't parse: which character needs quotes, and where."""
    key, _, value = line.partition("=")
    if bad := re.search(r"[^\w.@/:-]", key.lstrip("+~"), re.ASCII):
        return f"'{line}' can't be read: no setting's name has {bad[0]!r} in it. --help lists all settings."
    special = next((c for c in value if not (c.isascii() and (c.isalnum() or c in UNQUOTED))), None)
    special = special or next((c for c in "'\"" if value.count(c) % 2), None)
    if special is None:
        return (
            f"'{line}' can't be read: type settings as key=value, and lists as key=[a,b]; "
            "brackets and quotes must be closed."
        )
    # In a list, only the item that has the character.
    part = rf"[^][{{}},:]*{re.escape(special)}[^][{{}},:]*" if value[0] in "[{" else r"(?s:.+)"
    quoted = re.sub(part, lambda found: in_quotes(found[0]), value)
    return f"'{line}' can't be read: {special!r} needs quotes: type {shlex.quote(f'{key}={quoted}')}."


def in_quotes(text: str) -> str:
    return config.quoted(text) if {*text} & {'"', "\\"} else f'"{text}"'


def explain(error: OmegaConfBaseException, schema: type[config.Settings]) -> str:
    """The sentence for OmegaConf's error about a key or a reference."""
    key = str(error.full_key or error.key)
    reason = str(error.msg or error).partition("\n")[0]
    if isinstance(error, InterpolationResolutionError):
        return (
            f"{reason}: ${{NAME}} stands for the value of another setting, which must exist; "
            "type \\${NAME} in quotes for the literal text."
        )
    siblings = [str(name) for name in (error.parent_node or ())]
    if not key.startswith("hydra."):
        chosen = error.parent_node["name"] if key.startswith("model.") and "name" in siblings else None
        return str(unknown_setting(key, schema, siblings, chosen))
    if isinstance(error, ValidationError):
        return f"{key}: {reason}."
    above = key.rpartition(".")[0]
    where = "See --hydra-help."
    if above in ("hydra.launcher", "hydra.sweeper"):
        where = f"The files in conf/{above.replace('.', '/')}/ list its settings."
    near = config.did_you_mean(key, [f"{above}.{name}" for name in siblings])
    return f"Unknown setting '{key}'. {near}{where}"


@contextmanager
def errors_in_one_line(schema: type[config.Settings], tracebacks: bool) -> Iterator[None]:
    """Turn what a user can correct into one line on stderr and exit status 1; all else keeps its traceback.

    `schema` has the settings that may be given. With `tracebacks`, every error keeps it.
    """
    try:
        with unwinding():
            yield
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed it, as after | head
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # else Python prints an error when it ends
        sys.exit(BY_SIGNAL + 13)  # SIGPIPE, a name that Windows lacks
    except (config.VaelabError, HydraException, OmegaConfBaseException, YAMLError, OSError) as error:
        if tracebacks:
            raise
        print(f"vaelab: {one_line(error, schema)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # before or after a run, which has handlers of its own
        print("vaelab: interrupted", file=sys.stderr)
        sys.exit(BY_SIGNAL + signal.SIGINT)


def show_run(folder: RunFolder) -> None:
    """Print where a run is and what to open in it: the only thing on stdout."""
    print(f"Run folder: {folder.path}")
    for path, meaning in folder.main_files():
        print(f"  {path:<32}{meaning}")
    if folder.zip.is_file():
        print(f"The whole run in one file: {folder.zip}")
    if folder.best_checkpoint.is_file():
        evaluate, explore = (config.quote_override(key, folder.path) for key in ("checkpoint", "run"))
        print(f"To evaluate it: {shlex.join(['python', '-m', 'vaelab.evaluate', evaluate])}")
        print(f"To explore its latent space: {shlex.join(['python', '-m', 'vaelab.explore', explore])}")
