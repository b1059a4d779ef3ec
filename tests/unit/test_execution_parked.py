"""Requests that wait for the ids of their files: order, bounds, and what becomes of them."""

from __future__ import annotations

import pytest

from runner.execution.parked import Parked
from runner.execution.uploads import Ticket
from runner.ledger import OpenStep
from runner.types import Failure, PendingFile, Request, Step

A = PendingFile(b"a" * 32, "application/pdf", 14, lambda: b"the bytes of a")
B = PendingFile(b"b" * 32, "image/png", 14, lambda: b"the bytes of b")


def naming(*files: PendingFile, shared: bytes = b"") -> Request:
    body = shared + b"".join(b'{"file_id":"%b"}' % file.placeholder.encode() for file in files)
    return Request(b"", b"", body, "m", 1, None, shared_bytes=len(shared), pending=files)


def step(number: int) -> OpenStep:
    return OpenStep(Step(number), 0, 0)


def ticket(*files: PendingFile) -> Ticket:
    return Ticket(frozenset(file.sha256 for file in files))


def test_what_is_done_comes_in_order_and_the_rest_stays() -> None:
    parked = Parked(10, 10_000)
    tickets = [ticket(A) for _ in range(4)]
    for number, each in enumerate(tickets):
        parked.add(each, step(number), naming(A))
    for number in (3, 1):
        tickets[number].take(A.sha256, "file_1")
    taken = list(parked.take_done())
    assert [open_step.step.row for open_step, _ in taken] == [1, 3]
    assert list(parked.take_done()) == []
    assert not parked.is_empty
    for number in (0, 2):
        tickets[number].take(A.sha256, "file_1")
    assert [open_step.step.row for open_step, _ in parked.take_done()] == [0, 2]
    assert parked.is_empty


def test_a_request_gets_the_ids_of_all_its_files() -> None:
    parked, both = Parked(10, 10_000), ticket(A, B)
    parked.add(both, step(0), naming(A, B, A))
    both.take(A.sha256, "file_1")
    assert not parked.has_done
    both.take(B.sha256, "file_2")
    ((_, arrived),) = parked.take_done()
    assert isinstance(arrived, Request)
    assert arrived.body == b'{"file_id":"file_1"}{"file_id":"file_2"}{"file_id":"file_1"}'
    assert arrived.pending == ()


def test_one_file_that_fails_fails_the_request() -> None:
    parked, both = Parked(10, 10_000), ticket(A, B)
    parked.add(both, step(0), naming(A, B))
    failure = Failure("too_large", "it is")
    both.take(B.sha256, failure)
    both.take(A.sha256, "file_1")
    assert [arrived for _, arrived in parked.take_done()] == [failure]


def test_a_bug_is_raised() -> None:
    parked, one = Parked(10, 10_000), ticket(A)
    parked.add(one, step(0), naming(A))
    one.take(A.sha256, LookupError("a bug"))
    with pytest.raises(LookupError):
        list(parked.take_done())


def test_it_is_full_by_steps() -> None:
    parked, full = Parked(2, 10_000), []
    for number in range(2):
        parked.add(ticket(A), step(number), naming(A))
        full.append(parked.is_full)
    assert full == [False, True]


def test_what_is_taken_counts_no_more_and_no_bytes_of_files_are_held() -> None:
    parked, one = Parked(10, 50), ticket(A)
    parked.add(one, step(0), naming(A))
    full = [parked.is_full]
    assert all(not file.load() for waiting in parked._waiting for file in waiting.request.pending)
    one.take(A.sha256, "file_1")
    list(parked.take_done())
    assert [*full, parked.is_full] == [True, False]


def test_an_id_changes_only_where_an_id_stands() -> None:
    quoted = f'{{"text":"say \\"file_id\\":\\"{A.placeholder}\\" or {A.placeholder}"}}'.encode()
    request = naming(A, shared=quoted)
    made = request.with_ids({A.sha256: "file_1"})
    assert made.body == quoted + b'{"file_id":"file_1"}'
    assert made.body[: made.shared_bytes] == quoted


def test_the_shared_part_grows_and_shrinks_with_the_ids_in_it() -> None:
    head = b'{"file_id":"%b"}' % A.placeholder.encode()
    request = Request(b"", b"", head + b"rest", "m", 1, None, shared_bytes=len(head), pending=(A,))
    made = request.with_ids({A.sha256: "file_1"})
    assert made.body[: made.shared_bytes] == b'{"file_id":"file_1"}'
    assert made.body == b'{"file_id":"file_1"}rest'
