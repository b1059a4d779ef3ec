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
from runner.templating.failure import Refusal, mismatch
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
    return operator.pow(base, exponent)


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
    ready: dict[str, Any] | tuple[Any, ...]
    if isinstance(values, Mapping):
        used = [match["name"] for match in _CONVERSION.finditer(pattern)]
        ready = {name: _ready(value) for name, value in values.items() if name in used}
        length = sum(_length(ready.get(name)) for name in used)
    else:
        ready = tuple(_ready(value) for value in values)
        length = sum(map(_length, ready))
    meter.text(len(pattern) + widths + length)
    try:
        text: str = pattern % ready
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        reason = f"there is no value named {error}" if isinstance(error, KeyError) else str(error)
        raise Refusal(f"the format {pattern[:80]!r} does not fit its values: {reason}") from error
    return text


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0


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


def _in_words(sign: str, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The operator, telling in a template's words which values do not go together."""

    def apply(left: Any, right: Any) -> Any:
        try:
            return function(left, right)
        except TypeError as error:
            raise mismatch(sign, type(left), type(right)) from error

    return apply


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": _in_words("+", add),
    "*": _in_words("*", multiply),
    "**": _in_words("**", power),
    "%": _in_words("%", modulo),
}
