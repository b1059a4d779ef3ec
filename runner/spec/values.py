"""The small values of a job that have a notation of their own: durations, shares, money, cache marks.

Owns   the parsing of `500ms`, `5%` and dollars, and how each is described in the JSON Schema.
Knows  pydantic; nothing of files. Every refusal says what is expected, because a union's own message would not.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

from msgspec import Struct
from pydantic import BeforeValidator, InstanceOf, WithJsonSchema
from pydantic_core import PydanticCustomError

from runner.types import PICO_PER_USD

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")


class Share(Struct, frozen=True):
    """A number of rows, or a part of all of them. Exactly one of `rows` and `fraction` (0 to 1) is set; exact, because
    a row more or less decides the exit status."""

    rows: int | None = None
    fraction: Fraction | None = None

    def exceeded_by(self, rows: int, total: int) -> bool:
        """Whether `rows` of `total` are more than this allows."""
        if self.rows is not None:
            return rows > self.rows
        return rows > (self.fraction or 0) * total

    def __str__(self) -> str:
        return str(self.rows) if self.rows is not None else f"{float(self.fraction or 0) * 100:g}%"


def to_pico(dollars: Decimal) -> int:
    """Dollars as whole pico-dollars, rounded down."""
    return int(dollars * PICO_PER_USD)


def _refuse(kind: str, expected: str) -> PydanticCustomError:
    return PydanticCustomError(kind, "{expected}", {"expected": expected})


def parse_duration(value: Any) -> float:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise _refuse("duration", "a duration with its unit: 500ms, 60s, 5m, 6h or 2d")
    return float(match.group(1)) * _UNITS_S[match.group(2)]


def _parse_positive_duration(value: Any) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        raise _refuse("duration", "a duration greater than 0, such as 6h")
    return seconds


def _parse_share(value: Any) -> Share:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Share(rows=value)
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if not match or Fraction(match.group(1)) > 100:
        raise _refuse("share", "a share of the rows (5%) or a number of rows (20)")
    return Share(fraction=Fraction(match.group(1)) / 100)


def _parse_money(value: Any) -> Decimal:
    expected = _refuse("money", "a number of dollars greater than 0, such as 5.00")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise expected
    dollars = Decimal(str(value))
    if not dollars.is_finite() or to_pico(dollars) <= 0:
        raise expected
    return dollars


def _parse_cache(value: Any) -> Any:
    if value is None or isinstance(value, bool) or value in ("5m", "1h"):
        return value
    raise _refuse("cache", "true, 5m or 1h")


def _parse_columns(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise _refuse("include-row", "true, false or a list of columns")


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["500ms", "60s", "6h"]}),
]
"""Seconds; written with a unit."""

PositiveDuration = Annotated[
    float,
    BeforeValidator(_parse_positive_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["6h"]}),
]
"""Seconds, more than 0; written with a unit."""

ShareOfRows = Annotated[
    InstanceOf[Share],
    BeforeValidator(lambda value: value if isinstance(value, Share) else _parse_share(value)),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": f"^{_PERCENT.pattern}$"}, {"type": "integer", "minimum": 0}],
            "examples": ["5%", 20],
        }
    ),
]

Dollars = Annotated[
    Decimal, BeforeValidator(_parse_money), WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "examples": [5.0]})
]

CacheMark = Annotated[
    bool | Literal["5m", "1h"] | None,
    BeforeValidator(_parse_cache),
    WithJsonSchema({"enum": [True, False, "5m", "1h"]}),
]

RowColumns = Annotated[
    bool | tuple[str, ...],
    BeforeValidator(_parse_columns),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
