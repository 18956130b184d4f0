"""What vaelab registers with Hydra: schemas, resolvers, and settings composed without running anything."""

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError

from vaelab import config
from vaelab.config.base import GROUPS, unknown_setting
from vaelab.config.errors import check_held, is_missing, no_value
from vaelab.config.models import check_model
from vaelab.data import datasets
from vaelab.runs.folder import RunFolder

IS_13 = version("hydra-core").startswith("1.3.")
VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if IS_13 else {}
"""Hydra 1.3 requires the version whose defaults are to be used; 1.4 deprecates the argument."""
WHITELIST: dict[str, Any] = {} if IS_13 else {"execution_whitelist": ["vaelab.*", "hydra.*"]}
"""Hydra 1.4 requires the classes that yaml may name."""


@cache
def register() -> None:
    """Make the schemas and the resolvers known to Hydra; conf/ refers to them. It runs once per process."""
    for command, schema in config.SCHEMAS.items():
        ConfigStore.instance().store(name=f"{command}_schema", node=config.defaults(schema))
    # OmegaConf 2.4 calls it register_resolver, which in 2.3 was the name of another, deprecated method.
    old = version("omegaconf").startswith("2.3.")
    register_resolver: Any = OmegaConf.register_new_resolver if old else OmegaConf.register_resolver
    for resolver in (run_name, sweep_name):
        register_resolver(resolver.__name__, resolver, replace=True)


def help_text(command: str, flags: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """What --help prints: examples, the choices of groups, studies, and settings with their meanings.

    Hydra's own --help lists the choices of all its groups too, which takes it longer than all of this.
    """
    schema = config.SCHEMAS[command]
    with composing(command, flags) as compose_settings:
        composed = compose_settings(overrides)
        loader = GlobalHydra.instance().config_loader()
        choices = {group: ", ".join(loader.get_group_options(group)) for group in sorted(GROUPS)}
    texts = composed.hydra.help
    model = plain(composed).get("model", {})
    rows = []
    for each in config.describe(schema):
        # The description of a setting without a default says what it takes.
        plain_default = each.default is None or isinstance(each.default, bool)
        allowed = ", ".join(each.choices) or ("" if plain_default else each.allowed)
        text = f"{each.description} ({allowed})" if allowed else each.description
        rows.append((f"{each.key}={config.show(each.default)}", text))
    if model:
        comments = explained(config.CONF_DIR / "model" / f"{model['name']}.yaml")
        settings = ((key, value) for key, value in model.items() if key != "name")
        rows += [(f"model.{key}={config.show(value)}", comments.get(key, "")) for key, value in settings]
    width = max(len(override) for override, _ in rows)
    wrapper = textwrap.TextWrapper(
        130, " " * 4, " " * (width + 6), break_on_hyphens=False, break_long_words=False
    )
    lines = [texts.header]
    if model:
        lines.append("Groups (type group=choice; each choice is a file in conf/)")
        lines += [wrapper.fill(f"{group:<{width}}  {names}") for group, names in choices.items()]
        lines += ["", "Studies"]
        for path in sorted((config.CONF_DIR / "experiment").glob("*.yaml")):
            question = path.read_text(encoding="utf-8").splitlines()[1].strip("# ")
            lines.append(wrapper.fill(f"{f'experiment={path.stem}':<{width}}  {question}"))
        lines.append("")
    units = " (reconstruction and KL are in nats per image)" if model else ""
    lines.append(f"Settings and their defaults{units}")
    lines += [wrapper.fill(f"{override:<{width}}  {text}") for override, text in rows]
    return "\n".join([*lines, "", texts.footer])


def explained(path: Path) -> dict[str, str]:
    """The comments next to the settings in a yaml of conf/; empty for a file elsewhere."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {line.partition(":")[0]: line.partition("# ")[2] for line in lines if "# " in line[1:]}


def run_name(_root_: DictConfig) -> str:
    """The end of a run folder's name: `conv_mnist_beta-0.5`, `mlp_mnist_geco_beta-1`."""
    if "model" not in _root_:  # --cfg hydra shows Hydra's own settings alone: the folder is ??? there
        raise InterpolationToMissingValueError("the settings are not there")
    ending = config.folder_ending(_root_.kl, _root_.beta, _root_.loss.objective)
    name = f"{_root_.model.name}_{_root_.dataset.name}_{ending}"
    return re.sub(r"[^\w.+-]", "", name)  # no path in it, whatever model.name was given


def as_typed(line: str) -> str:
    """An override of a sweep's job, with true and false in lower case, as users type them."""
    return re.sub(r"=(True|False)$", lambda match: match[0].lower(), line)


def sweep_name(number: int, overrides: ListConfig, left_out: Sequence[str]) -> str:
    """The name of a job's folder in a sweep, `0_beta-0.1_kl-true`, which needs no quotes in a shell."""
    lines = cast("list[str]", OmegaConf.to_container(overrides, resolve=False))
    kept = sorted(line for line in lines if line.partition("=")[0].lstrip("+~") not in left_out)
    text = "_".join(map(as_typed, kept)).replace("=", "-").replace(",", "+").replace("/", "-")
    safe = re.sub(r"[^\w.+-]", "", text)
    # A name has at most 255 bytes; on Windows a path has at most 260 characters, and no name ends with a dot.
    return f"{number}_{safe}"[:120].rstrip("_.")


@contextmanager
def composing(
    command: str, flags: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[Callable[[Sequence[str]], DictConfig]]:
    """Within the context, `compose(overrides)` returns a command's config, with Hydra's own settings.

    Of Hydra's `flags`, those that name directories of yaml are used. Hydra's global state is restored.
    """
    register()
    name = flags.get("config_name") or command
    path = str(Path(flags.get("config_path") or config.CONF_DIR).absolute())
    folder = flags.get("config_dir")
    if folder and not Path(folder).is_dir():
        raise config.ConfigError(f"--config-dir {folder} is not a directory: type one with YAML files.")
    more = [f"hydra.searchpath=['file://{Path(folder).absolute()}']"] if folder else []

    def composed(overrides: Sequence[str]) -> DictConfig:
        try:
            return compose(name, [*more, *overrides], return_hydra_config=True)
        except UnicodeDecodeError as error:
            files = (file for each in (folder, path) if each for file in Path(each).rglob("*.yaml"))
            culprit = next((file for file in files if error.object in file.read_bytes()), "A YAML file")
            raise config.ConfigError(f"{culprit} is not UTF-8 text: save it as UTF-8.") from error

    with initialize_config_dir(path, job_name=command, **VERSION_BASE):
        yield composed


def is_sweep(composed: DictConfig, flags: Mapping[str, Any]) -> bool:
    """Whether Hydra treats it as a sweep: a `hydra.mode` that is set takes precedence over flags."""
    mode = composed.hydra.mode
    return mode == RunMode.MULTIRUN or (mode is None and bool(flags.get("multirun")))


def plain(composed: DictConfig) -> dict[str, Any]:
    """Nested plain values, without Hydra's own settings and with references resolved."""
    ours = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    return cast("dict[str, Any]", OmegaConf.to_container(ours, resolve=True))


def settings_of(composed: DictConfig, schema: type[config.Schema]) -> config.Schema:
    """Typed, checked settings; only code before this uses OmegaConf. Raises ConfigError."""
    values = plain(composed)
    if "hydra" in composed:
        check_files(composed.hydra)
    for key, value in config.flattened(values):
        if is_missing(value):
            raise no_value(key)
    if schema is config.Config:
        known = config.defaults(schema)
        for group in ("experiment", "loss"):  # keys of a yaml without that line end up below its group's name
            unknown = {*(values.get(group) or {})} - {*known.get(group, {})}
            if unknown & {*known, "defaults", "hydra"}:
                line = "'# @package _global_'"
                raise config.ConfigError(f"A YAML file in {group}/ must begin with the line {line}.")
            if unknown and group == "experiment":
                raise unknown_setting(min(unknown), schema)
    resolved = config.resolve(values, schema)
    if isinstance(resolved, config.Config):
        check_without_torch(resolved)
    return resolved


def check_files(hydra: DictConfig) -> None:
    """Raise ConfigError for what composing yaml loses: `???`, 1e-400, a header after a byte-order mark.

    OmegaConf lets `???` keep the value of an earlier file.
    """
    sources = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    if {*sources} == {config.CONF_DIR}:  # none of the user's
        return
    missing = set()
    for group in ("", *GROUPS):
        choice = hydra.runtime.choices.get(group) if group else hydra.job.config_name
        paths = [source / group / f"{choice}.yaml" for source in sources]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            continue
        text = path.read_text(encoding="utf-8")
        whole = "# @package _global_" in text
        if whole and text.startswith("\ufeff"):
            raise config.ConfigError(f"{path} begins with a byte-order mark: save it as UTF-8 without one.")
        for key, node in scalars(yaml.compose(text), "" if whole else group):
            missing.discard(key)
            if node.value == "???":
                missing.add(key)
            elif node.style is None and YAML_NUMBER.fullmatch(node.value):  # without quotes
                check_held(f"{key} in {path}", node.value)
            elif node.tag == "tag:yaml.org,2002:int":  # 010 is 8 in YAML, and 1:30 is 90
                raise config.ConfigError(f"{key} in {path} must be a decimal number, got {node.value}.")
    for typed in {line.partition("=")[0].lstrip("+") for line in hydra.overrides.task} - {*GROUPS}:
        missing = {key for key in missing if not f"{key}.".startswith(f"{typed}.")}
    if missing:
        raise no_value(min(missing))


YAML_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][\d_]*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


def scalars(node: yaml.Node | None, key: str) -> Iterator[tuple[str, yaml.ScalarNode]]:
    """The scalar values in a yaml document as they are written, with their dotted keys."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from scalars(value, f"{key}.{name.value}".lstrip("."))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from scalars(value, key)
    elif isinstance(node, yaml.ScalarNode):
        yield key, node


def check_without_torch(settings: config.Config) -> None:
    """Raise ConfigError for what classes of models, data sets and the like refuse, where it is known."""
    config.check_names(settings)
    spec = datasets.spec_of(settings.dataset)
    datasets.class_numbers(spec, settings.dataset.classes)
    datasets.check_fixed_binarisation(settings.dataset, spec)
    check_model(settings.model, spec.image_shape)
    if settings.conditional and not spec.classes:
        raise config.ConfigError(
            f"model.conditional=true needs images with labels, and those of {spec.title} have none: "
            "type model.conditional=false."
        )


@dataclass(frozen=True)
class Job:
    """One job of Hydra: a single run, or one run of a sweep."""

    composed: DictConfig
    folder: RunFolder
    """Hydra's output folder."""
    overrides: list[str]
    """The overrides of the command line, and those that a sweep adds."""
    sweep: Path | None
    """The folder of the sweep that the job belongs to."""

    def settings(self, schema: type[config.Schema]) -> config.Schema:
        """Typed, checked settings. Raises ConfigError."""
        return settings_of(self.composed, schema)
