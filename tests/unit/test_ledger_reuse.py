from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import pytest

from runner.ledger import Ruling
from runner.ledger.reuse import ReplyIndex
from runner.ledger.sqlite import SqliteLedger
from runner.types import Failure, Outcome, Step, Usage
from support.ledger_batches import EXPIRED, Line, answered, collect, ended_batch
from support.ledger_versions import turn_to_version
from support.ledgers import accept, answer, failed, lease_all, message, new_ledger

SCOPE = "ab" * 32


def hash_of(row: int) -> bytes:
    return bytes([row]) * 32


def make_run(runs: Path, name: str, *, rows: int = 3, text: str = "yes", scope: str = SCOPE) -> None:
    """Row 0 succeeded, row 1 failed, row 2 has a reply that was judged no answer, the others are open."""
    mismatch = Ruling("failed", Failure("schema_mismatch", "no"))
    with new_ledger(runs / name, rows, scope=scope) as ledger:
        lease_all(ledger, [Step(0), Step(1), Step(2)])
        ledger.record([answer(Step(0), text=text), failed(Step(1))], accept)
        ledger.record([answer(Step(2))], lambda _: mismatch)


def broken(outcome: Outcome) -> Ruling:
    raise ZeroDivisionError


@pytest.fixture
def index(tmp_path: Path) -> ReplyIndex:
    return ReplyIndex(tmp_path / "replies.db")


def test_a_reply_of_another_run_is_found(tmp_path: Path, index: ReplyIndex) -> None:
    make_run(tmp_path / "runs", "a")
    assert index.find(SCOPE, hash_of(0)) is None
    index.catch_up(tmp_path / "runs")
    found = index.find(SCOPE, hash_of(0))
    assert found is not None
    assert (found.run, found.body, found.request_id) == ("a", message("yes"), "req_0")
    assert found.reply.stop_reason == "end_turn"
    index.close()


def test_failures_and_refused_replies_are_never_found(tmp_path: Path, index: ReplyIndex) -> None:
    make_run(tmp_path / "runs", "a")
    index.catch_up(tmp_path / "runs")
    assert [index.find(SCOPE, hash_of(row)) for row in (1, 2, 9)] == [None, None, None]
    index.close()


def test_a_reply_that_was_no_answer_is_not_found_after_its_row_got_one(tmp_path: Path, index: ReplyIndex) -> None:
    """A repaired row has two replies: the first, to the request as others ask it, was judged invalid."""
    mismatch = Ruling("open", Failure("schema_mismatch", "no"), next_step=Step(0, round=1))
    with new_ledger(tmp_path / "runs/a", 1, scope=SCOPE) as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([answer(Step(0))], lambda _: mismatch)
        lease_all(ledger, [Step(0, round=1)])
        ledger.record([answer(Step(0, round=1), request_hash=hash_of(7))], accept)
    index.catch_up(tmp_path / "runs")
    assert index.find(SCOPE, hash_of(0)) is None
    assert index.find(SCOPE, hash_of(7)) is not None
    index.close()


def test_scopes_do_not_mix(tmp_path: Path, index: ReplyIndex) -> None:
    make_run(tmp_path / "runs", "a", scope="cd" * 32)
    index.catch_up(tmp_path / "runs")
    assert index.find(SCOPE, hash_of(0)) is None
    assert index.find("cd" * 32, hash_of(0)) is not None
    index.close()


def test_the_newest_run_answers_and_an_older_one_when_it_is_gone(tmp_path: Path, index: ReplyIndex) -> None:
    make_run(tmp_path / "runs", "a", text="old")
    make_run(tmp_path / "runs", "b", text="new")
    index.catch_up(tmp_path / "runs")
    found = index.find(SCOPE, hash_of(0))
    assert found is not None
    assert found.run == "b"
    index.close()
    shutil.rmtree(tmp_path / "runs/b")
    with ReplyIndex(tmp_path / "replies.db") as again:
        for _ in range(2):
            found = again.find(SCOPE, hash_of(0))
            assert found is not None
            assert found.run == "a"
            again.catch_up(tmp_path / "runs")
        shutil.rmtree(tmp_path / "runs/a")
    with ReplyIndex(tmp_path / "replies.db") as again:
        assert again.find(SCOPE, hash_of(0)) is None


def test_a_run_that_asks_is_passed_over_and_the_older_one_answers(tmp_path: Path, index: ReplyIndex) -> None:
    """Of two equal rows one was answered from another run before a crash: the second must find that run as well."""
    make_run(tmp_path / "runs", "a")
    make_run(tmp_path / "runs", "b")
    index.catch_up(tmp_path / "runs")
    found = index.find(SCOPE, hash_of(0), but_not="b")
    assert found is not None
    assert found.run == "a"
    shutil.rmtree(tmp_path / "runs/a")
    index.catch_up(tmp_path / "runs")
    assert index.find(SCOPE, hash_of(0), but_not="b") is None
    index.close()


def test_what_a_run_gets_later_is_taken_up_later(tmp_path: Path, index: ReplyIndex) -> None:
    with new_ledger(tmp_path / "runs/a", 3, scope=SCOPE) as ledger:
        index.catch_up(tmp_path / "runs")
        for row in (0, 1, 2):
            lease_all(ledger, [Step(row)])
            ledger.record([answer(Step(row))], accept)
            assert index.find(SCOPE, hash_of(row)) is None
            index.catch_up(tmp_path / "runs")
            assert index.find(SCOPE, hash_of(row)) is not None
    index.close()


def test_a_reply_that_is_decided_after_a_crash_is_taken_up(tmp_path: Path, index: ReplyIndex) -> None:
    with new_ledger(tmp_path / "runs/a", 1, scope=SCOPE) as ledger:
        lease_all(ledger, [Step(0)])
        with pytest.raises(ZeroDivisionError):
            ledger.record([answer(Step(0))], broken)
    with SqliteLedger.open(tmp_path / "runs/a") as ledger:
        index.catch_up(tmp_path / "runs")
        assert index.find(SCOPE, hash_of(0)) is None
        ledger.settle_answered(accept)
    index.catch_up(tmp_path / "runs")
    assert index.find(SCOPE, hash_of(0)) is not None
    index.close()


def test_a_damaged_frame_is_no_answer(tmp_path: Path, index: ReplyIndex) -> None:
    make_run(tmp_path / "runs", "a")
    index.catch_up(tmp_path / "runs")
    segment = tmp_path / "runs/a/spool/000001.seg"
    data = bytearray(segment.read_bytes())
    data[100] ^= 1
    segment.write_bytes(data)
    assert index.find(SCOPE, hash_of(0)) is None
    index.close()


@pytest.mark.parametrize("how", ["garbage", "other format", "empty"])
def test_a_damaged_index_is_made_again(tmp_path: Path, index: ReplyIndex, how: str) -> None:
    make_run(tmp_path / "runs", "a")
    index.catch_up(tmp_path / "runs")
    index.close()
    path = tmp_path / "replies.db"
    if how == "other format":
        connection = apsw.Connection(str(path))
        connection.pragma("user_version", 99)
        connection.close()
    else:
        path.write_bytes(b"garbage" * 2000 if how == "garbage" else b"")
    with ReplyIndex(path) as again:
        again.catch_up(tmp_path / "runs")
        assert again.find(SCOPE, hash_of(0)) is not None


def test_an_index_damaged_while_it_is_open_is_made_again(tmp_path: Path, index: ReplyIndex) -> None:
    make_run(tmp_path / "runs", "a")
    index.catch_up(tmp_path / "runs")
    index._connection.execute("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA cache_size = 0")
    path = tmp_path / "replies.db"
    path.write_bytes(b"\0" * path.stat().st_size)
    index._connection.execute("PRAGMA shrink_memory")
    assert index.find(SCOPE, hash_of(0)) is None
    index.catch_up(tmp_path / "runs")
    assert index.find(SCOPE, hash_of(0)) is not None
    index.close()


def test_two_users_of_one_index_see_the_same(tmp_path: Path, index: ReplyIndex) -> None:
    make_run(tmp_path / "runs", "a")
    with ReplyIndex(tmp_path / "replies.db") as other:
        other.catch_up(tmp_path / "runs")
        index.catch_up(tmp_path / "runs")
        assert index.find(SCOPE, hash_of(0)) == other.find(SCOPE, hash_of(0)) is not None
    index.close()


def test_runs_that_cannot_be_read_are_passed_over(tmp_path: Path, index: ReplyIndex) -> None:
    for name in ("broken", "empty", "torn", "good"):
        make_run(tmp_path / "runs", name, scope=SCOPE)
    (tmp_path / "runs/broken/ledger.db").write_bytes(b"broken" * 1000)
    (tmp_path / "runs/empty/ledger.db").write_bytes(b"")
    with (tmp_path / "runs/torn/ledger.db").open("r+b") as file:
        file.seek(4096)  # all but the header's page
        file.write(b"\xff" * (tmp_path / "runs/torn/ledger.db").stat().st_size)
    index.catch_up(tmp_path / "runs")
    found = index.find(SCOPE, hash_of(0))
    assert found is not None
    assert found.run == "good"
    assert (tmp_path / "replies.db").stat().st_mode & 0o777 == 0o600
    index.close()


def make_batch_run(runs: Path, name: str, rows: int = 3) -> None:
    """Rows 0 and 1 succeeded in a batch, row 1 as it was sent again; row 2 was judged no answer."""

    def judge(outcome: Outcome) -> Ruling:
        if outcome.step.row == 2:
            return Ruling("failed", Failure("schema_mismatch", "no"))
        return accept(outcome) if outcome.failure is None else Ruling("open", outcome.failure)

    with new_ledger(runs / name, rows, scope=SCOPE) as ledger:
        first = ended_batch(ledger, [Step(row) for row in range(3)])
        lines: list[Line] = [(Step(1), "expired", EXPIRED), *answered(Step(2), Step(0))]
        collect(ledger, first, lines, judge)
        collect(ledger, ended_batch(ledger, [Step(1)]), answered(Step(1)), judge)


def test_a_reply_in_a_landed_file_is_found(tmp_path: Path, index: ReplyIndex) -> None:
    make_batch_run(tmp_path / "runs", "a")
    index.catch_up(tmp_path / "runs")
    found = [index.find(SCOPE, hash_of(row)) for row in range(3)]
    assert found[2] is None
    assert [(each.body, each.batch_id, each.request_id) for each in found[:2] if each is not None] == [
        (message("reply 0"), "msgbatch_1", None),
        (message("reply 1"), "msgbatch_2", None),
    ]
    assert found[0] is not None
    assert found[0].reply.content[0]["text"] == "reply 0"
    index.close()


def test_a_found_line_is_copied_into_the_next_run_s_own_spool(tmp_path: Path, index: ReplyIndex) -> None:
    make_batch_run(tmp_path / "runs", "a")
    index.catch_up(tmp_path / "runs")
    found = index.find(SCOPE, hash_of(1))
    assert found is not None
    with new_ledger(tmp_path / "runs/b", 2, scope=SCOPE) as ledger:
        outcome = answer(Step(1), mode="batch", body=found.body, reply=found.reply, reused=True, cost=0, usage=Usage())
        ledger.record([outcome], accept)
        shutil.rmtree(tmp_path / "runs/a")
        assert ledger.result(1).body == message("reply 1")
    index.catch_up(tmp_path / "runs")
    assert index.find(SCOPE, hash_of(1)) is not None
    index.close()


def test_a_landed_line_is_only_found_while_the_run_says_what_it_answers(tmp_path: Path, index: ReplyIndex) -> None:
    make_batch_run(tmp_path / "runs", "a")
    index.catch_up(tmp_path / "runs")
    connection = apsw.Connection(str(tmp_path / "runs/a/ledger.db"))
    connection.execute("UPDATE attempts SET request_hash = x'07' WHERE row = 0")
    connection.close()
    assert index.find(SCOPE, hash_of(0)) is None
    assert index.find(SCOPE, hash_of(1)) is not None
    landed = tmp_path / "runs/a/spool/000002.jsonl"
    landed.write_bytes(b'{"custom_id":"x","result":{"type":"succeeded","message":{}}}'.ljust(landed.stat().st_size))
    assert index.find(SCOPE, hash_of(1)) is None
    shutil.rmtree(tmp_path / "runs/a")
    assert index.find(SCOPE, hash_of(1)) is None
    index.close()


def test_what_lands_after_a_run_was_finished_and_reopened_is_found(tmp_path: Path, index: ReplyIndex) -> None:
    make_batch_run(tmp_path / "runs", "a")
    index.catch_up(tmp_path / "runs")
    assert index.find(SCOPE, hash_of(2)) is None
    with SqliteLedger.open(tmp_path / "runs/a") as ledger:
        assert ledger.reopen() == 1
        collect(ledger, ended_batch(ledger, [Step(2)]), answered(Step(2)))
    index.catch_up(tmp_path / "runs")
    found = index.find(SCOPE, hash_of(2))
    assert found is not None
    assert found.batch_id == "msgbatch_3"
    assert index.find(SCOPE, hash_of(0)) is not None
    index.close()


def test_an_index_of_the_first_format_is_made_again(tmp_path: Path, index: ReplyIndex) -> None:
    make_batch_run(tmp_path / "runs", "a")
    index.close()
    connection = apsw.Connection(str(tmp_path / "replies.db"))
    connection.pragma("user_version", 1)
    connection.close()
    with ReplyIndex(tmp_path / "replies.db") as again:
        again.catch_up(tmp_path / "runs")
        assert again.find(SCOPE, hash_of(0)) is not None


def test_an_older_run_is_taken_up_as_it_is(tmp_path: Path, index: ReplyIndex) -> None:
    make_run(tmp_path / "runs", "a")
    turn_to_version(1, tmp_path / "runs/a/ledger.db")
    index.catch_up(tmp_path / "runs")
    assert index.find(SCOPE, hash_of(0)) is not None
    index.close()
