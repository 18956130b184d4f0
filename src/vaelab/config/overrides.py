"""Settings as a command line has them: dotted keys, and values quoted so that Hydra reads them back."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vaelab.config.errors import show


def quote_override(key: str, value: object) -> str:
    """`key=value` as Hydra reads it back."""
    return f"{key}={quoted(value)}"


def quoted(value: object) -> str:
    """A value as Hydra reads it back: texts in quotes where they have more than plain letters."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{quoted(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(quoted, value))}]"
    if value is None or isinstance(value, bool | int | float):
        return show(value)
    text = str(value)
    if not re.fullmatch(r"[\w./+:-]+", text, re.ASCII) or reads_otherwise(text):
        # Hydra takes backslashes as they are, but before a quote, where each is written twice.
        text = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
        # OmegaConf takes ${ for a reference, but after a backslash.
        text = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", text)
        text = f"'{text}'"
    return text


def reads_otherwise(text: str) -> bool:
    """Whether a text without quotes would be taken for something else."""
    if text.lower() in ("null", "true", "false"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def flattened(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as (dotted key, value)."""
    for key, value in plain.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def look_up(plain: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted key, or None."""
    value: Any = plain
    for step in key.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
