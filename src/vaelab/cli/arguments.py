"""What is typed, before Hydra sees it."""

import re
from argparse import ArgumentError, ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from vaelab.cli.repeat import spelled_out
from vaelab.config import GROUPS, Config, Settings, VaelabError, describe, unknown_setting

SWITCH = {"action": "store_true"}
FLAGS: dict[str, dict[str, Any]] = {
    "--help -h": SWITCH,
    "--hydra-help": SWITCH,
    "--version": SWITCH,
    "--cfg -c": {"choices": ["job", "hydra", "all"]},
    "--resolve": SWITCH,
    "--package -p": {},
    "--run -r": SWITCH,
    "--multirun -m": SWITCH,
    "--shell-completion -sc": SWITCH,
    "--config-path -cp": {},
    "--config-name -cn": {},
    "--config-dir -cd": {},
    "--info -i": {
        "nargs": "?",
        "const": "all",
        "choices": ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"],
    },
}
"""What Hydra documents, as argparse takes it."""


@dataclass(frozen=True)
class Arguments:
    """A command line, in the order that every Hydra takes: flags, then overrides."""

    command: str
    given: dict[str, Any]
    """The flags with their values: `multirun`, `config_dir`."""
    overrides: list[str]
    parsed: list[Override]
    """The overrides, as Hydra reads them."""

    @property
    def flags(self) -> list[str]:
        names = [(name.replace("_", "-"), value) for name, value in self.given.items() if value]
        return [f"--{name}" if value is True else f"--{name}={value}" for name, value in names]

    @property
    def keys(self) -> set[str]:
        return {str(part.key_or_group) for part in self.parsed}

    @property
    def swept(self) -> set[str]:
        """Keys that are typed with several values."""
        return {str(part.key_or_group) for part in self.parsed if part.is_sweep_override()}

    @property
    def only_shows(self) -> bool:
        """Whether nothing is to run."""
        shows = ("cfg", "help", "hydra_help", "info", "shell_completion", "version")
        return any(self.given[name] for name in shows)


def prepare(line: Sequence[str], command: str, schema: type[Settings]) -> Arguments:
    """Check what was typed, and put it as Hydra takes it: the one place where a command line changes.

    - Flags may stand between settings: they go first.
    - `repeat=RUN` becomes all settings of that run.
    - With `resume=RUN`, Hydra makes no folder: the run has its own.

    Raises VaelabError for flags that Hydra doesn't know, and for what can't be read or is no setting.
    """
    given, overrides = parse_flags(line)
    if given["shell_completion"]:  # `install=bash` is no setting
        return Arguments(command, given, overrides, [])
    if command == "train":
        overrides = spelled_out(overrides)
        if any(override.startswith("resume=") for override in overrides):
            overrides = [*overrides, "hydra.run.dir=."]
    parsed = OverridesParser.create().parse_overrides(overrides)
    for part in parsed:
        check(part, schema)
    if command != "train" and not given["multirun"]:  # a training may be a sweep by its experiment
        refuse_several_values(parsed)
    return Arguments(command, given, overrides, parsed)


def parse_flags(line: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The flags with their values, and all that is no flag."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("overrides", nargs="*")
    for names, takes in FLAGS.items():
        parser.add_argument(*names.split(), **takes)
    try:
        found, unknown = parser.parse_known_intermixed_args(list(line))
    except ArgumentError as error:
        raise VaelabError(f"{error}: settings are typed as key=value, and --help lists them.") from error
    if unknown:
        word = re.match(r"-*([\w.]*)", unknown[0])
        hint = f"{word[1]}=VALUE" if word and word[1] else "key=VALUE"
        raise VaelabError(
            f"unrecognized arguments: {' '.join(unknown)}: settings have no dashes, {hint}, and --help lists "
            "them."
        )
    given = vars(found)
    return given, given.pop("overrides")


def check(part: Override, schema: type[Settings]) -> None:
    """Raise VaelabError for an override that can't be meant."""
    key, line = part.key_or_group, part.input_line
    if not key or (key in GROUPS and not part.is_sweep_override() and not part.is_delete()
                   and not isinstance(part.value(), str)):  # fmt: skip
        raise VaelabError(f"'{line}' can't be read: type a name, such as model=conv.")
    if part.is_range_sweep() and next(part.sweep_iterator(), None) is None:
        raise VaelabError(f"'{line}' has no value in it: type one or more, such as beta=0.5,1.")
    leaves = {setting.key for setting in describe(schema)}
    if part.is_delete() and key in leaves:
        raise VaelabError(f"'{line}' can't be left out: every setting has a value, type {key}=VALUE.")
    if key in GROUPS and schema is not Config:
        raise VaelabError(f"'{key}' can't be chosen here: which {key} it is, the checkpoint says.")
    above = {key[: dot.start()] for dot in re.finditer(r"[./]", key)}
    open_to_all = {"model", "dataset.name", "hydra"}  # a model's settings, and Hydra's, are checked by these
    if key not in GROUPS and not ({key} | above) & {*leaves, *open_to_all}:
        raise unknown_setting(key, schema)


def refuse_several_values(parsed: Sequence[Override]) -> None:
    """Raise VaelabError for values that make a sweep."""
    for part in parsed:
        if part.is_sweep_override():
            raise VaelabError(
                f"{part.input_line} has several values: type -m before it for a sweep over them, or [a,b] "
                "for a list."
            )
