"""Types, parsing and descriptions of settings, for all commands."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import Self

from vaelab.config.errors import ConfigError, did_you_mean, look_up, must_be, show, unknown
from vaelab.config.registry import plugins

PACKAGE = Path(__file__).parents[1]
CONF_DIR = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
"""The shipped yaml files: in an installed package, or at the root of a repository."""

GROUPS = ("model", "dataset", "loss", "experiment")
"""What is chosen by name: each is a folder of conf/."""


class Settings(BaseModel):
    """A group of settings. Each is a field: type, range, default, and a description with the unit.

    >>> config = vaelab.load("outputs/example").config
    >>> config.dataset.name, config.replace(beta=2).kl_label
    ('fashion_mnist', 'beta 2')
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values, as they are saved in checkpoints and config.yaml."""
        return self.model_dump(by_alias=True)

    def replace(self, **changes: Any) -> Self:
        """These settings with some changed, checked again. Raises ConfigError as `resolve` does."""
        own = {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}
        return resolve(own | changes, type(self))


Schema = TypeVar("Schema", bound=Settings)


@dataclass(frozen=True)
class Allowed:
    """What completes "… must be …": a type and its range in words."""

    phrase: str


@dataclass(frozen=True)
class NamesFrom:
    """The names that a setting accepts: modules in a folder of the package, and a group of plugins."""

    folder: str
    group: str

    def names(self) -> list[str]:
        """All names, found without importing any module, because torch takes seconds to import."""
        modules = sorted(path.stem for path in (PACKAGE / self.folder).glob("[!_]*.py"))
        return list(dict.fromkeys([*modules, *sorted(each.name for each in plugins(self.group))]))

    def check(self, setting: str, name: str, besides: str = "") -> None:
        """Raise ConfigError for an unknown name, unless a plugin or an imported module may have added it."""
        names = [*self.names(), *besides.split()]
        package = f"vaelab.{self.folder.replace('/', '.')}"
        if name not in names and package not in sys.modules and not plugins(self.group):
            raise unknown(setting, name, names)

    def summary(self, name: str) -> str:
        """The first line of a module's docstring, as the description of a setting."""
        path = PACKAGE / self.folder / f"{name}.py"
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.is_file() else None
        line = (text or "from a plugin").partition("\n")[0].rstrip(".")
        return line if line[1:2].isupper() else line[:1].lower() + line[1:]  # `FID` stays


BOOLEANS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)


def parse_bool(value: object) -> object:
    """True and False for the words that mean them; anything else as it is."""
    return BOOLEANS.get(str(value).lower(), value)


def check_switch(key: str, value: object) -> bool:
    """The boolean that a word means. Raises ConfigError for any other."""
    found = parse_bool(value)
    if not isinstance(found, bool):
        raise must_be(key, "true or false", value)
    return found


def to_text(value: object) -> object:
    """A path or number as a string: Hydra parses `artifacts.watermark=2026` as a number."""
    return show(value) if isinstance(value, bool | int | float | Path) else value


def expand_home(path: str | Path) -> str:
    """A path in which `~` or `~user` at the beginning is expanded. Raises ConfigError for an unknown user."""
    text, found = str(path), Path(path)
    try:
        if text.startswith("~"):
            return str(found.expanduser())
    except RuntimeError as error:
        raise ConfigError(
            f"{text} begins with an unknown home directory: type the whole path, or ./{text} for a name "
            "that begins with ~."
        ) from error
    # ./~x is a file named ~x: absolute, so that it is never expanded.
    return str(found.absolute()) if str(found).startswith("~") else text


def check_component(value: str | dict[str, Any]) -> str | dict[str, Any]:
    """A component, as a name if it has no arguments. Raises ValueError for a mapping without a name."""
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(name, str) or not name.strip():
        raise ValueError("no name")
    return name if value == {"name": name} else value


def listed(value: object) -> object:
    """A list as it is, and any other value but None as a list of one."""
    return value if value is None or isinstance(value, list) else [value]


Switch = Annotated[bool, BeforeValidator(parse_bool), Allowed("true or false")]
Natural = Annotated[int, Field(ge=0), Allowed("a whole number of at least 0")]
Count = Annotated[int, Field(ge=1), Allowed("a whole number of at least 1")]
Seed = Annotated[int, Field(ge=0, lt=2**63), Allowed("a whole number of at least 0 and below 2**63")]
Text = Annotated[str, Field(pattern=r"\S"), BeforeValidator(to_text)]
AnyPath = Annotated[Text, AfterValidator(expand_home)]
FolderPath = Annotated[AnyPath, Allowed("a folder's path")]
RunPath = Annotated[AnyPath, Allowed("a run folder or a checkpoint, such as outputs/2026-11-21/...")]
RunsPath = Annotated[AnyPath, Allowed("a folder of runs, such as outputs/multirun/2026-11-21/...")]
Device = Annotated[
    str, Field(pattern=r"^(auto|cpu|cuda|cuda:[0-9]+|mps)$"), Allowed("auto, cpu, cuda, cuda:N or mps")
]
Source = Literal["auto", "full", "embedded"]
OneImage = Annotated[
    Natural | AnyPath, Field(union_mode="left_to_right"), Allowed("the number of a test image, or a file")
]
Images = Annotated[
    list[OneImage], BeforeValidator(listed), Allowed("a file, a folder, or test images such as [12,40]")
]
OneClass = Annotated[Natural | Text, Field(union_mode="left_to_right"), Allowed("a class's name or number")]
COMPONENT = Allowed("a name, or {name:NAME,ARGUMENT:VALUE}")
Component = Annotated[str | dict[str, Any], AfterValidator(check_component), COMPONENT]
"""Which registered class: its name, or the name and the arguments. The registry checks both."""


def resolve(plain: Mapping[str, Any], schema: type[Schema]) -> Schema:
    """Typed, checked settings from plain values, which were composed or read from a checkpoint.

    Raises ConfigError for an unknown key, a wrong type, or a value outside its range.
    """
    try:
        return schema.model_validate(dict(plain))
    except ValidationError as invalid:
        error = invalid.errors(include_url=False)[0]
        key = ".".join(map(str, error["loc"]))  # may end in an index into a list, or in a type of a union
        setting = next((each for each in describe(schema) if f"{key}.".startswith(f"{each.key}.")), None)
        if setting is None or error["type"] == "extra_forbidden":
            raise unknown_setting(key, schema) from invalid
        value = look_up(plain, setting.key)
        if isinstance(setting.default, float) and type(value) is int:
            value = float(value)
        raise must_be(setting.key, setting.allowed, value) from invalid


def unknown_setting(
    key: str, schema: type[Settings], siblings: Iterable[str] | None = None, model: str | None = None
) -> ConfigError:
    """The error for a key that is not a setting, with a suggestion of the one that was probably meant.

    `siblings` are the names of the settings next to it, if known: those of the `model` that was chosen.
    """
    known = [setting.key for setting in describe(schema) if setting.key != "dataset.name"]  # dataset=NAME
    if "model" in schema.model_fields:
        if siblings is None or not key.startswith("model."):  # the settings of every shipped model
            siblings = (name for path in sorted(CONF_DIR.glob("model/*.yaml")) for name in read_yaml(path))
        known += [*dict.fromkeys(f"model.{name}" for name in siblings if name != "name"), *GROUPS]
    group, _, last = key.rpartition(".")
    # The same name in another group, then a similar one in the same group, then any similar one.
    by_name = {name.rpartition(".")[2]: name for name in reversed(known)}
    nearby = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == group}
    elsewhere = [full for name, full in by_name.items() if name.lower() == last.lower()]
    hint = f"Did you mean '{elsewhere[0]}'? " if elsewhere else did_you_mean(last, nearby)
    if model is not None:
        return ConfigError(f"Unknown setting '{key}'. {hint}model={model} accepts: {', '.join(nearby)}.")
    hint = hint or did_you_mean(last, by_name) or did_you_mean(key, known)
    return ConfigError(f"Unknown setting '{key}'. {hint}--help lists all settings.")


def defaults(schema: type[Settings]) -> dict[str, Any]:
    """All settings at their defaults, as plain nested values; null where one has to be given."""
    return dict.fromkeys(fields_of(schema)) | schema.model_construct().to_dict()


def fields_of(schema: type[Settings]) -> dict[str, FieldInfo]:
    """The fields of a schema by the names that users type: `from`, a Python keyword, is the field `from_`."""
    return {field.alias or name: field for name, field in schema.model_fields.items()}


@dataclass(frozen=True)
class Setting:
    """One setting, described."""

    key: str
    default: Any
    description: str
    allowed: str  # completes "… must be …"
    choices: Sequence[str] = ()  # the words or shipped names that it accepts, if there are few


def describe(schema: type[Settings], prefix: str = "") -> Iterator[Setting]:
    """Every setting that has a description, in the order of the schema."""
    untouched = schema.model_construct()
    for name, field in fields_of(schema).items():
        key = prefix + name
        default: Any = getattr(untouched, name, None)
        shipped = next((each for each in field.metadata if isinstance(each, NamesFrom)), None)
        if isinstance(default, Settings):
            yield from describe(type(default), f"{key}.")
        elif shipped and isinstance(default, dict):  # a switch for each
            for each, value in default.items():
                yield Setting(f"{key}.{each}", value, shipped.summary(each), "true or false")
        elif field.description is not None:
            options = alternatives(field.annotation, field.metadata)
            allowed = " or ".join([", ".join(options[:-1]), options[-1]] if len(options) > 1 else options)
            choices = options if get_origin(field.annotation) is Literal else []
            if shipped:
                choices = list(dict.fromkeys([default, *shipped.names()]))
            yield Setting(key, default, field.description, allowed, choices)


def alternatives(kind: Any, metadata: Sequence[Any] = ()) -> list[str]:
    """What a setting accepts: the phrase of its type, the words of a Literal, null."""
    phrases = [each.phrase for each in metadata if isinstance(each, Allowed)]
    if phrases:
        return phrases
    if get_origin(kind) is Annotated:
        return alternatives(get_args(kind)[0], get_args(kind)[1:])
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if kind is NoneType:
        return ["null"]
    return [words for part in get_args(kind) for words in alternatives(part)]


class Loader(yaml.SafeLoader):
    """Reads 1e-3 as a number, as YAML 1.2 and Hydra do, but PyYAML does not."""


class Dumper(yaml.SafeDumper):
    """Quotes strings that `Loader` would read as numbers, and Unicode line breaks, which it would fold."""


NUMBER_WITH_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+\Z")
for each in (Loader, Dumper):
    each.add_implicit_resolver("tag:yaml.org,2002:float", NUMBER_WITH_EXPONENT, list("-+0123456789"))
TEXT = "tag:yaml.org,2002:str"
Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        TEXT, text, '"' if {*text} & {*"\x85\u2028\u2029"} else None
    ),
)


def to_yaml(settings: Settings) -> str:
    """The text of config.yaml: plain values, which `read_yaml` and Hydra read back unchanged."""
    return yaml.dump(settings.to_dict(), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """The plain values of a yaml file that vaelab has written or ships."""
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader)
    return found
