from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.encoding import decode, encode
from runner.errors import LedgerError
from runner.ledger import landings
from runner.ledger.audit import audit
from runner.ledger.frames import BrokenFrame
from runner.ledger.landings import message_of_line
from runner.ledger.spool import Place, SpoolReader
from runner.ledger.sqlite import SqliteLedger
from runner.types import AttemptEnd, Failure, Step
from support.ledger_batches import INVALID, answered, collect, ended_batch, intend, land, result_line
from support.ledgers import NOON, accept, message, new_ledger

json_texts = st.text(st.characters(codec=None, exclude_categories=()))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | json_texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(json_texts, children, max_size=3),
    max_leaves=6,
)


def test_a_landed_file_has_what_was_written_and_is_private(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        number = ended_batch(ledger, [Step(0), Step(1)])
        assert ledger.landed(number) is None
        ledger.landing_path(number).write_bytes(b"the lines")
        landed = ledger.land(number)
        assert (landed.read_bytes(), landed.stat().st_mode & 0o777) == (b"the lines", 0o600)
        assert ledger.landed(number) == landed
        assert not ledger.landing_path(number).exists()
        with SqliteLedger.open(tmp_path / "run", read_only=True) as beside:
            assert beside.landed(number) == landed


def test_a_batch_may_land_again_and_keeps_what_it_gave(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        number = ended_batch(ledger, [Step(0), Step(1)])
        other = ended_batch(ledger, [Step(2)])
        collect(ledger, number, answered(Step(0)))
        first = ledger.landed(number)
        collect(ledger, other, answered(Step(2)))
        settled = collect(ledger, number, [(Step(0), "succeeded", "another"), *answered(Step(1))])
        assert (settled.repeated, ledger.landed(number) != first) == (1, True)
        assert [result.body for result in ledger.results()] == [message(f"reply {row}") for row in range(3)]
    assert audit(tmp_path / "run") == []


def test_landing_nothing_is_told(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        number = ended_batch(ledger, [Step(0)])
        with pytest.raises(LedgerError):
            ledger.land(number)
        assert ledger.landed(number) is None
        with pytest.raises(LedgerError, match="no batch 9"):
            ledger.landing_path(9)


def test_what_has_not_landed_when_the_owner_dies_is_removed(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        number = ended_batch(ledger, [Step(0)])
        collect(ledger, number, answered(Step(0)))
        whole = ledger.landed(number)
        being_written = ledger.landing_path(number)
        being_written.write_bytes(b"half a li")
        (tmp_path / "run/spool/000002.jsonl").write_bytes(b"renamed, but not in the table")
    with SqliteLedger.open(tmp_path / "run", read_only=True):
        assert being_written.exists(), "who only reads removes nothing"
    with SqliteLedger.open(tmp_path / "run") as ledger:
        left = sorted(path.name for path in (tmp_path / "run/spool").iterdir())
        assert left == ["000001.jsonl", "000001.seg"]
        assert ledger.landed(number) == whole
        assert ledger.result(0).body == message("reply 0")


def test_a_crash_between_the_rename_and_the_commit_lands_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(folder: Path) -> None:
        raise InterruptedError

    with new_ledger(tmp_path / "run", 1) as ledger:
        number = ended_batch(ledger, [Step(0)])
        ledger.landing_path(number).write_bytes(b"cut short")
        with monkeypatch.context() as patch:
            patch.setattr(landings, "sync_entries", crash)
            with pytest.raises(LedgerError):
                ledger.land(number)
        assert ledger.landed(number) is None
        collect(ledger, number, answered(Step(0)))
        assert ledger.result(0).body == message("reply 0")
    assert audit(tmp_path / "run") == []


def test_a_landed_file_that_was_changed_is_told_of(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        number = ended_batch(ledger, [Step(0)])
        collect(ledger, number, answered(Step(0)))
        landed = ledger.landed(number)
        assert landed is not None
        landed.write_bytes(b"x" * landed.stat().st_size)
        with pytest.raises(LedgerError, match="the line at byte 0 is no line of results") as caught:
            ledger.result(0)
        assert caught.value.code == "damaged"
        landed.unlink()
    assert "landed files" in audit(tmp_path / "run")[0]


def test_a_line_is_no_outcome(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no whole outcome"):
        SpoolReader(tmp_path).outcome(Place(-1, 0, 10))


# -- lines -----------------------------------------------------------------------------------------------------------
@given(json_values)
def test_the_message_of_a_usual_line_is_what_was_sent_byte_by_byte(value: object) -> None:
    sent = json.dumps({"content": value, "type": "message"}).encode()
    line = b'{"custom_id":"a-1","result":{"type":"succeeded","message":' + sent + b"}}"
    for ending in (b"", b"\n", b"\r\n"):
        assert message_of_line(line + ending) == sent


@given(json_values)
def test_the_message_of_an_unusual_line_has_the_same_value(value: object) -> None:
    said = {"content": value, "type": "message"}
    for result in (
        {"message": said, "type": "succeeded"},
        {"type": "succeeded", "message": said, "more": {"message": 1}},
    ):
        for line in ({"custom_id": "a", "result": result}, {"result": result, "custom_id": "a"}):
            assert decode(message_of_line(json.dumps(line).encode())) == decode(encode(said))


def test_spaces_change_nothing() -> None:
    line = b' { "custom_id" : "a" , "result" : { "type" : "succeeded" , "message" : {"a" : 1} } } \n'
    assert message_of_line(line) == b'{"a" : 1}'


def test_a_lone_surrogate_stays_as_it_was_escaped() -> None:
    for line in (
        b'{"custom_id":"a","result":{"type":"succeeded","message":{"text":"\\ud83d"}}}',
        b'{"custom_id":"a","result":{"message":{"text":"\\ud83d"},"type":"succeeded"}}',
    ):
        assert message_of_line(line) == b'{"text":"\\ud83d"}'


def test_lines_without_a_reply_have_no_message() -> None:
    lines: list[tuple[AttemptEnd, Failure]] = [("errored", INVALID), ("expired", INVALID), ("canceled", INVALID)]
    for end, failure in lines:
        assert message_of_line(result_line(Step(0), end, failure)) == b""


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'{"custom_id":"a"}',
        b'{"custom_id":"a","result":{"type":"succeeded"}}',
        b'{"custom_id":"a","result":{"type":"succeeded","message":{"a":}}}',
        b'{"custom_id":"a","result":{"type":"succeeded","message":{"a":1}}',
        b'{"custom_id":"a","result":7}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_line_is_refused(line: bytes) -> None:
    with pytest.raises(BrokenFrame):
        message_of_line(line)


def test_a_message_inside_the_text_is_not_taken_for_the_message(tmp_path: Path) -> None:
    text = '"}}\n{"custom_id":"b","result":{"type":"succeeded","message":{"a":1}}}'
    with new_ledger(tmp_path / "run", 1) as ledger:
        intend(ledger, [Step(0)])
        ledger.mark_batch(1, "sending")
        lines = land(ledger, 1, [(Step(0), "succeeded", text)])
        ledger.settle_batch(1, lines, accept, NOON)
        assert ledger.result(0).body == message(text)
