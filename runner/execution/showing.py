"""Looking at runs: a summary of any, its failed rows, one row with all that happened to it, a trial's conversations.

Owns   reading for people. Ledgers are opened read-only, so a run can be looked at while it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from runner.catalog.prices import Prices
from runner.clock import Clock, SystemClock, to_rfc3339
from runner.encoding import encode
from runner.errors import UsageError
from runner.execution.asking import asking_of
from runner.execution.composing import Composer
from runner.execution.folders import RunInfo, StateFolder
from runner.execution.judging import make_judge
from runner.execution.pricing import stored_prices
from runner.execution.records import record_maker, to_usd
from runner.execution.reply_checks import check_of
from runner.execution.standing import open_batches, soon_lost
from runner.execution.summary import Summary, summarise
from runner.ledger import Delivery, FailedRow, RowResult
from runner.ledger.folder import is_owned
from runner.ledger.journal import records_given
from runner.ledger.sqlite import SqliteLedger
from runner.message import parse_reply
from runner.planning.compile import compile_job
from runner.rounds import step_words
from runner.settings import Settings
from runner.tools import calls_of
from runner.types import Attempt, Failure, Record, Request, Step
from runner.values import json_form


class ShownResult(Struct, frozen=True):
    """What a function was called with, and what the model was told; `asked` says in which reply."""

    asked: str
    name: str
    input: Any
    content: str
    is_error: bool

    def line(self) -> str:
        """For people."""
        said = _shortened(self.content)
        return f"{self.name}({encode(self.input).decode()}) {'failed' if self.is_error else 'gave'} {said}"


class ShownRow(Struct, frozen=True):
    """One row: what was sent, what came back, each attempt, and what functions were called."""

    record: Record
    request: Request | Failure
    attempts: Sequence[Attempt]
    tool_results: Sequence[ShownResult] = ()
    twin_of: str | None = None
    """The key of the row whose request is this one's too, and whose attempts these are."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "record": json_form(self.record.to_dict()),
            "request": None if isinstance(self.request, Failure) else _body(self.request),
            "attempts": [_attempt(attempt) for attempt in self.attempts],
            "tool_results": [asdict(result) for result in self.tool_results],
            "twin_of": self.twin_of,
        }

    @property
    def system(self) -> str:
        """The system prompt, for people; empty where there is none."""
        return "" if isinstance(self.request, Failure) else _system(_body(self.request))

    def text(self, *, with_system: bool = True) -> str:
        """For people: the prompt, the reply's text, and where there were several attempts a line for each."""
        record = self.record
        cost = _cost(record) if self.twin_of is None else f" · the same request as {self.twin_of}"
        parts = [f"== {record.key} · {record.status}{cost}"]
        if with_system and self.system:
            parts.append(self.system)
        if not isinstance(self.request, Failure):
            parts.append(_messages(_body(self.request)))
        if self.tool_results:
            parts += ["-- tools", *(result.line() for result in self.tool_results)]
        reply = record.text if record.text is not None else record.output
        parts.append(f"-- reply ({record.stop_reason})\n{reply}" if reply is not None else "-- no reply")
        if record.error is not None:
            parts.append(f"-- error\n{record.error['kind']}: {record.error['message']}")
        if len(self.attempts) > 1 or any(attempt.mode == "batch" for attempt in self.attempts):
            parts += ["-- attempts", *(_attempt_line(attempt) for attempt in self.attempts)]
        return "\n".join(parts) + "\n"


def read_summary(info: RunInfo, clock: Clock | None = None, *, with_reasons: bool = True) -> Summary:
    """How a run stands now; also while another process is at it. Warns of results that will soon be gone.
    `with_reasons` as in `summarise`."""
    owned = is_owned(info.folder)
    now = (clock or SystemClock()).now()
    with SqliteLedger.open(info.folder, read_only=True) as ledger:
        warnings = list(soon_lost(info.run_id, open_batches(ledger), now))
        summary = summarise(ledger, warnings=warnings, prices=_prices_of(info), with_reasons=with_reasons)
    summary = replace(summary, sinks=[_as_far(sink, info.folder) for sink in summary.sinks])
    if not owned or summary.status in ("finished", "canceled"):  # those are only exported
        return summary
    return replace(summary, status="running", stopped_by=None, resume=None)


def _as_far(sink: Delivery, run: Path) -> Delivery:
    """How far a sink is that is given records now: its journal knows, and the ledger only in the end."""
    if sink.state != "pending":
        return sink
    given = records_given(run, sink.sink)
    return sink if given is None else replace(sink, records=given)


def _prices_of(info: RunInfo) -> Prices | None:
    """The prices that the run has stored; a run that was never begun has none."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return stored_prices(info.folder)
    return None


def read_failed(info: RunInfo, kinds: Sequence[str] = ()) -> Iterator[FailedRow]:
    """The rows of a run that ended without success, in the dataset's order; bounded memory. `kinds` as in
    `Ledger.failed_rows`."""
    with SqliteLedger.open(info.folder, read_only=True) as ledger:
        yield from ledger.failed_rows(kinds)


def read_row(info: RunInfo, settings: Settings, key: str) -> ShownRow:
    """One row of a run. Raises UsageError where no row has the key."""
    ledger = SqliteLedger.open(info.folder, read_only=True)
    try:
        index = ledger.find(key)
        if index is None:
            raise UsageError(f"run {info.run_id} has no row with the key {key!r}", code="unknown-key")
        return _Shower(info, settings, ledger).row(index)
    finally:
        ledger.close()


def conversations(state: StateFolder, settings: Settings, run_id: str) -> Iterator[str]:
    """Prompt, reply and cost of each row of a (small) run; a system prompt that rows share stands with the first."""
    info = state.find(run_id)
    ledger = SqliteLedger.open(info.folder, read_only=True)
    try:
        shower = _Shower(info, settings, ledger)
        told = ""
        for index in range(ledger.counts().total):
            row = shower.row(index)
            yield row.text(with_system=row.system != told)
            told = row.system or told
    finally:
        ledger.close()


class _Shower:
    def __init__(self, info: RunInfo, settings: Settings, ledger: SqliteLedger) -> None:
        loaded = info.stored_job(settings, sends=False)
        self._ledger = ledger
        self._records = record_maker(info, loaded)
        self._calls = loaded.job.calls_functions
        judge = make_judge(check_of(loaded), asking_of(loaded), len(loaded.job.turns), row_of=ledger.row)
        self._compiled = compile_job(loaded, mode=info.meta["mode"])
        self._composer = Composer(self._compiled, judge)

    def row(self, index: int) -> ShownRow:
        result = self._ledger.result(index)
        record = self._records.record_of(result, self._ledger)
        tool_results = self._tool_results(index) if self._calls else ()
        first = self._ledger.first_of(index)
        twin_of = None if first == index else self._ledger.row(first).key
        return ShownRow(record, self._request(result), self._ledger.attempts(index), tool_results, twin_of)

    def _request(self, result: RowResult) -> Request | Failure:
        """What the row's deciding step says, with all that was said before it."""
        step = result.step if result.step is not None else Step(result.row.index)
        request = self._composer.request(self._ledger, step, result.row)
        # A step that waits for functions has no request yet, and replies that are judged otherwise by now lead to none.
        return request if isinstance(request, Request) else self._compiled.request(result.row)

    def _tool_results(self, index: int) -> list[ShownResult]:
        shown = []
        for answered in self._ledger.replies(index):
            results = self._ledger.tool_results(answered.step)
            for call in calls_of(parse_reply(answered.body).content) if results else ():
                result = results.get(call.id)
                if result is not None:
                    asked = step_words(answered.step) or "first request"
                    shown.append(ShownResult(asked, call.name, call.input, result.content, result.is_error))
        return shown


_SHOWN_CHARACTERS = 200
"""Of a result, for people; `--format json` has all of it."""


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.body)
    return body


def _system(body: dict[str, Any]) -> str:
    return "\n".join(f"-- system\n{block['text']}" for block in body.get("system", ()))


def _messages(body: dict[str, Any]) -> str:
    return "\n".join(
        f"-- {message['role']}\n" + "\n".join(_block(block) for block in message["content"])
        for message in body["messages"]
    )


def _block(block: dict[str, Any]) -> str:
    """A block for people: its text, or what it is."""
    if block["type"] == "text":
        return str(block["text"])
    if block["type"] == "search_result":
        passages = "\n".join(str(passage["text"]) for passage in block["content"])
        return f"[search result: {block['title']}, {block['source']}]\n{passages}"
    title = f" {block['title']!r}" if block.get("title") else ""
    return f"[{block['type']}{title}: {_source(block.get('source') or {})}]"


def _source(source: dict[str, Any]) -> str:
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return f"{kind}, {len(data) * 3 // 4:,} bytes"
        case {"type": "text", "data": str(text)}:
            return f"text, {len(text.encode()):,} bytes"
        case {"url": str(where)} | {"file_id": str(where)}:
            return where
    return "…"


def _cost(record: Record) -> str:
    if record.reused:
        return " · paid for before"
    return "" if record.cost_usd is None else f" · ${record.cost_usd:.6f}"


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "step": step_words(attempt.step) or "first request",
        "number": attempt.number,
        "end": attempt.end,
        "mode": attempt.mode,
        "started_at": to_rfc3339(attempt.started_at),
        "ended_at": to_rfc3339(attempt.ended_at) if attempt.ended_at else None,
        "error": attempt.failure.to_dict() if attempt.failure else None,
        "usage": attempt.usage.to_dict(),
        "cost_usd": to_usd(attempt.cost_pico),
        "request_id": attempt.request_id,
        "batch_id": attempt.batch_id,
        "reused": attempt.reused,
    }


def _attempt_line(attempt: Attempt) -> str:
    why = f": {attempt.failure.kind}: {attempt.failure.message}" if attempt.failure else ""
    end = attempt.end or "under way"
    nameless = attempt.end is None and attempt.mode == "batch" and attempt.batch_id is None
    batch = "in a batch whose id is not known" if nameless else attempt.batch_id
    ids = ", ".join(name for name in (batch, attempt.request_id) if name)
    what = f"{words}: " if (words := step_words(attempt.step)) else ""
    return f"{what}{attempt.number}. {to_rfc3339(attempt.started_at)} {end}{why}{f' ({ids})' if ids else ''}"
