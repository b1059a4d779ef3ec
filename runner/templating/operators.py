"""The operators that can make something long out of something short: `+`, `*`, `**`, `%`, `~`, and slices.

Owns   their bounded forms; the compiled template calls these instead of Python's.
Knows  the meter. What is not text, a list or a whole number goes to Python's operator as it is.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from runner.templating.bounds import active
from runner.templating.failure import Refusal
from runner.templating.missing import Missing
from runner.templating.printing import text_of

_CONVERSION = re.compile(
    r"%(?:\((?P<name>[^()]*)\))?[#0\- +]*(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d+)?)?[hlL]?.?", re.DOTALL
)
"""A conversion of the `%` operator, Python's "printf-style String Formatting"."""


def add(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        active.get().text(len(left) + len(right))
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        active.get().items(len(left) + len(right))
    return left + right


def multiply(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    else:
        _check_repetition(left, right)
        _check_repetition(right, left)
    return left * right


def _check_repetition(thing: Any, times: Any) -> None:
    if isinstance(times, int):
        if isinstance(thing, str | bytes):
            active.get().text(len(thing) * max(times, 0))
        elif isinstance(thing, list | tuple):
            active.get().items(len(thing) * max(times, 0))


def power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0 and abs(base) > 1:
        _check_bits(base.bit_length() * exponent)
    if isinstance(base, Decimal) and isinstance(exponent, int | Decimal) and abs(exponent) > _MAX_DECIMAL_EXPONENT:
        raise Refusal(f"the exponent {exponent} is too large", code="template-bounds")
    return operator.pow(base, exponent)


_MAX_DECIMAL_EXPONENT = 1_000
"""Decimal's own precision bounds its digits, but an exponent can still cost time."""


def _check_bits(bits: int) -> None:
    limit = active.get().bounds.number_bits
    if bits > limit:
        raise Refusal(f"a whole number of more than {limit:,} bits", "use a float: `x * 1.0`", "template-bounds")


def modulo(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        return formatted(left, right if isinstance(right, tuple | Mapping) else (right,))
    return left % right


def formatted(pattern: str, values: tuple[Any, ...] | Mapping[str, Any]) -> str:
    """`pattern % values` with the printing rules for `%s` and with bounded widths."""
    meter = active.get()
    widths = 0
    for match in _CONVERSION.finditer(pattern):
        for part in (match["width"], match["precision"]):
            if part == "*":
                raise Refusal("a width of `*` is not available in `%` formats", "write the width out, as in `%10s`")
            if part is not None:
                widths += meter.width(int(part[:9]), "format")
    ready: Any
    if isinstance(values, Mapping):
        used = {match["name"] for match in _CONVERSION.finditer(pattern)}
        ready = {name: _ready(value) for name, value in values.items() if name in used}
        texts = (value for value in ready.values() if isinstance(value, str))
    else:
        ready = tuple(_ready(value) for value in values)
        texts = (value for value in ready if isinstance(value, str))
    # A name may be used many times: at most once for each conversion.
    uses = pattern.count("%") if isinstance(values, Mapping) else 1
    meter.text(len(pattern) + widths + uses * sum(map(len, texts)))
    try:
        return pattern % ready
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        reason = f"there is no value named {error}" if isinstance(error, KeyError) else str(error)
        raise Refusal(f"the format {pattern[:80]!r} does not fit its values: {reason}") from error


def _ready(value: Any) -> Any:
    """Numbers go in as they are, so that `%d` and `%.2f` work; all else by the printing rules."""
    if isinstance(value, Missing):
        value.refuse()
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return value
    return text_of(value)


def joined(parts: tuple[Any, ...]) -> str:
    """`a ~ b ~ c`."""
    texts = [text_of(part) for part in parts]
    active.get().text(sum(map(len, texts)))
    return "".join(texts)


def sliced(value: Any, part: slice) -> Any:
    """`a[i:j]`."""
    if not isinstance(value, str | list | tuple | range):
        if isinstance(value, Missing):
            value.refuse()
        raise Refusal(f"a {type(value).__name__} cannot be cut by `[a:b]`; text and lists can")
    size = len(range(*part.indices(len(value))))
    if isinstance(value, str):
        active.get().text(size)
    elif not isinstance(value, range):
        active.get().items(size)
    return value[part]


BINARY: dict[str, Callable[[Any, Any], Any]] = {"+": add, "*": multiply, "**": power, "%": modulo}
