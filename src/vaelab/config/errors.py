"""What a user can correct: the errors that say how, and the sentences that they are made of."""

import difflib
from collections.abc import Iterable, Mapping


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
    return ConfigError(f"{key} must be {allowed}, got {show(value) if str(value).strip() else repr(value)}.")


def show(value: object) -> str:
    """A value as a person would write it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{show(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(show, value))}]"
    return str(value)


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
