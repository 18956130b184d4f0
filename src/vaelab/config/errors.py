"""Errors that a user can correct, and settings as text: in their messages and on a command line."""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Real
from typing import Any


class VaelabError(Exception):
    """Base class of all errors that a user can correct.

    The message says what to type instead; the commands print it on one line, without a traceback.

    >>> try:
    ...     vaelab.train(beta=-1)
    ... except vaelab.VaelabError as error:
    ...     print(error)
    beta must be a number of at least 0, got -1.0.
    """


class ConfigError(VaelabError):
    """A setting has a value that can't be used, or is unknown."""


def did_you_mean(word: str, options: Iterable[str] | Mapping[str, str]) -> str:
    """`"Did you mean 'conv'? "`, or an empty string if no option is similar; case is ignored.

    If `options` is a mapping, its keys are compared and its values are shown.
    """
    shown = options if isinstance(options, Mapping) else {option: option for option in options}
    by_letters = {compared.lower(): option for compared, option in shown.items()}
    near = difflib.get_close_matches(word.lower(), by_letters, n=1, cutoff=0.55)
    return f"Did you mean '{by_letters[near[0]]}'? " if near else ""


def lacks(choice: str, extra: str) -> ConfigError:
    """The error for a choice that needs a package of one of vaelab's extras, which is not installed."""
    return ConfigError(f"{choice} needs a package that is not installed: type pip install 'vaelab[{extra}]'.")


def counted(count: int, noun: str) -> str:
    """`1 epoch`, `2,000 images`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def unknown(what: str, word: object, options: Iterable[str]) -> ConfigError:
    """The error for a name that is not among `options`."""
    names = sorted(options)
    return ConfigError(
        f"Unknown {what} '{show(word)}'. {did_you_mean(str(word), names)}Available: {', '.join(names)}."
    )


def must_be(key: str, allowed: str, value: object) -> ConfigError:
    """The error for a value outside what a setting allows."""
    # Quotes show that a number or a word is a string: 'epochs="3"'.
    shown = show(value) if isinstance(value, str) and PLAIN.fullmatch(value) else show(value, quoted)
    if len(shown) > 100:
        shown = f"{shown[:60]}… ({len(shown):,} characters)"
    return ConfigError(f"{key} must be {allowed}, got {shown}.")


def no_value(key: str) -> ConfigError:
    """The error for a setting that is `???`, as in a yaml that leaves it to the command line."""
    return ConfigError(f"{key} has no value yet (it is ???): type {key}=VALUE.")


def is_missing(value: object) -> bool:
    """Whether a value is `???`, or contains one."""
    if isinstance(value, Mapping):
        return any(map(is_missing, value.values()))
    return any(map(is_missing, value)) if isinstance(value, list | tuple) else value == "???"


def check_held(what: str, number: str) -> None:
    """Raise ConfigError for a number, as written, that a float would silently turn into 0 or infinity."""
    held = float(number.replace("_", ""))
    if math.isinf(held) or (held == 0 and re.search("[1-9]", re.split("[eE]", number)[0])):
        becomes, advice = ("infinite", "a number up to 1e300") if held else ("0", "0 or 1e-300 to 1e300")
        shown = number if len(number) < 40 else f"{number[:40]}…"
        raise ConfigError(f"{what}: {shown} would become {becomes}: type {advice}.")


def show(value: object, text: Callable[[str], str] = str) -> str:
    """A value as a user would write it; `text` formats the strings in it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{show(item, text)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(show(item, text) for item in value)}]"
    return str(value) if isinstance(value, Real) else text(str(value))  # NumPy's numbers too


def quote_override(key: str, value: object) -> str:
    """`key=value` as Hydra reads it back."""
    return f"{key}={show(value, quoted)}"


PLAIN = re.compile(
    r"(?!(?:null|true|false|nan|inf)\Z)(?:[a-z_/]|\.(?!\d))[\w./+:-]*", re.ASCII | re.IGNORECASE
)
"""What Hydra parses as a string without quotes, and as nothing else."""


def quoted(text: str) -> str:
    """A string in the quotes and escapes that Hydra's parser needs, or as it is if it needs none."""
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
    """The value at a dotted key, or None if there is none."""
    value: Any = plain
    for step in key.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
