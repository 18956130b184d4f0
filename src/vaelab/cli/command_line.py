"""What every door shares: errors in one line, --help, and what else conf/ asks of Python."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any, NoReturn, cast

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import (
    CompactHydraException,
    ConfigCompositionException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import MarkedYAMLError, YAMLError

from vaelab import config
from vaelab.config import (
    CompareConfig,
    Config,
    EvaluationConfig,
    ExploreConfig,
    ExportConfig,
    Settings,
    VaelabError,
    describe,
    quote_override,
    show,
)
from vaelab.runs import files
from vaelab.runs.folder import RunFolder
from vaelab.runs.signals import BY_SIGNAL, unwinding

FAILED = 1
"""Exit status of a run that ended with an error, a wrong setting included."""

EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "ray": "ray", "optuna": "optuna"}
"""Launchers and sweepers of Hydra's that come with an extra of vaelab."""

TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"
"""Whether whoever started this process asked Hydra, and so vaelab, for full tracebacks."""

os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what went wrong, and leaves the wording to vaelab


@contextmanager
def errors_in_one_line(schema: type[Settings]) -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and exit status 1; all else keeps its traceback.

    `schema` has the settings that may be typed at this door.
    """
    try:
        with unwinding():
            yield
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on, as after | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
        sys.exit(BY_SIGNAL + signal.SIGPIPE)
    except (VaelabError, CompactHydraException, OmegaConfBaseException, YAMLError, OSError) as error:
        if TRACEBACKS:
            raise
        print(f"vaelab: {one_line(error, schema)}", file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt:  # before or after a run, which has handlers of its own
        print("vaelab: interrupted", file=sys.stderr)
        sys.exit(BY_SIGNAL + signal.SIGINT)


def one_line(error: Exception, schema: type[Settings]) -> str:
    """One sentence out of what vaelab, Hydra or OmegaConf raised."""
    if isinstance(error, VaelabError):
        return str(error)
    if isinstance(error, OmegaConfBaseException):
        return str(explain(error, schema))
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}, is no YAML: {error.problem}."
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        options = [option for option in error.options if not option.endswith("_plugin")]
        return str(config.unknown(group, choice, options))
    if isinstance(error, OverrideParseException):
        return (
            f"'{error.override}' can't be read: type settings as key=value, lists as key=[a,b], "
            "and quote values with = or spaces: 'key=\"a b\"'."
        )
    text = " ".join(str(error).split())
    if match := re.search(r"Ambiguous value for argument '([^']*)'", text):
        return f"{match[1]} has several values: type -m before it for a sweep over them, or [a,b] for a list."
    if (match := re.search(r"Could not load '(hydra/\w+)/(\w+)_plugin'", text)) and match[2] in EXTRAS:
        return f"{match[1]}={match[2]} takes a package more: type pip install 'vaelab[{EXTRAS[match[2]]}]'."
    if isinstance(error, ConfigCompositionException):
        if isinstance(error.__cause__, OmegaConfBaseException):
            return str(explain(error.__cause__, schema))
        if match := re.search(r"In '((\w+)/\w+)'.*Key '(\w+)' not in", text):
            header = "must" if match[2] in ("loss", "experiment") else "must not"
            return (
                f"{match[1]}.yaml sets '{match[3]}', which is no setting there. "
                f"A yaml in {match[2]}/ {header} begin with the line '# @package _global_'."
            )
        if match := re.search(r"Could not override '([^'@]+)", str(error)):
            if schema is not Config:
                return f"'{match[1]}' can't be chosen here: which {match[1]} it is, the checkpoint says."
            return f"'{match[1]}' is no group: type model, dataset, loss or experiment."
    if isinstance(error, OSError) and not isinstance(error, CompactHydraException):
        if error.errno in files.FULL and not error.filename:
            return f"{error.strerror}, for what is printed or in the folder for temporary files."
        if error.errno in (*files.FULL, errno.EROFS) and error.filename:
            return f"{error.filename} can't be written: {files.reason(error, Path(error.filename))}"
        return f"{error.filename}: {error.strerror}. Type another path." if error.filename else f"{error}."
    return text


def settings_from(composed: DictConfig, schema: type[config.Schema]) -> config.Schema:
    """Typed, checked settings out of what Hydra composed; past this nothing knows OmegaConf."""
    plain = cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=True))
    if schema is Config:
        known = config.defaults(schema)
        # Keys of a yaml without that line end up below its group's name.
        for group in ("experiment", "loss"):
            if {*plain.get(group, {})} - {*known.get(group, {})}:
                raise config.ConfigError(
                    f"A yaml in {group}/ must begin with the line '# @package _global_'."
                )
    return config.resolve(plain, schema)


def explain(error: OmegaConfBaseException, schema: type[Settings]) -> config.ConfigError:
    """OmegaConf's complaint about a key or a reference, as one sentence that says what to type instead."""
    key = str(error.full_key or error.key)
    reason = str(error.msg).partition("\n")[0]
    if isinstance(error, InterpolationKeyError | InterpolationResolutionError):
        return config.ConfigError(
            f"{reason}: ${{NAME}} stands for the value of another setting, which has "
            "to be there; type \\${NAME} in quotes for these very letters."
        )
    siblings = [str(name) for name in error.parent_node or ()]
    if not key.startswith("hydra."):
        return config.unknown_setting(key, schema, siblings)
    if isinstance(error, ValidationError):
        return config.ConfigError(f"{key}: {reason}.")
    part = key.removeprefix("hydra.").rpartition(".")[0]
    near = config.did_you_mean(key, [f"{key.rpartition('.')[0]}.{sibling}" for sibling in siblings])
    where = {"launcher": "conf/hydra/launcher/", "sweeper": "conf/hydra/sweeper/"}.get(part.split(".")[0])
    more = f"What can be set is in {where}." if where else "--hydra-help says more."
    return config.ConfigError(f"Unknown setting '{key}'. {near}{more}")


def check_arguments() -> None:
    """Refuse what Hydra would meet with its usage, or with a traceback. Flags may stand between settings."""
    given = sys.argv[1:]
    overrides = [each for each in given if ("=" in each and not each.startswith("-")) or each.startswith("~")]
    sys.argv[1:] = [each for each in given if each not in overrides] + overrides
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        typed = re.search(r"unrecognized arguments: -+(\w[\w.]*)", message)
        hint = f"settings have no dashes, {typed[1]}=VALUE" if typed else "settings are typed as key=value"
        raise VaelabError(f"{message}: {hint}, and --help lists them.")

    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args()
    groups = [path.name for path in config.CONF_DIR.iterdir() if path.is_dir()]
    for part in OverridesParser.create().parse_overrides(overrides):
        name = part.key_or_group
        plain = not part.is_sweep_override() and not part.is_delete()
        if not name or (plain and name in groups and not isinstance(part.value(), str)):
            raise VaelabError(f"'{part.input_line}' can't be read: type a name, such as model=conv.")
        if part.is_range_sweep() and next(part.sweep_iterator(), None) is None:
            raise VaelabError(
                f"'{part.input_line}' has no value in it: type one or more, such as beta=0.5,1."
            )


def show_help(config_name: str) -> bool:
    """Print what --help asks for; False where it isn't asked for, or beside other flags, which Hydra reads.

    Hydra would first list its own config groups too, which takes twice as long as all the rest.
    """
    overrides = [argument for argument in sys.argv[1:] if argument not in ("--help", "-h")]
    if len(overrides) == len(sys.argv) - 1 or any(argument.startswith("-") for argument in overrides):
        return False
    with initialize_config_dir(str(config.CONF_DIR), version_base="1.3"):
        composed = compose(config_name, overrides, return_hydra_config=True)
    groups = [path for path in sorted(config.CONF_DIR.iterdir()) if path.is_dir() and path.name != "hydra"]
    listed = [
        f"{path.name}: {', '.join(sorted(file.stem for file in path.glob('*.yaml')))}\n" for path in groups
    ]
    print(Template(composed.hydra.help.template).substitute(APP_CONFIG_GROUPS="".join(listed)))
    return True


def show_run(folder: RunFolder) -> None:
    """Print where a run lies and what to open in it: the only thing on stdout."""
    print(f"Run folder: {folder.path}")
    for path, meaning in folder.worth_opening():
        print(f"  {path:<32}{meaning}")
    if folder.best_checkpoint.is_file():
        line = ["python", "-m", "vaelab.evaluate", quote_override("checkpoint", folder.path)]
        print(f"To measure it: {shlex.join(line)}")
        line = ["python", "-m", "vaelab.explore", quote_override("run", folder.path)]
        print(f"To walk in its latent space: {shlex.join(line)}")


# --- what conf/ refers to ---------------------------------------------------------------------------------


def training_help(model: Mapping[str, Any]) -> str:
    """The part of train's --help that lists every setting: its default, meaning with unit, and range."""
    of_model = [(f"model.{key}={show(to_plain(value))}", "") for key, value in model.items() if key != "name"]
    if of_model:
        of_model[0] = (of_model[0][0], f"these belong to model={model['name']} and are explained in its file")
    return settings_help(Config, of_model)


def evaluation_help() -> str:
    """The part of evaluate's --help that lists every setting."""
    return settings_help(EvaluationConfig, [])


def compare_help() -> str:
    """The part of compare's --help that lists every setting."""
    return settings_help(CompareConfig, [])


def explore_help() -> str:
    """The part of explore's --help that lists every setting."""
    return settings_help(ExploreConfig, [])


def export_help() -> str:
    """The part of export's --help that lists every setting."""
    return settings_help(ExportConfig, [])


def settings_help(schema: type[Settings], more: Sequence[tuple[str, str]]) -> str:
    """A line a setting, those of a schema and more: what to type, and what it means."""
    rows = [(f"{each.key}={show(each.default)}", described(each)) for each in describe(schema)] + [*more]
    width = max(len(typed) for typed, _ in rows)
    lines = [f"    {typed:<{width}}  {meaning}".rstrip() for typed, meaning in rows]
    text = "\n".join(["Settings and their defaults (reconstruction and KL are nats per image)", *lines])
    return text.replace("$", "$$")  # Hydra passes the help through string.Template


def described(item: config.Setting) -> str:
    """A setting's meaning, and its choices where there are only a few."""
    return f"{item.description} ({', '.join(item.choices)})" if item.choices else item.description


def to_plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


LONGEST_NAME = 120
"""Characters of a folder's name; file systems take 255, and paths have a limit too."""


def run_name(model: str, dataset: str, kl: object, beta: object) -> str:
    """The end of a run folder's name: `conv_fashion_mnist_beta-0.5`, `mlp_mnist_recon_only`."""
    name = f"{model}_{dataset}_{config.folder_ending(kl, beta)}"
    return re.sub(r"[^\w.+-]", "", name)  # no path in it, whatever was typed as model.name


def sweep_name(number: int, overrides: str, width: int = 1) -> str:
    """The name of a job's folder in a sweep, `0_beta-0.1_kl-true`, that a shell and Hydra take as it is."""
    typed = re.sub(r"-(True|False)(?=_|$)", lambda match: match[0].lower(), overrides)
    safe = re.sub(r"[^\w.+-]", "", typed.replace(",", "+").replace("/", "-"))
    return f"{number:0{width}d}_{safe}"[:LONGEST_NAME].rstrip("_")


def make_way() -> None:
    """Let conf/hydra/GROUP/NAME.yaml stand for a plugin's config of that name, which becomes NAME_plugin.

    The yaml builds on that one. Hydra would otherwise warn of two with one name.
    """
    Plugins.instance()  # the plugins register their configs when they are found
    store = ConfigStore.instance()
    for path in config.CONF_DIR.glob("hydra/*/**/*.yaml"):
        group = path.parent.relative_to(config.CONF_DIR).as_posix()
        known = store.repo
        for part in group.split("/"):
            known = known.get(part, {})
        if taken := known.pop(path.name, None):
            store.store(f"{path.stem}_plugin", taken.node, group, taken.package, taken.provider)


def register() -> None:
    """Make the schema and the resolvers known to Hydra; conf/ refers to them. Safe to call twice."""
    make_way()
    ConfigStore.instance().store(name="schema", node=config.defaults(Config))
    ConfigStore.instance().store(name="evaluation_schema", node=config.defaults(EvaluationConfig))
    ConfigStore.instance().store(name="compare_schema", node=config.defaults(CompareConfig))
    ConfigStore.instance().store(name="explore_schema", node=config.defaults(ExploreConfig))
    ConfigStore.instance().store(name="export_schema", node=config.defaults(ExportConfig))
    OmegaConf.register_new_resolver("compare_help", compare_help, replace=True)
    OmegaConf.register_new_resolver("explore_help", explore_help, replace=True)
    OmegaConf.register_new_resolver("export_help", export_help, replace=True)
    OmegaConf.register_new_resolver("training_help", training_help, replace=True)
    OmegaConf.register_new_resolver("evaluation_help", evaluation_help, replace=True)
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
