"""The conformance suite of sinks: `check_sink`, and `sample_record`, which makes records to write."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from runner.sinks import Sink
from runner.types import Record, Usage

Make = Callable[[], Sink]
"""Makes a sink, not opened. The target is the same at every call and may be replaced; or, where what is written cannot
be taken back (a stream), a new one."""

Read = Callable[[], "list[str] | None"]
"""The keys of the records in the target of the last sink made, in order; None where there is no target."""

_MANY = 2_500


def sample_record(index: int = 0, **changes: Any) -> Record:
    """A sound record with every field set; `changes` replace some."""
    record = Record(
        key=f"k-{index}",
        index=index,
        status="succeeded",
        output=f"answer {index}",
        text=None,
        stop_reason="end_turn",
        error=None,
        row={"id": f"k-{index}", "text": f"text {index}"},
        model="claude-haiku-5-5",
        mode="parallel",
        attempts=1,
        reused=False,
        cost_usd=0.0000145,
        usage=Usage(61, 9, 1840).to_dict(),
        run_id="20261122T101500-a1b2",
        job="sample",
        request_hash="00" * 32,
        message_id=f"msg_{index}",
        request_id=f"req_{index}",
        batch_id=None,
        started_at="2026-11-22T10:15:00.000Z",
        ended_at="2026-11-22T10:15:01.000Z",
        content=({"type": "text", "text": f"answer {index}"},),
    )
    return replace(record, **changes)


def failed_record(index: int = 0, **changes: Any) -> Record:
    """A record of a row that was refused."""
    error = {"kind": "refusal", "message": "refused", "http_status": None, "request_id": None, "category": "cyber"}
    failed = sample_record(index, status="failed", output=None, text="I can", stop_reason="refusal", error=error)
    return replace(failed, **changes)


def check_sink(make: Make, read: Read) -> None:
    """Hold a sink to its contract.

    Raises:
        AssertionError: a promise is broken.
    """
    with tempfile.TemporaryDirectory() as folder:
        staging = Path(folder) / "run" / "staged" / "0"  # not there yet: the sink makes it
        _aborts(make, read, staging)
        _delivers(make, read, staging, [])
        _delivers(make, read, staging, [sample_record()])
        _delivers(make, read, staging, _awkward())
        _delivers(make, read, staging, [sample_record(index) for index in range(_MANY)])
        _is_whole(make, read, staging)
        _starts_over(make, read, staging)


def _aborts(make: Make, read: Read, staging: Path) -> None:
    sink = make()
    before = read()
    sink.check()
    sink.abort()
    sink.open(staging)
    sink.write([sample_record()])
    sink.seal()
    sink.abort()
    sink.abort()
    assert read() == before, "an aborted delivery leaves its target as it was"
    assert not [path for path in staging.rglob("*") if path.is_file()], "an aborted delivery leaves nothing staged"


def _delivers(make: Make, read: Read, staging: Path, records: Sequence[Record]) -> None:
    sink = make()
    before = read()
    sink.check()
    sink.open(staging)
    for start in range(0, len(records), 1_000):
        sink.write(records[start : start + 1_000])
    sealed = sink.seal()
    assert read() == before, "nothing is visible before commit"
    assert sealed == sink.seal(), "sealing again changes nothing"
    assert sealed.records == len(records), f"the sink counts {sealed.records} of {len(records)} records"
    assert (sealed.kind, sealed.target) == (sink.kind, sink.target), "what was delivered bears the sink's name"
    sink.commit()
    assert read() == [record.key for record in records], "every record arrives once, in order"


def _is_whole(make: Make, read: Read, staging: Path) -> None:
    """The same records in other portions are the same delivery."""
    records = [sample_record(index) for index in range(10)]
    digests = []
    for portions in ([records], [[record] for record in records], [[], records, []]):
        sink = make()
        sink.open(staging)
        for portion in portions:
            sink.write(portion)
        digests.append(sink.seal().sha256)
        sink.commit()
        assert read() == [record.key for record in records], "portions make no difference"
    assert len(set(digests)) == 1, "equal records make an equal target"


def _starts_over(make: Make, read: Read, staging: Path) -> None:
    """After a crash the sink is run again from the first record, whatever was staged."""
    crashed = make()
    crashed.open(staging)
    crashed.write([sample_record(7)])
    again = make()
    again.open(staging)
    again.write([sample_record(8)])
    again.seal()
    again.commit()
    assert read() == ["k-8"], "what a crash left staged is not delivered"
    crashed.abort()


def _awkward() -> list[Record]:
    texts = [
        'a "quote", a comma\tand a tab',
        "two\nlines\r\nand\ra third",
        "日本語 é 😀",
        "\u2028",
        "\x00",
        "",
        "\ud83d half",
    ]
    records = [sample_record(index, output=text, row={"id": text, "text": None}) for index, text in enumerate(texts)]
    nested = sample_record(len(texts), output={"label": "a", "items": [1, 2.5, None, True]})
    return [*records, nested, failed_record(len(texts) + 1, row={})]
