"""What people read of rows that failed: why, in a summary, and one by one in `runner show RUN --failed`.

Owns   the words for it, what there is to do about it, and what `show --failed --format json` tells of a row.
Knows  summaries and rows as values. Rows are told as they come: there may be millions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from runner import execution
from runner.cli.terminal import plain_text, ranked
from runner.encoding import encode_text, printable
from runner.ledger import FailedRow

_PAGE = 500
_MEASURED = 100
"""The first rows of a list, by which its columns are made wide enough."""
_WIDEST = 60
"""Characters; a key may be a whole path."""
_HEAD = ("key", "kind", "attempts", "message")


def why_failed(summary: execution.Summary) -> list[tuple[str, str]]:
    """Labels and texts for a summary: how many rows failed, and an example of each of the commonest kinds."""
    counts, reasons = summary.counts, summary.reasons
    if not counts.failed:
        return []
    examples = [f"{one.kind}, such as row {one.key}: {one.message}" for one in reasons if one.key is not None]
    return [("failed", ranked(counts.failures, len(reasons) or None)), *(("", example) for example in examples)]


def what_next(summary: execution.Summary) -> list[str]:
    """What to do about rows that ended without success."""
    counts, run_id = summary.counts, summary.run_id
    words = [word for word in ("failed", "expired") if getattr(counts, word)]
    if not words:
        return []
    rows = f"the {' and '.join(words)} rows"
    may_retry = summary.resume is None and summary.status != "running"
    advice: dict[str, list[str]] = {}
    for reason in summary.reasons:
        if reason.hint is not None:
            advice.setdefault(reason.hint, []).append(reason.kind)
    return [
        f"runner show {run_id} --failed lists {rows}",
        *([f"runner retry {run_id} sends them again"] if may_retry else []),
        *(f"{', '.join(kinds)}: {hint}" for hint, kinds in advice.items()),
    ]


def none_failed(summary: execution.Summary, *, chosen: bool) -> str:
    """What a list without rows says; `chosen` where kinds were named, which may be mistyped."""
    counts = summary.counts
    others = {word: number for word in ("expired", "canceled") if (number := getattr(counts, word))}
    there_are = {**counts.failures, **others}
    if chosen and there_are:
        return f"run {summary.run_id} has no such failed rows, but {ranked(there_are, len(there_are))}"
    return f"run {summary.run_id} has no failed rows"


def failed_lines(rows: Iterable[FailedRow]) -> Iterator[str]:
    """One line a row, in columns; the first is their names, where there is any row."""
    told = map(_cells, rows)
    first = list(islice(told, _MEASURED))
    if not first:
        return
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(_HEAD, *first, strict=True)]
    for key, kind, attempts, message in chain([_HEAD], first, told):
        line = f"{key:<{widths[0]}}  {kind:<{widths[1]}}  {attempts:>{widths[2]}}  {message}"
        yield line.rstrip()


def _cells(row: FailedRow) -> tuple[str, str, str, str]:
    """The kind is one that `--kind` takes: of what is not failed its status, whatever its last attempt came to."""
    failure = row.failure
    kind = failure.kind if failure is not None and row.status == "failed" else row.status
    message = failure.message if failure is not None else ""
    return plain_text(row.key), plain_text(kind), f"{row.attempts:,}", plain_text(message)


def failed_as_json(rows: Iterable[FailedRow]) -> Iterator[str]:
    """One object a row, with the fields of its record that say what became of it."""
    for row in rows:
        told = {
            "key": row.key,
            "index": row.index,
            "status": row.status,
            "error": None if row.failure is None else row.failure.to_dict(),
            "attempts": row.attempts,
        }
        yield printable(encode_text(told))


def paged(lines: Iterator[str]) -> Iterator[str]:
    """Lines, some hundreds at a time: each write of them takes a moment."""
    while page := list(islice(lines, _PAGE)):
        yield "\n".join(page)
