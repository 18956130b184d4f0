"""Registries: how a setting chooses a model, a likelihood, a data set … by name, from vaelab or a plugin.

A class is registered in the module that defines it. The classes of vaelab are in the modules of one package;
a plugin declares the module that registers its own classes as an entry point:

    [project.entry-points."vaelab.models"]
    my_model = "my_package.my_model"

The groups are vaelab.models, vaelab.objectives, vaelab.likelihoods, vaelab.kl_schedules, vaelab.datasets,
vaelab.loggers and vaelab.metrics.
"""

import inspect
import logging
import math
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoints, entry_points
from typing import Any, Generic, TypeVar

from vaelab.config.errors import ConfigError, did_you_mean, must_be, show, unknown

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Registered = TypeVar("Registered")


@cache
def entry_points_of_all() -> Any:
    """The entry points of all installed packages; cached, because finding them reads many files."""
    return entry_points()


def plugins(group: str) -> EntryPoints:
    """The entry points of installed plugins."""
    found: EntryPoints = entry_points_of_all().select(group=group)
    return found


class Registry(Generic[Item]):
    """The classes (or functions, or values) that one setting chooses from, by name.

    All modules of `package` and all plugins of the entry-point group are imported once, at the first lookup.
    A name, for example from a checkpoint, only selects among what is registered and never causes an import.

    Args:
        setting: the setting's name, for messages.
        package: the package whose modules register the classes of vaelab.
        group: the group of entry points of plugins, such as "vaelab.models".
    """

    def __init__(self, setting: str, package: str, group: str) -> None:
        self.setting, self.package, self.group = setting, package, group
        self.registered: dict[str, Item] = {}
        self.modules: dict[str, str] = {}  # the module that has registered each name
        self.complete = False

    def register(self, name: str, module: str = "") -> Callable[[Registered], Registered]:
        """Decorator: registers a class, function or value under a name, and returns it unchanged.

        A module may register a name again, as when it is reloaded. Raises ConfigError if another module has
        registered it; vaelab's own classes keep their names. `module` is for values, which have none.

        >>> shapes: Registry[type] = Registry("shape", "my_package.shapes", "my_package.shapes")
        >>> @shapes.register("square")
        ... class Square:
        ...     pass
        >>> list(shapes.registered)
        ['square']
        """

        def decorator(item: Registered) -> Registered:
            own = module or item.__module__
            other = self.modules.get(name, own)
            if own == other or own.startswith(f"{self.package}."):
                self.modules[name] = own
                self.registered[name] = item  # type: ignore[assignment]
            if own != other:
                raise ConfigError(
                    f"'{name}' ({self.setting}) is registered by both {other} and {own}: choose another name."
                )
            return item

        return decorator

    def names(self) -> list[str]:
        """All registered names, sorted. Warns about plugins that can't be imported, and leaves them out."""
        if not self.complete:
            for module in pkgutil.iter_modules(import_module(self.package).__path__):
                import_module(f"{self.package}.{module.name}")
            for plugin in plugins(self.group):
                try:
                    plugin.load()
                except Exception as error:  # a plugin's module may raise anything
                    log.warning("The plugin %s (%s) can't be imported: %s", plugin.name, plugin.value, error)
            self.complete = True  # only now: after an interrupt, the next call imports the rest
        return sorted(self.registered)

    def get(self, name: str) -> Item:
        """The class registered under a name. Raises ConfigError, with a suggestion, for an unknown name."""
        names = self.names()
        if name not in names:
            raise unknown(self.setting, name, names)
        return self.registered[name]

    def build(self, component: str | Mapping[str, Any], **given: Any) -> Any:
        """An instance of the class that `component` names.

        `component` is a name, or a mapping {"name": …} with further arguments. Of `given`, the class receives
        those arguments that its constructor takes. Raises ConfigError for an unknown name, for an argument
        that the class doesn't take, for a value that is not of the type of an argument annotated as int,
        float or bool, and for one that the class refuses with TypeError, ValueError or ArithmeticError.

        >>> from vaelab.objectives import kl_schedules
        >>> kl_schedules.build("linear", epochs=20, warmup_epochs=4).weight(2)  # it takes no `epochs`
        0.5
        """
        arguments = {"name": component} if isinstance(component, str) else dict(component)
        name = arguments.pop("name")
        item: Any = self.get(name)
        parameters = self.parameters(name)
        accepted = [parameter for parameter in parameters if parameter not in given]
        for argument in arguments:
            if argument not in accepted:
                takes = ", ".join(accepted) or "no settings"
                raise ConfigError(
                    f"Unknown setting '{self.setting}.{argument}'. {did_you_mean(argument, accepted)}"
                    f"{self.setting}={name} accepts: {takes}."
                )
        taken = {key: value for key, value in given.items() if key in parameters}
        try:
            for argument, value in arguments.items():
                check_type(f"{self.setting}.{argument}", parameters[argument], value)
            return item(**taken, **arguments)
        except (TypeError, ValueError, ArithmeticError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise ConfigError(f"{self.setting}={show(component)} can't be used: {reason}.") from error

    def parameters(self, component: str | Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that a component's class takes, with their annotations.

        Raises ConfigError for an unknown name.
        """
        item: Any = self.get(component if isinstance(component, str) else component["name"])
        collected = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        found = inspect.signature(item).parameters
        return {name: each.annotation for name, each in found.items() if each.kind not in collected}


def check_type(key: str, annotation: Any, value: object) -> None:
    """Raise ConfigError if the annotation is int, float or bool and the value is not of that type."""
    kind = getattr(annotation, "__name__", annotation)  # a string where annotations are not evaluated
    if kind == "bool" and not isinstance(value, bool):
        raise must_be(key, "true or false", value)
    number = None if isinstance(value, bool) else value
    if kind == "int" and not isinstance(number, int):
        raise must_be(key, "a whole number", value)
    if kind == "float" and not (isinstance(number, int | float) and math.isfinite(number)):
        raise must_be(key, "a finite number", value)
