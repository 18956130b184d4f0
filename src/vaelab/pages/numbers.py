"""Numbers as text, by one rule for tables, pages and notebooks."""

import math


def written(value: float, error: float | None = None, digits: int | None = None) -> str:
    """`0.283 ± 0.012`: with as many decimals as `error` has for two digits, or with `digits` of them.

    A number without an error has two decimals, and below 10 four digits; a count has none.
    """
    if isinstance(value, int):
        return f"{value:,}"
    if digits is None and error:
        digits = min(6, max(0, 1 - math.floor(math.log10(error))))
    if digits is None:
        shape = ",.2f" if abs(value) >= 10 or not math.isfinite(value) else ".4g"
        return typographic(f"{value:{shape}}") + ("" if error is None else " ± 0")
    return typographic(f"{value:,.{digits}f}") + ("" if error is None else f" ± {error:,.{digits}f}")


def typographic(number: str) -> str:
    """A number with a minus sign, and without one before zero."""
    if not number.startswith("-"):
        return number
    return f"−{number[1:]}" if number.strip("-0.") else number[1:]
