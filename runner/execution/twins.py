"""Rows that come to the same request are asked once (`dataset.distinct`): which these are, found before anything is
sent.

Owns   what makes two rows the same: the identity of their first request, and the columns on which it depends what is
       said after it (`turns`) and what a reply is worth (`output.rules`).
Knows  a compiled job and a ledger, whose twins they become. Files that rows name are read as they are now.

Every row is rendered once for it, before those that are asked are rendered to be sent: which costs time, and no memory.
That decides who is asked once and for all, whatever happens to the run: a retry, a batch, a kill.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from runner.errors import LedgerError, Problem
from runner.events import Observer, Preparing
from runner.ledger import Ledger
from runner.planning.compile import compile_job
from runner.planning.requests import CompiledJob
from runner.spec.load import LoadedJob
from runner.spec.reply import Rule
from runner.templating import Expression
from runner.types import Failure, Row

_NOTE = "twins"
"""In a run's meta: the columns in which its twins are the same beside their requests."""
_DIGEST_BYTES = 16
"""As of a row's key: two of 10 million rows are taken for the same by chance once in 10**24 runs."""


_TOLD_EVERY = 100
"""Rows after which it is told how far the pass is: a millisecond of rows with short prompts."""


def note_twins(loaded: LoadedJob, ledger: Ledger, observer: Observer | None = None) -> int:
    """Let rows of the same request be asked once, where the job says so; returns how many are not asked themselves.
    `observer` is told how far that is."""
    columns = columns_beside(loaded) if loaded.job.dataset.distinct else None
    if columns is None:
        return 0
    compiled = compile_job(loaded, mode="parallel")  # the identity of a request is the same in both
    ordered = sorted(columns)
    rows = ledger.rows() if observer is None else _told(ledger.rows(), loaded.job.name, ledger.counts().total, observer)
    twins = ledger.note_twins(_digest(compiled, row, ordered) for row in rows)
    ledger.set_meta({_NOTE: ordered})
    return twins


def _told(rows: Iterator[Row], job: str, total: int, observer: Observer) -> Iterator[Row]:
    for number, row in enumerate(rows):
        if number % _TOLD_EVERY == 0:
            observer.notify(Preparing(job, "looking for rows that ask the same", number, total))
        yield row
    observer.notify(Preparing(job, "looking for rows that ask the same", total, total))


def columns_beside(loaded: LoadedJob) -> frozenset[str] | None:
    """The columns in which two rows of the same request have to be the same too; None where these may be any."""
    found = [_columns_of(Expression(rule.rule, "output.rules")) for rule in _rules(loaded) if rule.severity == "error"]
    found += [loaded.templates.template(turn.name).items("row") for turn in loaded.job.turns if turn.file is None]
    columns: frozenset[str] = frozenset()
    for some in found:
        if some is None:
            return None
        columns |= some
    return columns


def _rules(loaded: LoadedJob) -> Sequence[Rule]:
    return loaded.job.output.rules if loaded.job.output is not None else ()


def _columns_of(rule: Expression) -> frozenset[str] | None:
    """The columns that a rule may look at. The key is another for each row."""
    return None if "key" in rule.names() else rule.items("row")


def _digest(compiled: CompiledJob, row: Row, columns: Sequence[str]) -> bytes | None:
    """What rows that are the same have in common; None for a row that cannot be sent, which is like no other."""
    request = compiled.request(row)
    if isinstance(request, Failure):
        return None
    if not columns:
        return request.hash[:_DIGEST_BYTES]
    # A column that is not there differs from null. Digests are compared in this process only, so how values are shown
    # will do.
    beside = repr([(row.values[column],) if column in row.values else () for column in columns])
    return hashlib.blake2b(request.hash + beside.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()


def advice_on_twins(loaded: LoadedJob) -> Iterator[Problem]:
    """What is worth saying before a run: a `distinct` that can find no two rows alike."""
    if loaded.job.dataset.distinct and columns_beside(loaded) is None:
        message = (
            "`turns` or `output.rules` may look at any column of a row, or at its key: no two rows are the same then"
        )
        hint = "name the columns there, as in `row.text`, or drop `distinct`"
        yield Problem("no-effect", message, loaded.locate(("dataset", "distinct"), key=True), hint, "warning")


def require_same_for_twins(ledger: Ledger, loaded: LoadedJob) -> None:
    """Raise LedgerError where twins of a run may differ in what the rules of another job look at."""
    if not ledger.counts().twins:
        return
    noted, columns = frozenset(ledger.meta[_NOTE]), columns_beside(loaded)
    if columns is not None and columns <= noted:
        return
    named = ", ".join(f"`row.{name}`" for name in sorted((columns or frozenset()) - noted))
    raise LedgerError(
        f"the rules look at {named or 'the whole row, or its key'}, in which rows of this run that share one reply "
        "(`distinct`) may differ",
        code="twins-differ",
        hint="run the job with `--new`: equal requests keep their answers, and each row is judged by its own",
    )
