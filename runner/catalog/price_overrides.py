"""A user's own prices: a TOML file that the setting `prices` names.

Owns   the file's format and its errors. TOML, because its numbers are read as exact decimals.
Knows  nothing of where published prices come from. What stands here replaces a model's price wholly.

    ["claude-haiku-5-5"]          # USD per million tokens
    input = 0.10
    output = 0.50
    cache_read = 0.01             # default 0.1 x input
    cache_write_5m = 0.125        # default 1.25 x input
    cache_write_1h = 0.20         # default 2 x input
    batch_discount = 0.5          # default 0.5: what batch mode takes off everything

    [["claude-haiku-5-5".above]]  # optional: dearer for long prompts; one table a tier
    tokens = 100_000
    input = 0.50
    output = 2.50
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from runner.catalog.prices import ModelPrice, Rates, Tier, pico_per_token
from runner.errors import Location, Problem, SpecError

_CACHE_FACTORS = {"cache_read": Decimal("0.1"), "cache_write_5m": Decimal("1.25"), "cache_write_1h": Decimal(2)}
"""Multiples of the input price (prompt caching guide, "Pricing")."""
_BATCH_DISCOUNT = Decimal("0.5")
"""Batch guide, "Pricing": half of everything."""
_RATES = ("input", "output", *_CACHE_FACTORS)


def load_overrides(path: Path) -> dict[str, ModelPrice]:
    """Read a price file. Raises SpecError with all that is wrong in it."""
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text, parse_float=Decimal)
    except OSError as error:
        raise _refused(path, [f"cannot be read: {error.strerror}"]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _refused(path, [f"is not TOML: {error}"]) from error
    prices: dict[str, ModelPrice] = {}
    problems: list[str] = []
    for model, table in tables.items():
        try:
            prices[model] = _model_price(table)
        except _WrongPriceError as error:
            problems.append(f"{model}: {error}")
    if problems:
        raise _refused(path, problems)
    return prices


class _WrongPriceError(Exception):
    """What is wrong with one model's table."""


def _refused(path: Path, messages: list[str]) -> SpecError:
    hint = "a price file has one table a model, with `input` and `output` in USD per million tokens"
    return SpecError([Problem("price-file", message, Location(str(path)), hint) for message in messages])


def _model_price(table: Any) -> ModelPrice:
    if not isinstance(table, Mapping):
        raise _WrongPriceError("expected a table")
    _refuse_unknown(table, {*_RATES, "batch_discount", "above"})
    discount = _number(table, "batch_discount", _BATCH_DISCOUNT)
    if discount > 1:
        raise _WrongPriceError("`batch_discount` is a share: 0.5 takes half off")
    tiers = [(0, table)]
    for higher in table.get("above", []):
        _refuse_unknown(higher, {*_RATES, "tokens"})
        if not isinstance(higher.get("tokens"), int) or higher["tokens"] <= tiers[-1][0]:
            raise _WrongPriceError("each `above` table needs `tokens`, a whole number, in ascending order")
        tiers.append((higher["tokens"], higher))
    return ModelPrice(
        parallel=tuple(Tier(above, _rates(tier, Decimal(1))) for above, tier in tiers),
        batch=tuple(Tier(above, _rates(tier, 1 - discount)) for above, tier in tiers),
    )


def _rates(table: Mapping[str, Any], factor: Decimal) -> Rates:
    base = _number(table, "input")
    usd = {"input": base, "output": _number(table, "output")}
    for name, multiple in _CACHE_FACTORS.items():
        usd[name] = _number(table, name, base * multiple)
    try:
        return Rates(**{name: pico_per_token(value * factor) for name, value in usd.items()})
    except ValueError as error:
        raise _WrongPriceError(str(error)) from error


def _number(table: Mapping[str, Any], name: str, default: Decimal | None = None) -> Decimal:
    value = table.get(name, default)
    if value is None:
        raise _WrongPriceError(f"`{name}` is missing")
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _WrongPriceError(f"`{name}` must be a number, not {value!r}")
    number = Decimal(value)
    if not number.is_finite() or number < 0:
        raise _WrongPriceError(f"`{name}` must be zero or more, not {value}")
    return number


def _refuse_unknown(table: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(table.keys() - known)
    if unknown:
        raise _WrongPriceError(f"unknown key {unknown[0]!r}; there are {', '.join(sorted(known))}")
