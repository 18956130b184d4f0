"""Names that a setting can choose, and the classes they stand for: models, likelihoods and the like.

A class registers itself where it is written. The modules of a package of vaelab and the plugins of an
entry-point group are all imported once, at the first lookup. A name, also one out of a checkpoint, only
chooses among what is registered: it never causes an import.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from vaelab.config import ConfigError, did_you_mean, unknown

Member = TypeVar("Member")
Registered = TypeVar("Registered")


class Registry(Generic[Member]):
    """What the setting `setting` can name."""

    def __init__(self, setting: str, package: str, group: str | None = None) -> None:
        """`package` holds the members that vaelab ships. Plugins use the entry-point group of its last name:
        `vaelab.models`, and `vaelab.likelihoods` for `vaelab.objectives.likelihoods`; or the one given.
        """
        self.setting = setting
        self.package = package
        self.group = group or f"vaelab.{package.rpartition('.')[2]}"
        self.members: dict[str, Member] = {}
        self.complete = False

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Decorator: the class or function can be chosen by `name`. Raises ConfigError for a name in use."""

        def add(member: Registered) -> Registered:
            if name in self.members:
                raise ConfigError(f"{self.setting}={name} is registered already: choose another name.")
            self.members[name] = cast(Member, member)
            return member

        return add

    def names(self) -> list[str]:
        """All names, sorted."""
        self.load()
        return sorted(self.members)

    def get(self, name: object) -> Member:
        """The member of that name. Raises ConfigError for an unknown one, with the nearest and all names."""
        self.load()
        if not isinstance(name, str) or name not in self.members:
            raise unknown(self.setting, name, self.members)
        return self.members[name]

    def load(self) -> None:
        """Import the package's modules and the plugins, so that they register themselves."""
        if self.complete:
            return
        self.complete = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for plugin in entry_points(group=self.group):
            plugin.load()

    def build(self, component: str | Mapping[str, Any], **given: Any) -> Any:
        """An instance of the class that `component` names: a name, or a mapping of `name` and arguments.

        Of `given`, what vaelab offers, a constructor gets the parameters that it has. Raises ConfigError for
        an unknown name and for arguments that the class doesn't take.
        """
        arguments = {"name": component} if isinstance(component, str) else dict(component)
        name = arguments.pop("name", None)
        cls: Any = self.get(name)
        parameters = inspect.signature(cls).parameters
        accepted = [parameter for parameter in parameters if parameter not in given]
        for argument in arguments:
            if argument not in accepted:
                takes = ", ".join(accepted) or "no settings"
                raise ConfigError(
                    f"Unknown setting '{self.setting}.{argument}'. {did_you_mean(argument, accepted)}"
                    f"{self.setting}={name} takes: {takes}."
                )
        return cls(**{key: value for key, value in given.items() if key in parameters}, **arguments)
