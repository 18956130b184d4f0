"""Write conf/COMMAND.schema.json, with which editors complete and check a user's yaml, from the settings.

    python scripts/make_schemas.py

Every key may be left out, since a yaml only says what differs; `defaults` and `hydra` are Hydra's.
"""

from __future__ import annotations

import json
from typing import Any

from vaelab import config


def json_schema(command: str) -> str:
    """The text of a command's schema."""
    schema = config.SCHEMAS[command].model_json_schema()
    schema = optional(schema)
    schema["properties"] |= {
        "defaults": {"type": "array", "description": "Hydra's defaults list"},
        "hydra": {"type": "object", "description": "settings of Hydra itself"},
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"vaelab.{command}"}
    return json.dumps(head | schema, indent=2) + "\n"


def optional(node: Any) -> Any:
    """A schema without required keys, and without titles that repeat a key."""
    if isinstance(node, dict):
        dropped = {"required", *(["title"] if isinstance(node.get("title"), str) else [])}
        return {key: optional(value) for key, value in node.items() if key not in dropped}
    return [optional(each) for each in node] if isinstance(node, list) else node


def main() -> None:
    for command in config.SCHEMAS:
        path = config.CONF_DIR / f"{command}.schema.json"
        path.write_text(json_schema(command), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
