"""What can be wrong with a batch as such: it shows late, never ends, miscounts, or is not alone.

Owns   the traits that faults give a batch when it is accepted (stored with it), and what they change in how it is
       seen; the batches of somebody else in the same workspace.
Knows  batches and faults; nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from msgspec.structs import replace

from runner.simulator.acts import Act
from runner.simulator.batch_store import Batch, BatchStore
from runner.simulator.faults import Fault

_LATE = (Act.LATE_RETRIEVE, Act.LATE_LIST, Act.LATE_RESULTS)


def traits_of(faults: Iterable[Fault]) -> dict[str, Any]:
    """The traits of a batch that these faults strike; several may at once."""
    traits: dict[str, Any] = {}
    for fault in faults:
        if fault.act in _LATE:
            traits[fault.act.value] = fault.rule.seconds
        elif fault.act is Act.STUCK:
            traits |= {"stuck": "until canceled", "done_share": fault.rule.share}
        elif fault.act is Act.STUCK_CANCELING:
            traits |= {"stuck": "always", "done_share": fault.rule.share}
        elif fault.act in (Act.BAD_TALLIES, Act.DECOYS):
            traits[fault.act.value] = True
    return traits


def sees(batch: Batch, now: float) -> bool:
    """Whether retrieve finds it."""
    return now >= batch.created_at + float(batch.traits.get(Act.LATE_RETRIEVE.value, 0))


def is_listed(batch: Batch, now: float) -> bool:
    return now >= batch.created_at + float(batch.traits.get(Act.LATE_LIST.value, 0))


def results_are_there(batch: Batch, now: float) -> bool:
    return batch.ended_at is not None and now >= batch.ended_at + float(batch.traits.get(Act.LATE_RESULTS.value, 0))


def describe_tallies(batch: Batch) -> Mapping[str, int]:
    """`request_counts`: everything is processing until all of it has ended."""
    if batch.state != "ended":
        return {"processing": batch.total, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    wrong = 1 if batch.traits.get(Act.BAD_TALLIES.value) else 0
    return {
        "processing": 0,
        "succeeded": batch.succeeded + wrong,
        "errored": batch.errored,
        "canceled": batch.canceled,
        "expired": batch.expired,
    }


def make_decoys(store: BatchStore, like: Batch, counts: Iterable[int]) -> list[str]:
    """Put batches of somebody else beside one: created at the same moment, with so many requests each. Not billed."""
    ids = []
    for count in counts:
        decoy = replace(
            like,
            number=store.next_number(),
            id=store.new_id(),
            total=count,
            is_foreign=True,
            traits={},
        )
        path = store.incoming_file()
        with path.open("wb") as file:
            file.writelines(_foreign_line(index) for index in range(count))
        store.create(decoy, path)
        ids.append(decoy.id)
    return ids


def _foreign_line(index: int) -> bytes:
    messages = [{"role": "user", "content": f"A question of somebody else, number {index}."}]
    params = {"model": "claude-haiku-5-5", "max_tokens": 200, "messages": messages}
    return orjson.dumps({"custom_id": f"foreign-{index}", "params": params}) + b"\n"
