"""`repeat=RUN`: a run's settings as if they were typed, before what else is typed."""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import OverrideParseException

from vaelab.config import ConfigError, must_be, overrides_of
from vaelab.runs.folder import CHECKPOINT_SUFFIXES, RunFolder, existing

KEY = "repeat="


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """A command line in which repeat=RUN has become all settings of that run; what else is typed wins.

    Says so where the run was made by other versions. Raises ConfigError and RunFolderError.
    """
    repeats = [argument for argument in arguments if argument.startswith(KEY)]
    if not repeats:
        return list(arguments)
    others = [argument for argument in arguments if argument not in repeats]
    keys = {argument.partition("=")[0].lstrip("+") for argument in others}
    if len(repeats) > 1 or keys & {"resume", "experiment"} or any(key.startswith("~") for key in keys):
        raise ConfigError(
            "repeat starts a new run with the settings of one other: leave resume=, experiment=, ~SETTING "
            "and more repeat= out."
        )
    path = existing(path_in(repeats[0]))
    folder = RunFolder.holding(path)
    from vaelab.training import checkpoint  # torch, which takes seconds: only where a run is to be repeated

    # Not config.yaml, which anybody may have edited: a checkpoint has a digest.
    content = checkpoint.load(path if path.suffix in CHECKPOINT_SUFFIXES else folder.last_checkpoint)
    for line in other_versions(folder.read_run_json()):
        print(f"WARNING: {line}", file=sys.stderr)
    return [*overrides_of(checkpoint.config_of(content), keys), *others]


def path_in(argument: str) -> str:
    """The path in repeat=PATH, with or without quotes. Raises ConfigError for anything else."""
    typed = argument.removeprefix(KEY)
    try:
        parsed = OverridesParser.create().parse_override(argument)
        value = None if parsed.is_sweep_override() else parsed.value()
    except OverrideParseException:  # a path that Hydra would want in quotes
        value = typed
    value = value.text if isinstance(value, QuotedString) else value
    if not isinstance(value, str) or not value.strip():
        raise must_be("repeat", "one run folder or checkpoint", typed)
    return value


def other_versions(facts: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing of the machine that decides the last digits, and was another one then."""
    sentences = []
    for name, there in facts.get("versions", {}).items():
        try:
            here = version(name)
        except PackageNotFoundError:  # Python and the system
            continue
        if here != there:
            sentences.append(f"{name} was {there} in that run and is {here} here: numbers may differ.")
    return sentences
