"""The settings that `--help` lists. Hydra prints them: see conf/hydra/help/vaelab.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vaelab.config import Checked, settings, show


def settings_help(schema: type[Checked], model: Mapping[str, Any]) -> str:
    """A line for each setting of a schema and of a model: what to type, and what it means."""
    rows = []
    for key, item in settings(schema):
        choices = item.metadata["choices"]
        rows.append(
            (
                f"{key}={show(item.default)}",
                item.metadata["meaning"] + (f" ({', '.join(choices)})" if choices else ""),
            )
        )
    rows += [(f"model.{key}={show(value)}", "") for key, value in model.items() if key != "name"]
    width = max(len(typed) for typed, _ in rows)
    lines = [f"    {typed:<{width}}  {meaning}".rstrip() for typed, meaning in rows]
    if model:
        lines.append(f"    What belongs to model={model['name']} is explained in conf/model/.")
    text = "\n".join(["Settings and their defaults (reconstruction and KL are nats per image)", *lines])
    return text.replace("$", "$$")  # Hydra passes the help through string.Template
