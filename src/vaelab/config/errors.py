"""Errors that a user can correct, and settings as text: in their messages and on a command line."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


class VaelabError(Exception):
    """Something a user can correct: the message says how, and is shown without a traceback."""


class ConfigError(VaelabError):
    """A setting has a value that can't be used."""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`"Did you mean 'conv'? "`, or nothing where no option is near. Capitals make no difference."""
    by_letters = {option.lower(): option for option in options}
    near = difflib.get_close_matches(word.lower(), by_letters, n=1, cutoff=0.55)
    return f"Did you mean '{by_letters[near[0]]}'? " if near else ""


def unknown(what: str, word: object, options: Iterable[str]) -> ConfigError:
    """The error for a name that is not among `options`."""
    names = sorted(options)
    return ConfigError(
        f"Unknown {what} '{show(word)}'. {did_you_mean(str(word), names)}Available: {', '.join(names)}."
    )


def must_be(key: str, allowed: str, value: object) -> ConfigError:
    """The error for a value outside what a setting allows."""
    shown = show(value) if str(value).strip() else repr(value)
    if len(shown) > 100:
        shown = f"{shown[:60]}… ({len(shown):,} characters)"
    return ConfigError(f"{key} must be {allowed}, got {shown}.")


def check_count(key: str, value: object) -> None:
    """Refuse anything but a whole number of at least 1; True is none."""
    if not is_count(value):
        raise must_be(key, "a whole number of at least 1", value)


def check_counts(key: str, values: object, example: str) -> None:
    """Refuse anything but a list of one or more whole numbers of at least 1."""
    if not isinstance(values, list | tuple) or not values or not all(map(is_count, values)):
        raise must_be(key, f"a list of whole numbers of at least 1, such as {example}", values)


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def show(value: object, text: Callable[[str], str] = str) -> str:
    """A value as a user would write it; `text` formats the texts in it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{show(item, text)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(show(item, text) for item in value)}]"
    return str(value) if isinstance(value, int | float) else text(str(value))


def quote_override(key: str, value: object) -> str:
    """`key=value` as Hydra reads it back."""
    return f"{key}={show(value, quoted)}"


PLAIN = re.compile(
    r"(?!(?:null|true|false|nan|inf)\Z)(?:[a-z_/]|\.(?!\d))[\w./+:-]*", re.ASCII | re.IGNORECASE
)
"""What Hydra parses as a text without quotes, and as nothing else."""


def quoted(text: str) -> str:
    if PLAIN.fullmatch(text):
        return text
    # Hydra keeps backslashes, but before a quote each is written twice.
    text = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    # OmegaConf parses ${ as a reference unless a backslash precedes it.
    text = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", text)
    return f"'{text}'"


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
