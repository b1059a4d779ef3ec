"""What one render may use, and the meter that counts it.

Owns   `Bounds`, the limits with their reasons, and `Meter`, which lives for one render and is found through `active`.
Why    Jinja's sandbox keeps a template from reaching out but not from filling memory: 12 of 20 payloads got through
       (measured with 3.1.6). Everything that can make text or lists longer than its input asks the meter first.
Not    bounded: time as such. Steps, text and items bound it loosely; comparisons and `in` over huge nested lists do
       not count.

The meter is found through a context variable, because Jinja hands no state of ours to filters and operators. It is
absent while templates are compiled, so nothing of ours can be folded into a constant at load time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from contextvars import ContextVar
from typing import Any

from msgspec import Struct

from runner.templating.failure import Refusal, word_for


class Bounds(Struct, frozen=True):
    """Limits of one render. Sizes are far above what a prompt needs: 4 MiB of text is about a million tokens."""

    output_bytes: int = 4 * 2**20
    """UTF-8 bytes of what a template gives, and characters of any one text on the way."""
    made_chars: int = 64 * 2**20
    """Characters of all texts made on the way: a 4 MiB text may pass sixteen filters. A list item counts as 8."""
    steps: int = 1_000_000
    """Loop iterations and items that filters go through; a call or include counts as `CALL_STEPS`."""
    range_items: int = 10_000
    """Items of one `range`."""
    width: int = 10_000
    """Widths and counts that filters take: `center`, `indent`, `wordwrap`, `format`, `batch`, `slice`."""
    number_bits: int = 4_096
    """Bits of a whole number that `*` or `**` makes; far above 64-bit ids, below what is slow to print."""


DEFAULT_BOUNDS = Bounds()

CALL_STEPS = 10
"""A macro call or an include takes about ten times as long as an empty turn of a loop (3.11, measured)."""
_CHARS_OF_AN_ITEM = 8
"""A list item is a pointer of 8 bytes."""


class Printed:
    """Counts what a reader of a prompt cannot see: `nulls` that were printed as nothing. One may serve many renders."""

    __slots__ = ("nulls",)

    def __init__(self) -> None:
        self.nulls = 0


class Meter:
    """What one render has left, the variables it was given, and the modules it has imported."""

    __slots__ = ("bounds", "chars_left", "modules", "null_safe", "nulls", "steps_left", "variables")

    def __init__(self, bounds: Bounds, variables: Mapping[str, Any], null_safe: bool = False) -> None:
        self.bounds = bounds
        self.variables = variables
        self.null_safe = null_safe
        self.nulls = 0
        self.steps_left = bounds.steps
        self.chars_left = bounds.made_chars
        self.modules: dict[str, Any] = {}

    def step(self, count: int = 1) -> None:
        self.steps_left -= count
        if self.steps_left < 0:
            raise Refusal(
                f"the template takes more than {self.bounds.steps:,} steps (loop turns, items in filters, calls)",
                "loop over fewer items, or prepare the data before the job",
                "template-bounds",
            )

    def text(self, length: int) -> None:
        """Account for a text of `length` characters; call it before the text is made where that can be known."""
        if length > self.bounds.output_bytes:
            raise too_much_text(length, self.bounds.output_bytes)
        self.chars_left -= length
        if self.chars_left < 0:
            raise Refusal(
                f"the template makes more than {self.bounds.made_chars:,} characters of text on the way",
                "build long texts once, not again in every turn of a loop",
                "template-bounds",
            )

    def items(self, count: int) -> None:
        """Account for a list of `count` items."""
        if count > self.bounds.steps:
            raise Refusal(
                f"a list of {count:,} items; a template may make {self.bounds.steps:,} at most", None, "template-bounds"
            )
        self.chars_left -= count * _CHARS_OF_AN_ITEM
        if self.chars_left < 0:
            raise Refusal("the lists that the template makes are too long", None, "template-bounds")

    def width(self, value: Any, name: str, least: int = 0) -> int:
        """A width or count that a filter was given, as a whole number within bounds."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refusal(f"`{name}` takes a whole number, not {word_for(type(value))}")
        if not least <= value <= self.bounds.width:
            raise Refusal(
                f"`{name}` takes a whole number from {least} to {self.bounds.width:,}, not {value:,}",
                code="template-bounds",
            )
        return value


def too_much_text(size: int, limit: int) -> Refusal:
    """One text, or the whole output, is larger than the bound."""
    return Refusal(
        f"a text of {size:,} bytes or more; a template may make {limit:,} at most",
        "cut long values with `| truncate` or `| truncate_tokens_approx`, or loop over fewer items",
        "template-bounds",
    )


active: ContextVar[Meter] = ContextVar("active")
"""The meter of the render that is going on in this thread or task; unset while nothing renders."""


def counted(value: Any) -> Any:
    """The same items, counted as steps: at once where the length is known, else one by one."""
    if value is None:
        raise Refusal("null cannot be looped over", "give it a default: `{% for x in row.list or [] %}`")
    meter = active.get()
    if isinstance(value, Sized):
        meter.step(len(value))
        return value
    return _stepping(meter, iter(value))


def _stepping(meter: Meter, items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        meter.step()
        yield item


def bounded_join(parts: Iterable[str]) -> str:
    """Join what a macro, block or `{% set %}…{% endset %}` has gathered; too much is refused before it is joined."""
    chunks = list(parts)
    active.get().text(sum(map(len, chunks)))
    return "".join(chunks)
