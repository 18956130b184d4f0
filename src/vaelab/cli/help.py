"""The settings that `--help` lists. Hydra prints them: see conf/hydra/help/vaelab.yaml."""

from collections.abc import Mapping
from typing import Any

from vaelab.config import Settings, describe, show
from vaelab.config.base import Setting


def settings_help(schema: type[Settings], model: Mapping[str, Any]) -> str:
    """A line for each setting of a schema and of a model: what to type, and what it means."""
    rows = [(f"{each.key}={show(each.default)}", meaning(each)) for each in describe(schema)]
    rows += [(f"model.{key}={show(value)}", "") for key, value in model.items() if key != "name"]
    width = max(len(typed) for typed, _ in rows)
    lines = [f"    {typed:<{width}}  {text}".rstrip() for typed, text in rows]
    if model:
        lines.append(f"    What belongs to model={model['name']} is explained in conf/model/.")
    text = "\n".join(["Settings and their defaults (reconstruction and KL are nats per image)", *lines])
    return text.replace("$", "$$")  # Hydra passes the help through string.Template


def meaning(setting: Setting) -> str:
    """The description, and the choices where there are only a few."""
    choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
    return setting.description + choices
