"""Why rows failed, in few words: which kinds, which example, and how much of it."""

from __future__ import annotations

from pathlib import Path

from runner.execution.reasons import MOST_REASONS, FailureReason, reasons_of
from runner.ledger import Counts
from runner.ledger.sqlite import SqliteLedger
from runner.types import Failure, Step
from support.ledgers import accept, answer, lease_all, new_ledger


def ended(folder: Path, failures: list[Failure | None]) -> SqliteLedger:
    """A run of a row for each, which failed with it or went well."""
    ledger = new_ledger(folder, len(failures))
    lease_all(ledger, [Step(row) for row in range(len(failures))])
    outcomes = [
        answer(Step(row)) if failure is None else answer(Step(row), end="errored", body=b"", failure=failure)
        for row, failure in enumerate(failures)
    ]
    ledger.record(outcomes, accept)
    return ledger


def test_kinds_come_by_how_frequent_they_are_each_with_its_first_row(tmp_path: Path) -> None:
    refused, late = Failure("refusal", "the model refused"), Failure("timeout", "no answer within 600 s")
    with ended(tmp_path / "run", [None, late, refused, refused, Failure("api_error", "Internal")]) as ledger:
        found = reasons_of(ledger, ledger.counts())
    assert [(one.kind, one.rows, one.key, one.message) for one in found] == [
        ("refusal", 2, "key-2", "the model refused"),
        ("api_error", 1, "key-4", "Internal"),
        ("timeout", 1, "key-1", "no answer within 600 s"),
    ]
    assert ["on_refusal" in (one.hint or "") for one in found] == [True, False, False]


def test_only_the_commonest_kinds_are_told(tmp_path: Path) -> None:
    failures = [Failure(f"kind-{number}", "no") for number in range(8) for _ in range(number + 1)]
    with ended(tmp_path / "run", list(failures)) as ledger:
        found = reasons_of(ledger, ledger.counts())
    assert [one.kind for one in found] == [f"kind-{number}" for number in (7, 6, 5, 4, 3)]
    assert len(found) == MOST_REASONS


def test_an_example_is_short_and_does_not_name_its_row_twice(tmp_path: Path) -> None:
    named = Failure("render_error", "x.j2:2: `row.text` is missing; row 'key-0'")
    with ended(tmp_path / "run", [named, Failure("api_error", "x" * 1_000)]) as ledger:
        long, named_once = reasons_of(ledger, ledger.counts())
    assert long.message == "x" * 200 + "…"
    assert named_once.message == "x.j2:2: `row.text` is missing"


def test_a_run_without_failures_is_asked_nothing(tmp_path: Path) -> None:
    ledger = ended(tmp_path / "run", [None])
    counts = ledger.counts()
    ledger.close()  # to ask it would raise
    assert reasons_of(ledger, counts) == ()


def test_a_kind_whose_rows_are_open_again_by_now_has_no_example(tmp_path: Path) -> None:
    with ended(tmp_path / "run", [None]) as ledger:
        [reason] = reasons_of(ledger, Counts(total=1, failed=1, failures={"truncated": 1}))
    assert (reason.key, reason.message) == (None, None)
    assert reason.to_dict() == {"kind": "truncated", "rows": 1, "example": None, "hint": reason.hint}


def test_the_object_of_a_reason() -> None:
    reason = FailureReason("refusal", 2, "k5", "the model refused", "ask another")
    assert reason.to_dict() == {
        "kind": "refusal",
        "rows": 2,
        "example": {"key": "k5", "message": "the model refused"},
        "hint": "ask another",
    }
