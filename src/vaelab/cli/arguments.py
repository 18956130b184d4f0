"""The command line, before Hydra sees it: flags, settings, and `repeat=RUN` for all settings of a run."""

import math
import re
import sys
from argparse import ArgumentError, ArgumentParser
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString, RangeSweep

from vaelab import config
from vaelab.config.base import GROUPS, fields_of, unknown_setting
from vaelab.config.errors import check_held, is_missing, must_be, no_value
from vaelab.runs.folder import CHECKPOINT_SUFFIXES, RunFolder, RunFolderError, existing, sha256_of

SWITCHES = "--help -h, --hydra-help, --version, --resolve, --run -r, --multirun -m, --shell-completion -sc"
TAKE_A_VALUE = "--package -p, --config-path -cp, --config-name -cn, --config-dir -cd"
"""The flags that Hydra documents and that take a value, except two with fixed choices."""
EXCLUSIVE = ("run", "multirun", "cfg", "info", "shell_completion")
"""Flags of which a command takes at most one, because each says what it is to do."""
NUMBER = re.compile(r"(?<![^[,:({])[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![^],:)}])", re.ASCII)
"""The numbers in an override's value, not those in a text in quotes or in a path."""

NULL_BY_DEFAULT = ("repeat", "resume", "experiment", "hydra.mode", "hydra.sweeper.params")
"""Settings that start something other than a plain run, unless they are null."""

MOST_JOBS = 10_000
"""Largest number of jobs in a grid: all are composed and checked before the first one starts."""


@dataclass(frozen=True)
class Arguments:
    """A command line, in the order that every Hydra accepts: flags, then overrides."""

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


def prepare(line: Sequence[str], command: str, schema: type[config.Settings]) -> Arguments:
    """Check a command line and convert it for Hydra.

    - Flags between settings are moved to the front.
    - `~/` at the beginning of a path is expanded, which Hydra doesn't do.
    - `repeat=RUN` becomes all settings of that run.
    - `images=12,FILE.png` becomes a list, and is not a sweep.
    - With `resume=RUN`, Hydra creates no folder, because the run has its own.

    Raises VaelabError for flags that Hydra doesn't know, and for arguments that can't be parsed or name no
    setting.
    """
    given, overrides = parse_flags(line)
    if given["shell_completion"]:  # `install=bash` is not a setting
        return Arguments(given, overrides, [])
    overrides = [with_home(override) for override in overrides]
    if command == "reconstruct":
        overrides = [images_listed(each) for each in overrides]
    if given["package"] and not (given["cfg"] or given["help"]):
        raise config.VaelabError(
            f"--package selects a part of what --cfg prints: type --cfg job --package {given['package']}."
        )
    if given["config_path"] and "://" not in given["config_path"]:  # Hydra's are relative to a module
        given["config_path"] = str(Path(given["config_path"]).absolute())
    folders = [given["config_dir"], *searched(overrides)]
    for folder in (Path(folder) for folder in folders if folder and given["config_path"] is None):
        refuse_shadowed(folder)
    if command == "train":
        overrides = expand_repeat([part.input_line or "" for part in parse(overrides) if not is_unset(part)])
        if any(override.lstrip("+").startswith("resume=") for override in overrides):
            overrides = [*overrides, "hydra.run.dir=."]
    parsed = parse(overrides)
    for part in parsed:
        check(part, schema)
    return Arguments(given, overrides, parsed)


def images_listed(override: str) -> str:
    """`images=12,40` as `images=[12,40]`, if each part is the number of a test image or an existing path."""
    key, _, value = override.partition("=")
    parts = value.split(",")
    if (
        key != "images"
        or len(parts) < 2
        or not all(part.isdecimal() or Path(part).exists() for part in parts)
    ):
        return override
    return config.quote_override(key, [int(part) if part.isdecimal() else part for part in parts])


def searched(overrides: Sequence[str]) -> list[str]:
    """The folders of hydra.searchpath."""
    found = [each for each in overrides if each.startswith("hydra.searchpath=")]
    value = parse(found[-1:])[0].value() if found else None
    return [str(each).removeprefix("file://") for each in value] if isinstance(value, list) else []


def refuse_shadowed(folder: Path) -> None:
    """Raise VaelabError for a user's yaml with the name of a shipped one, which Hydra would take instead."""
    for path in sorted(folder.glob("**/*.yaml")):
        shipped = config.CONF_DIR / (name := path.relative_to(folder))
        if shipped.is_file() and not shipped.samefile(path) and shipped.read_bytes() != path.read_bytes():
            other = path.with_stem(f"my_{path.stem}")
            choice = f"{name.parent}={other.stem}" if name.parent.name else f"--config-name {other.stem}"
            raise config.VaelabError(
                f"{path} has the name of a shipped file, which it would replace: rename it, for example to "
                f"{other.name}, and type {choice}."
            )


def shows_only(arguments: Arguments) -> bool:
    """Whether the flags only print something, and nothing is to run."""
    shows = ("cfg", "help", "hydra_help", "info", "shell_completion", "version")
    return any(arguments.given[name] for name in shows)


def parse_flags(line: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The flags with their values, and the remaining arguments."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("overrides", nargs="*")
    for names in SWITCHES.split(", "):
        parser.add_argument(*names.split(), action="store_true")
    for names in TAKE_A_VALUE.split(", "):
        parser.add_argument(*names.split())
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    shown = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=shown)
    try:
        found, unknown = parser.parse_known_intermixed_args(list(line))
    except ArgumentError as error:
        raise config.VaelabError(
            f"{error}. Type settings as key=value; --help lists them, and --hydra-help lists Hydra's flags."
        ) from error
    if unknown:
        key = unknown[0].partition("=")[0].lstrip("-") or "key"
        advice = f"type settings without dashes, as in {key}=VALUE; --help lists them."
        if key == "experimental-rerun":  # it reads pickled code
            advice = "type repeat=RUN for a new run with all settings of another."
        flags = "flag" if len(unknown) == 1 else "flags"
        raise config.VaelabError(f"Unknown {flags} {' '.join(unknown)}: {advice}")
    given = vars(found)
    for name in ("config_dir", "config_path"):
        given[name] = given[name] and config.expand_home(given[name])
    overrides = given.pop("overrides")
    kinds = [f"--{name.replace('_', '-')}" for name in EXCLUSIVE if given[name]]
    if len(kinds) > 1:
        raise config.VaelabError(f"{' and '.join(kinds)} can't be combined: type one of them.")
    if given["resolve"] and not given["cfg"]:
        raise config.VaelabError("--resolve only changes how --cfg prints: type --cfg job as well.")
    return given, overrides


def parse(overrides: list[str]) -> list[Override]:
    """Overrides as Hydra reads them; where it has composed settings, `glob(*)` is a group's choices there."""
    is_composing = GlobalHydra.instance().is_initialized()
    loader = GlobalHydra.instance().config_loader() if is_composing else None
    try:
        return OverridesParser.create(loader).parse_overrides(overrides)
    except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
        longest = max(overrides, key=len)
        raise config.VaelabError(f"'{longest[:40]}…' can't be read: {error}.") from error


def is_unset(part: Override) -> bool:
    """Whether an override sets a default of null to null, and so has no effect."""
    return part.key_or_group in NULL_BY_DEFAULT and not part.is_delete() and part.value() is None


def with_home(override: str) -> str:
    """KEY=~/FOLDER with the quotes that Hydra needs; expanded if Hydra itself creates the folder."""
    key, _, value = override.partition("=")
    text = value.strip("'\"")
    if not text.startswith("~") or (text == value and "," in text):
        return override
    if key.lstrip("+") in ("hydra.run.dir", "hydra.sweep.dir"):
        return f"{key}='{config.expand_home(text)}'"  # ${…} stays a reference
    return f"{key}='{text}'" if value.startswith("~") and "/" in value else override


def expand_repeat(overrides: list[str]) -> list[str]:
    """Overrides in which repeat=RUN has become all settings of that run; other overrides take precedence.

    Warns where the run was made by other versions. Raises ConfigError and RunFolderError.
    """
    repeats = [override for override in overrides if override.startswith("repeat=")]
    if not repeats:
        return overrides
    others = [override for override in overrides if override not in repeats]
    keys = {override.partition("=")[0].lstrip("+") for override in others}
    if len(repeats) > 1 or keys & {"resume", "experiment"} or any(key.startswith("~") for key in keys):
        raise config.ConfigError(
            "repeat starts a new run with the settings of another run: leave out resume=, experiment=, "
            "~SETTING and any second repeat=."
        )
    value = parse(repeats)[0].value()
    if is_missing(value):
        raise no_value("repeat")
    if not isinstance(value, str) or not value.strip():
        found = repeats[0].removeprefix("repeat=") or "''"
        raise config.ConfigError(f"repeat must be one run folder or checkpoint, got {found}.")
    path = existing(value)
    folder = RunFolder.holding(path)
    from vaelab.training import checkpoint  # torch, which takes seconds: only where a run is to be repeated

    # Not config.yaml, which anybody may have edited: a checkpoint has a digest.
    content = checkpoint.load(path if path.suffix in CHECKPOINT_SUFFIXES else folder.last_checkpoint)
    facts: dict[str, Any] = {}
    with suppress(RunFolderError):  # damaged: nothing to compare with
        facts = folder.read_run_json()
    for name, there in facts.get("versions", {}).items():
        with suppress(PackageNotFoundError):  # Python and the system
            if version(name) != there:
                differs = f"{name} was {there} in that run and is {version(name)} here: numbers may differ."
                print(f"WARNING: {differs}", file=sys.stderr)
    initial = content.initial_weights
    source = Path(initial.get("checkpoint", ""))
    if "initial_weights" not in keys and source.is_file() and sha256_of(source) != initial["sha256"]:
        changed = f"{source} has other weights than that run started with: numbers will differ."
        print(f"WARNING: {changed}", file=sys.stderr)
    return [*config.overrides_of(checkpoint.config_of(content), keys), *others]


def check(part: Override, schema: type[config.Settings]) -> None:
    """Raise VaelabError for an override that is certainly a mistake."""
    key, line = part.key_or_group, str(part.input_line)
    value = part.value()
    names = value.list if isinstance(value, ChoiceSweep) else [value]
    is_choice = (key in GROUPS or key.startswith("hydra/")) and not part.is_delete()
    if not key or (is_choice and not all(isinstance(each, str | QuotedString | Glob) for each in names)):
        raise config.VaelabError(f"'{line}' can't be read: type a name, such as model=conv.")
    if problem := {0: "no values", math.inf: "infinitely many values"}.get(count(part)):
        raise config.VaelabError(f"'{line}' has {problem}: type one or more values, such as beta=0.5,1.")
    if isinstance(part.value(), Glob) and key not in GROUPS and not key.startswith("hydra"):
        raise config.VaelabError(f"'{line}': glob chooses names, as in model=glob(*): type {key}=a,b.")
    if not part.is_sweep_override() and is_missing(part.value()):
        raise no_value(key)
    if key in ("hydra.run.dir", "hydra.sweep.dir") and value is None:
        raise must_be(key, "a folder's path", value)
    leaves = {setting.key: setting.default for setting in config.describe(schema)}
    if isinstance(leaves.get(key, 0), int | float) and not key.startswith(("hydra.run.", "hydra.sweep.")):
        for number in NUMBER.findall(line.partition("=")[2]):
            check_held(key, number)
    if part.is_add() and key in {*leaves, *GROUPS}:
        raise config.VaelabError(f"'{line}' adds a setting that already exists: type {line.lstrip('+')}.")
    is_setting = key.partition(".")[0] in fields_of(schema) and key != "experiment"
    if part.is_delete() and is_setting:
        raise config.VaelabError(f"'{line}' can't be removed: every setting has a value. Type {key}=VALUE.")
    if key in GROUPS and schema is not config.Config:
        raise config.VaelabError(
            f"'{key}' can't be chosen here, because the checkpoint determines it: leave {key}= out."
        )
    above = {key[: dot.start()] for dot in re.finditer(r"[./]", key)}
    open_to_all = {"model", "dataset.name", "hydra"}  # a model's settings, and Hydra's, are checked by these
    if key not in GROUPS and not ({key} | above) & {*leaves, *open_to_all}:
        raise unknown_setting(key, schema)


def swept_keys(parsed: Sequence[Override]) -> set[str]:
    """Keys with several values."""
    return {str(part.key_or_group) for part in parsed if part.is_sweep_override()}


def refuse_several_values(parsed: Sequence[Override]) -> None:
    """Raise VaelabError for values that make a sweep."""
    for part in parsed:
        if part.is_sweep_override():
            raise config.VaelabError(
                f"{part.input_line} has several values: type -m before it for a sweep over them, or [a,b] "
                "for a list."
            )


def count(part: Override) -> float:
    """The number of values of an override, without enumerating them: a range may have any number."""
    value = part.value()
    if isinstance(value, RangeSweep):
        numbers = (value.start or 0, value.stop or 0, value.step)
        if not value.step or not all(map(math.isfinite, numbers)):
            return math.inf
        start, stop, step = (Fraction(str(number)) for number in numbers)
        return max(0, math.ceil((stop - start) / step))
    if isinstance(value, Glob) and part.config_loader is not None:
        return len([*part.sweep_iterator()])
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def refuse_too_many(parsed: Sequence[Override]) -> None:
    """Raise VaelabError for a grid of more than MOST_JOBS jobs."""
    sizes = [(part.key_or_group, count(part)) for part in parsed if part.is_sweep_override()]
    jobs = math.prod(size for _, size in sizes)
    if jobs > MOST_JOBS:
        each = ", ".join(f"{key} has {size:,}" for key, size in sizes)
        raise config.VaelabError(
            f"This sweep has {jobs:,} jobs, and at most {MOST_JOBS:,} are allowed: type fewer values "
            f"({each})."
        )
