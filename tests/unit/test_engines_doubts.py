"""When looking for batches in doubt goes on, and when it is pointless."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from runner.engines.doubts import LOOKS, Doubts
from runner.engines.pauses import Pauses
from runner.engines.reconcile import Look, Reconciler
from runner.ledger import Batch
from runner.providers import RemoteBatch
from runner.types import Failure
from support.engine_fakes import EPOCH, VirtualClock, run_virtual

DOWN = Failure("connection_error", "no route", retryable=True)
NO_LIST = Failure("not_found_error", "no list here", http_status=404)
NO_KEY = Failure("authentication_error", "no", http_status=401, scope="job")


class Looks(Reconciler):
    """Looks that a test wrote down; the last one repeats."""

    def __init__(self, *looks: Look) -> None:
        self.looks = list(looks)
        self.times: list[float] = []

    async def look(self, doubtful: Sequence[Batch]) -> Look:
        assert doubtful, "a look for nothing"
        self.times.append(asyncio.get_running_loop().time())
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def batch(number: int = 1) -> Batch:
    return Batch(number, "in_doubt", None, 1_200, b"", None, 1_500_000_000_000, EPOCH, None)


class Bench:
    def __init__(self, *looks: Look) -> None:
        self.looks = Looks(*looks)
        self.adopted: list[int] = []
        self.refusals: list[Failure] = []

    async def watched(self, seconds: float) -> Doubts:
        """Doubts over one batch, watched for some time."""

        async def adopt(batch: Batch, _remote: RemoteBatch) -> None:
            assert len(doubts) == 1, "it is in doubt until it is followed"
            self.adopted.append(batch.number)

        stopped = asyncio.Event()
        pauses = Pauses(VirtualClock(), stopped, 2.0, 300.0)
        doubts = Doubts(self.looks, pauses, adopt=adopt, refused=self.refusals.append, changed=lambda: None)
        assert doubts.has_looked
        watch = asyncio.create_task(doubts.watch())
        doubts.add(batch())
        await asyncio.sleep(seconds)
        if doubts:
            stopped.set()
            await watch
        watch.cancel()
        return doubts


def test_looks_come_at_growing_intervals() -> None:
    bench = Bench(Look(held=1))
    doubts = run_virtual(bench.watched(2_000))
    gaps = [after - before for before, after in zip(bench.looks.times, bench.looks.times[1:], strict=False)]
    assert gaps == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]
    assert not doubts.is_hopeless, "a candidate is waited for"


def test_a_few_empty_looks_are_enough_where_nothing_else_is_to_do() -> None:
    bench = Bench(Look())
    assert run_virtual(bench.watched(7)).is_hopeless
    assert len(bench.looks.times) == LOOKS
    assert not run_virtual(Bench(Look()).watched(3)).is_hopeless


def test_an_api_that_cannot_be_reached_says_nothing() -> None:
    assert not run_virtual(Bench(Look(failure=DOWN)).watched(3_000)).is_hopeless


def test_a_list_that_is_refused_counts_as_empty() -> None:
    assert run_virtual(Bench(Look(failure=NO_LIST)).watched(100)).is_hopeless


def test_a_refused_key_stops_the_run() -> None:
    bench = Bench(Look(failure=NO_KEY))
    run_virtual(bench.watched(1))
    assert bench.refusals == [NO_KEY]


def test_what_is_proven_is_adopted_and_no_longer_in_doubt() -> None:
    remote = RemoteBatch("msgbatch_1", "ended", {"succeeded": 1_200}, EPOCH, EPOCH)
    bench = Bench(Look(), Look({1: remote}))
    doubts = run_virtual(bench.watched(10))
    assert (bench.adopted, len(doubts), doubts.is_hopeless) == ([1], 0, False)


def test_the_user_is_told_rows_money_and_time() -> None:
    reason = run_virtual(Bench(Look()).watched(10)).reason()
    assert reason.kind == "in_doubt"
    assert "batch 1 with 1,200 rows, at most $1.5000, since 2026-01-01 00:00:00 UTC" in reason.message
    assert reason.hint is not None
    assert "--resend" in reason.hint


def test_a_list_that_cannot_be_read_is_no_look_and_keeps_what_was_held() -> None:
    doubts = run_virtual(Bench(Look(failure=DOWN)).watched(100))
    assert not doubts.has_looked
    doubts = run_virtual(Bench(Look(held=1), Look(failure=DOWN)).watched(100))
    assert (doubts.has_looked, doubts.held) == (True, 1)
    doubts = run_virtual(Bench(Look(held=1, failure=DOWN)).watched(100))
    assert doubts.has_looked, "the list was read, though one candidate's results were not"
