"""Why rows of a run failed, in few words: the commonest kinds, each with how many, an example and what may help.

Owns   choosing and shortening what a summary says of it, and the advice by kind.
Knows  the ledger's contract. A run without failures is asked nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from runner.ledger import Counts, FailedRow, Ledger

MOST_REASONS: Final = 5
_MOST_CHARACTERS: Final = 200
"""Of an example's message, which an API or a template may make long; the record has all of it."""

_MEND = "mend what its message names, in the job or in the data, then run the job again"
_ADVICE: Final[Mapping[str, str]] = {
    "truncated": "raise `params.max_tokens`, or name larger limits in `output.on_truncation`, then run the job again",
    "refusal": "`output.on_refusal` can ask another model, or keep what there is",
    "schema_mismatch": "a higher `output.repair` tells the model more often what is wrong; where it is `output` that is"
    " wrong, change that and `runner revalidate`",
    "render_error": _MEND,
    "input_error": _MEND,
    "too_large": _MEND,
    "invalid_request_error": _MEND,
}
"""What changes the outcome of rows that a mere retry would hardly change. Other kinds may pass by themselves."""


class FailureReason(Struct, frozen=True):
    """One kind of failure: how many rows failed with it, and the first of them. `key` and `message` are None where the
    row has been opened again since it was counted."""

    kind: str
    rows: int
    key: str | None = None
    message: str | None = None
    hint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        example = None if self.key is None else {"key": self.key, "message": self.message}
        return {"kind": self.kind, "rows": self.rows, "example": example, "hint": self.hint}


def reasons_of(ledger: Ledger, counts: Counts) -> Sequence[FailureReason]:
    """The commonest kinds of failure of a run, most frequent first; at most `MOST_REASONS`."""
    order = sorted(counts.failures.items(), key=lambda item: (-item[1], item[0]))[:MOST_REASONS]
    if not order:
        return ()
    examples = ledger.first_failed([kind for kind, _ in order])
    return [_reason(kind, rows, examples.get(kind)) for kind, rows in order]


def _reason(kind: str, rows: int, example: FailedRow | None) -> FailureReason:
    hint = _ADVICE.get(kind)
    if example is None or example.failure is None:
        return FailureReason(kind, rows, hint=hint)
    # Messages for records name the row, which stands beside this one.
    message = example.failure.message.removesuffix(f"; row {example.key!r}")
    return FailureReason(kind, rows, example.key, _shortened(message), hint)


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
