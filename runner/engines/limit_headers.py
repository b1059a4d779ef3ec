"""What the API says of its limits, in the headers of every response.

Owns   the names of the headers, and the reading of them into one value for each limited quantity.
Knows  texts. Nothing of clocks, levels or runs.

    anthropic-ratelimit-<quantity>-limit       how much a minute
    anthropic-ratelimit-<quantity>-remaining   how much of it is left; tokens are rounded to the thousand
    anthropic-ratelimit-<quantity>-reset       when all of it will be there again, RFC 3339

for `requests`, `input-tokens` and `output-tokens`. `tokens` is the most restrictive token limit in force: a gateway
that sends it alone means a limit whose kind is not known, and since a prompt is longer than its reply nearly always, it
is read as the input's; what that gets wrong, `remaining` puts right. Source: the API's rate-limits page, October 2026.

`reset` is not read: a bucket that is filled continuously is full when `limit` and `remaining` say so, and it has whole
seconds only. When to come back after a refusal is `retry-after`'s business.

Text that is no number is as good as no header: a gateway's own words must not stop a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Quantity = Literal["requests", "input_tokens", "output_tokens"]
QUANTITIES: Final[tuple[Quantity, ...]] = ("requests", "input_tokens", "output_tokens")
"""In this order wherever there is one value for each."""

_PREFIX = "anthropic-ratelimit-"
_NAMES = tuple(
    tuple(f"{_PREFIX}{name}-{part}" for part in ("limit", "remaining"))
    for name in ("requests", "input-tokens", "output-tokens", "tokens")
)
_MOST = 10**12
"""No limit a minute is higher; what claims to be is not believed."""


class Told(NamedTuple):
    """One quantity as a response tells of it. `remaining` is None where only the limit was told."""

    limit: float
    remaining: float | None


def read_limits(headers: Mapping[str, str]) -> tuple[Told | None, Told | None, Told | None]:
    """One value for each of QUANTITIES, None where nothing is told of it. `headers` have lower-case names."""
    requests, input_tokens, output_tokens = (_told(headers, names) for names in _NAMES[:3])
    if input_tokens is None and output_tokens is None:
        input_tokens = _told(headers, _NAMES[3])
    return requests, input_tokens, output_tokens


def _told(headers: Mapping[str, str], names: tuple[str, ...]) -> Told | None:
    limit = _number(headers.get(names[0]))
    if not limit:
        return None
    return Told(limit, _number(headers.get(names[1])))


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and 0 <= number <= _MOST else None
