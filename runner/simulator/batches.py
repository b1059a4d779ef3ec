"""The Message Batches endpoints: create, retrieve, list, results, cancel, delete.

Owns   their rules (who sees what, and when), the MessageBatch object, and the order in a create: receive, check, take
       in durably, and only then reply. Faults of these calls are carried out here, those of a download in
       `batch_results`.
Knows  the store and the work behind it; `app` gives it authenticated exchanges.

A body goes to a file while it arrives. What nobody has specified is answered as follows: a full queue is a 429; results
of a batch that has not ended, and a cancel after the end or a delete before it, are a 400; archived results a 404.

Source: the API's batch guide and the SDK's `types/messages/message_batch*.py` (2.12.0).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web
from msgspec.structs import replace

from runner.clock import Clock, to_rfc3339
from runner.simulator.accounts import AcceptedBatch, Accounts
from runner.simulator.acts import (
    BATCH,
    BATCH_CANCEL,
    BATCH_CREATE,
    BATCH_DELETE,
    BATCH_LIST,
    BATCH_RESULTS,
    BATCH_RETRIEVE,
    Act,
)
from runner.simulator.batch_intake import Received, receive
from runner.simulator.batch_results import send_results
from runner.simulator.batch_rows import RowAnswers
from runner.simulator.batch_store import Batch, BatchStore
from runner.simulator.batch_traits import describe_tallies, is_listed, make_decoys, results_are_there, sees, traits_of
from runner.simulator.batch_work import BatchWork
from runner.simulator.exchange import Exchange, fail
from runner.simulator.faults import Fault, Faults
from runner.simulator.files import Files
from runner.simulator.options import Options
from runner.simulator.refusal import Refused

PATH = "/v1/messages/batches"

_PAGE_DEFAULT, _PAGE_MAX = 20, 1_000

_Handler = Callable[[Exchange, Batch, Fault | None], Awaitable[web.StreamResponse]]


class Batches:
    def __init__(self, options: Options, clock: Clock, accounts: Accounts, faults: Faults, files: Files) -> None:
        self._options = options
        self._clock = clock
        self._accounts = accounts
        self._faults = faults
        self._random = random.Random(f"batches {options.seed}")
        self._calls: Mapping[tuple[str, str], tuple[str, _Handler]] = {
            # (method, what follows the id) -> place of its faults, handler
            ("GET", ""): (BATCH_RETRIEVE, self._retrieve),
            ("DELETE", ""): (BATCH_DELETE, self._delete),
            ("GET", "results"): (BATCH_RESULTS, self._results),
            ("POST", "cancel"): (BATCH_CANCEL, self._cancel),
        }
        self.store = BatchStore(options.state, accounts)
        self.rows = RowAnswers(options, clock, faults, files)
        self.work = BatchWork(self.store, self.rows, clock, cancel_s=options.batch_cancel_s, seed=options.seed)

    async def handle(self, exchange: Exchange) -> web.StreamResponse:
        """Answer a call of `PATH` or below. Raises Refused."""
        method = exchange.request.method
        batch_id, _, action = exchange.path.removeprefix(PATH).lstrip("/").partition("/")
        if not batch_id and method == "POST":
            return await self._create(exchange)
        if not batch_id and method == "GET":
            return await self._faulty(BATCH_LIST, exchange, self._list)
        found = self._calls.get((method, action))
        if found is None or not batch_id:
            raise (
                Refused("Method Not Allowed", 405) if action in ("", "results", "cancel") else Refused("Not Found", 404)
            )
        place, handler = found

        async def call(exchange: Exchange, fault: Fault | None) -> web.StreamResponse:
            return await handler(exchange, self._find(exchange, batch_id), fault)

        return await self._faulty(place, exchange, call)

    def end_now(self, batch_id: str | None) -> int:
        """End batches at once, stuck ones too (all that are open, where none is named); returns how many."""
        now = self._now()
        chosen = [batch for batch in self.store.all() if batch.state != "ended" and batch_id in (None, batch.id)]
        for batch in chosen:
            self.store.update(replace(batch, end_now_at=now))
        self.work.wake()
        return len(chosen)

    def describe_all(self) -> list[dict[str, Any]]:
        """Every accepted batch: its entry in the books, and how it stands."""
        described = []
        for entry in self._accounts.accepted_batches():
            batch = self.store.get(entry["id"])
            shown = {} if batch is None else {"deleted": batch.is_deleted, "batch": self._describe(batch, "")}
            described.append({**entry, **shown})
        return described

    def forget(self) -> None:
        self.store.clear()
        self.rows.cache.clear()
        self.work.wake()

    # --- calls

    async def _faulty(
        self,
        place: str,
        exchange: Exchange,
        call: Callable[[Exchange, Fault | None], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        await exchange.request.read()
        fault = self._faults.choose(place, exchange.path.encode())
        if fault is not None and fault.act.before_acceptance:
            return await fail(exchange, fault)
        return await call(exchange, fault)

    async def _create(self, exchange: Exchange) -> web.StreamResponse:
        with self.work.stepped_back():
            received = await receive(exchange, self.store.incoming_file(), self._faults)
        try:
            body = received.sha256.encode()
            fault = self._faults.choose(BATCH_CREATE, body, received.contains)
            if fault is not None and fault.act.before_acceptance:
                return await fail(exchange, fault)
            batch = self._accept(exchange, received, fault)
        finally:
            received.file.unlink(missing_ok=True)
        described = orjson.dumps(self._describe(batch, exchange.request.host))
        try:
            return await exchange.deliver(described, fault)
        finally:
            self.work.wake()

    def _accept(self, exchange: Exchange, received: Received, fault: Fault | None) -> Batch:
        limit = self._options.batch_queue
        if self.store.queued() + received.count > limit:
            raise Refused(
                f"This request would exceed your organization's limit of {limit:,} queued batch requests.", 429
            )
        now = self._now()
        faults = self._faults.choose_all(BATCH, received.sha256.encode(), received.contains)
        slow_s = sum(fault.rule.seconds for fault in faults if fault.act is Act.SLOW)
        batch = Batch(
            number=self.store.next_number(),
            id=self.store.new_id(),
            workspace=exchange.workspace,
            version=exchange.version,
            betas=exchange.betas,
            created_at=now,
            latency_s=self._options.batch_latency.draw(self._random.gauss(0, 1)) + slow_s,
            total=received.count,
            traits=traits_of(faults),
        )
        accepted = AcceptedBatch(
            id=batch.id,
            at=to_rfc3339(self._clock.now()),
            workspace=batch.workspace,
            requests=batch.total,
            body_sha256=received.sha256,
            custom_ids_sha256=received.ids_sha256,
            first_custom_id=received.first_id,
            fault=None if fault is None else fault.kind,
        )
        self.store.create(batch, received.file, received.shapes, accepted)
        if batch.traits.get("decoys"):
            make_decoys(self.store, batch, (batch.total, batch.total + 1))
        return batch

    async def _retrieve(self, exchange: Exchange, batch: Batch, fault: Fault | None) -> web.StreamResponse:
        return await exchange.deliver(orjson.dumps(self._describe(batch, exchange.request.host)), fault)

    async def _results(self, exchange: Exchange, batch: Batch, fault: Fault | None) -> web.StreamResponse:
        if batch.state != "ended" or batch.ended_at is None:
            raise Refused(f"Batch {batch.id} has no available results; its status is {batch.state}")
        if self._now() >= batch.archived_at or not results_are_there(batch, self._now()):
            raise Refused(f"The results of batch {batch.id} are not available", 404)
        response = await send_results(exchange, self.store.results_file(batch.id), batch, fault)
        if fault is None:
            self._accounts.batch_delivered(batch.id)
        return response

    async def _cancel(self, exchange: Exchange, batch: Batch, fault: Fault | None) -> web.StreamResponse:
        if batch.state == "ended":
            raise Refused(f"Batch {batch.id} cannot be canceled because it has already ended")
        if batch.state == "in_progress":
            batch = self.store.update(replace(batch, state="canceling", cancel_at=self._now()))
            self.work.wake()
        return await exchange.deliver(orjson.dumps(self._describe(batch, exchange.request.host)), fault)

    async def _delete(self, exchange: Exchange, batch: Batch, fault: Fault | None) -> web.StreamResponse:
        if batch.state != "ended":
            raise Refused(f"Batch {batch.id} cannot be deleted while it is {batch.state}; cancel it first")
        self.store.delete(batch)
        return await exchange.deliver(orjson.dumps({"id": batch.id, "type": "message_batch_deleted"}), fault)

    async def _list(self, exchange: Exchange, fault: Fault | None) -> web.StreamResponse:
        query = exchange.request.query
        limit = query.get("limit", str(_PAGE_DEFAULT))
        if not limit.isdigit() or not 1 <= int(limit) <= _PAGE_MAX:
            raise Refused(f"limit: Input should be between 1 and {_PAGE_MAX}")
        now = self._now()
        mine = [batch for batch in self.store.all() if batch.workspace == exchange.workspace and not batch.is_deleted]
        shown = [batch for batch in reversed(mine) if is_listed(batch, now)]
        loops = fault is not None and fault.act is Act.PAGER_LOOPS
        after, before = (None, None) if loops else (query.get("after_id"), query.get("before_id"))
        page, more = _page(shown, int(limit), after, before)
        described = [self._describe(batch, exchange.request.host) for batch in page]
        answer = {
            "data": described,
            "has_more": more or (loops and bool(page)),
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
        }
        return await exchange.deliver(orjson.dumps(answer), fault)

    # --- what they share

    def _find(self, exchange: Exchange, batch_id: str) -> Batch:
        batch = self.store.get(batch_id)
        if batch is None or batch.is_deleted or batch.workspace != exchange.workspace or not sees(batch, self._now()):
            raise Refused(f"No message batch with id {batch_id}", 404)
        return batch

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _describe(self, batch: Batch, host: str) -> dict[str, Any]:
        """The MessageBatch object."""
        archived = self._now() >= batch.archived_at
        ended = batch.state == "ended"
        url = f"http://{host}{PATH}/{batch.id}/results" if host and ended and not archived else None
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": batch.state,
            "request_counts": describe_tallies(batch),
            "created_at": _moment(batch.created_at),
            "expires_at": _moment(batch.expires_at),
            "ended_at": _moment(batch.ended_at),
            "cancel_initiated_at": _moment(batch.cancel_at),
            "archived_at": _moment(batch.archived_at) if archived else None,
            "results_url": url,
        }


def _page(shown: list[Batch], limit: int, after: str | None, before: str | None) -> tuple[list[Batch], bool]:
    """One page, and whether there are more in the direction of the paging."""
    ids = [batch.id for batch in shown]
    if before is not None:
        end = _position(ids, before, "before_id")
        return shown[max(0, end - limit) : end], end > limit
    start = _position(ids, after, "after_id") + 1 if after is not None else 0
    return shown[start : start + limit], start + limit < len(shown)


def _position(ids: list[str], wanted: str, name: str) -> int:
    if wanted not in ids:
        raise Refused(f"{name}: {wanted} is not a message batch")
    return ids.index(wanted)


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else to_rfc3339(datetime.fromtimestamp(seconds, UTC))
