"""The conformance suite of sinks that take parts: `check_part_sink`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from runner.errors import DeliveryError
from runner.sinks import DeliveryId, Part, PartSink
from runner.testing.sinks import failed_record, sample_record
from runner.types import Record

Make = Callable[[], PartSink]
"""Makes a sink that has not begun. The target is the same at every call."""

Read = Callable[[], list[str]]
"""The keys of the records in the target, in any order: each as often as it counts there. What came twice under one id
counts once, where the target keeps no mark."""

_MANY = 2_500


def check_part_sink(
    make: Make, read: Read, *, clear: Callable[[], None], keeps_mark: bool, merges: bool = False
) -> None:
    """Hold a sink to its contract. `clear` empties the target. `merges`: a record of a key that is there replaces it.

    Raises:
        AssertionError: a promise is broken.
    """
    for check in (_is_untouched, _delivers, _delivers_what_is_awkward, _delivers_many, _comes_again):
        clear()
        check(make, read)
    clear()
    _tells_deliveries_apart(make, read, merges)
    if keeps_mark:
        for marked in (_knows_its_mark, _fences):
            clear()
            marked(make, read)
    else:
        sink = make()
        assert sink.begin(_id()) is None, "a target without a mark says so"
        sink.close()


def _id(name: str = "run.0.abc.1", owner: str = "an owner") -> DeliveryId:
    return DeliveryId(name, "run", owner)


def _part(number: int, records: Sequence[Record], name: str = "run.0.abc.1") -> Part:
    return Part(number, f"{name}.{number}", records)


def _samples(start: int, stop: int) -> list[Record]:
    return [sample_record(index) for index in range(start, stop)]


def _is_untouched(make: Make, read: Read) -> None:
    """What has not begun changes nothing, and a delivery of nothing ends well."""
    sink = make()
    assert sink.kind
    assert sink.target
    assert sink.limits.records > 0
    sink.check()
    sink.close()
    sink.close()
    sink = make()
    sink.begin(_id())
    sink.finish()
    sink.finish()
    sink.close()
    assert read() == [], "no record was delivered"


def _delivers(make: Make, read: Read) -> None:
    sink = make()
    sink.begin(_id())
    for number, records in ((1, _samples(0, 1)), (2, _samples(1, 4)), (5, _samples(4, 6))):
        assert not sink.deliver(_part(number, records)), "every record fits"
        if not sink.is_replaced:
            assert len(read()) == records[-1].index + 1, "what was delivered is there when `deliver` returns"
    sink.finish()
    sink.close()
    _holds(read, 6)


def _delivers_what_is_awkward(make: Make, read: Read) -> None:
    texts = ['a "quote"', "two\nlines", "日本語 é 😀", "'; --", "", "%s {} \\", "\ud83d half"]
    records = [sample_record(index, output=text, row={"id": text, "text": text}) for index, text in enumerate(texts)]
    records.append(failed_record(len(texts)))
    sink = make()
    sink.begin(_id())
    assert not sink.deliver(_part(1, records))
    sink.finish()
    sink.close()
    _holds(read, len(records))


def _delivers_many(make: Make, read: Read) -> None:
    sink = make()
    sink.begin(_id())
    step = min(sink.limits.records, _MANY)
    for number, start in enumerate(range(0, _MANY, step), 1):
        sink.deliver(_part(number, _samples(start, min(_MANY, start + step))))
    sink.finish()
    sink.close()
    _holds(read, _MANY)


def _comes_again(make: Make, read: Read) -> None:
    """A process that died in a part: the next one asks for the mark, and sends again what is not there."""
    died = make()
    died.begin(_id())
    died.deliver(_part(1, _samples(0, 3)))
    died.deliver(_part(2, _samples(3, 5)))
    died.close()
    sink = make()
    held = sink.begin(_id(owner="another"))
    if held is None:
        sink.deliver(_part(2, _samples(3, 5)))
    sink.deliver(_part(3, _samples(5, 6)))
    sink.finish()
    sink.close()
    _holds(read, 6)


def _tells_deliveries_apart(make: Make, read: Read, merges: bool) -> None:
    other = "run.0.abc.2"
    for name in ("run.0.abc.1", other):
        sink = make()
        assert not sink.begin(_id(name)), "of another delivery the target has nothing"
        sink.deliver(_part(1, _samples(0, 2), name))
        sink.finish()
        is_replaced = sink.is_replaced
        sink.close()
    assert Counter(read()) == dict.fromkeys(("k-0", "k-1"), 1 if is_replaced or merges else 2)


def _knows_its_mark(make: Make, read: Read) -> None:
    sink = make()
    assert sink.begin(_id()) == 0, "nothing is there yet"
    sink.deliver(_part(1, _samples(0, 2)))
    sink.deliver(_part(4, _samples(2, 3)))
    sink.close()
    again = make()
    assert again.begin(_id()) == 4, "the number of the last part is in the target"
    again.finish()
    again.close()
    finished = make()
    assert finished.begin(_id()) == 4, "and stays there when the delivery has ended"
    finished.finish()
    finished.close()
    _holds(read, 3)


def _fences(make: Make, read: Read) -> None:
    older, newer = make(), make()
    older.begin(_id(owner="older"))
    older.deliver(_part(1, _samples(0, 1)))
    assert newer.begin(_id(owner="newer")) == 1
    try:
        older.deliver(_part(2, _samples(1, 2)))
    except DeliveryError:
        pass
    else:
        raise AssertionError("a part of an older owner is refused")
    newer.deliver(_part(2, _samples(1, 3)))
    newer.finish()
    older.close()
    newer.close()
    _holds(read, 3)


def _holds(read: Read, count: int) -> None:
    assert Counter(read()) == dict.fromkeys((f"k-{index}" for index in range(count)), 1), "every record is there once"
