"""What vaelab, Hydra, OmegaConf and YAML raise, as one sentence that says what to type instead."""

import errno
from pathlib import Path

from hydra.errors import CompactHydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import MarkedYAMLError

from vaelab.config import ConfigError, Settings, VaelabError, did_you_mean, unknown, unknown_setting
from vaelab.runs import files

EXTRAS = {
    "hydra/launcher/joblib": ("hydra/launcher=parallel", "joblib"),
    "hydra/launcher/submitit_slurm": ("hydra/launcher=slurm", "slurm"),
    "hydra/sweeper/optuna": ("hydra/sweeper=search", "optuna"),
}
"""Configs of Hydra's plugins: what is typed to get them, and the extra of vaelab that installs them."""


def one_line(error: Exception, schema: type[Settings]) -> str:
    """The sentence for an error; `schema` has the settings that may be typed."""
    if isinstance(error, VaelabError):
        return str(error)
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}, is not valid YAML: {error.problem}."
    if isinstance(error, MissingConfigException) and error.missing_cfg_file in EXTRAS:
        choice, extra = EXTRAS[error.missing_cfg_file]
        return f"{choice} takes a package more: type pip install 'vaelab[{extra}]'."
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return str(unknown(group, choice, error.options))
    if isinstance(error, OverrideParseException):
        return (
            f"'{error.override}' can't be read: type settings as key=value, lists as key=[a,b], "
            "and quote values with = or spaces: 'key=\"a b\"'."
        )
    for each in (error, error.__cause__):
        if isinstance(each, OmegaConfBaseException):
            return str(explain(each, schema))
    if isinstance(error, OSError) and not isinstance(error, CompactHydraException):
        return of_the_system(error)
    return " ".join(str(error).split())


def of_the_system(error: OSError) -> str:
    if error.errno in files.FULL and not error.filename:
        return f"{error.strerror}, for what is printed or in the folder for temporary files."
    if error.errno in (*files.FULL, errno.EROFS) and error.filename:
        return f"{error.filename} can't be written: {files.reason(error, Path(error.filename))}"
    return f"{error.filename}: {error.strerror}. Type another path." if error.filename else f"{error}."


def explain(error: OmegaConfBaseException, schema: type[Settings]) -> ConfigError:
    """OmegaConf's complaint about a key or a reference."""
    key = str(error.full_key or error.key)
    reason = str(error.msg).partition("\n")[0]
    if isinstance(error, InterpolationKeyError | InterpolationResolutionError):
        return ConfigError(
            f"{reason}: ${{NAME}} stands for the value of another setting, which has to be there; "
            "type \\${NAME} in quotes for these very letters."
        )
    siblings = [str(name) for name in (error.parent_node or ())]
    if not key.startswith("hydra."):
        return unknown_setting(key, schema, siblings)
    if isinstance(error, ValidationError):
        return ConfigError(f"{key}: {reason}.")
    above = key.rpartition(".")[0]
    files = {"hydra.launcher": "conf/hydra/launcher/", "hydra.sweeper": "conf/hydra/sweeper/"}
    where = f"What can be set is in {files[above]}." if above in files else "--hydra-help says more."
    near = did_you_mean(key, [f"{above}.{name}" for name in siblings])
    return ConfigError(f"Unknown setting '{key}'. {near}{where}")
