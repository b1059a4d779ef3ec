"""Batches in doubt: creates whose reply never came. Were they accepted, and which batch at the API is ours?

Owns   which listed batches may be the one (`candidates`), the proof by custom ids (`owner`), and the looks at the list.
Knows  a provider, the book, and the batch ids of every ledger on this machine. It sends nothing, and never cancels or
       deletes: others work in the same workspace.

Decision 3: batches newer than the intent's watermark, with its number of requests, in no ledger of ours, are *held*;
a batch is proven ours only by the custom ids in its results, so only once it has ended. An empty list proves nothing:
the list may lag (SDK issue 1432), so what is not found stays in doubt until the user says `runner resume --resend`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Literal

from msgspec import Struct, field

from runner.engines import BatchBook
from runner.engines.custom_ids import read_custom_id
from runner.ledger import Batch
from runner.providers import BatchPage, BatchProvider, RemoteBatch
from runner.types import Failure

PAGE: Final = 100
MAX_PAGES: Final = 50
"""Pages that one look reads at most, where the watermark does not turn up: it may have been deleted since, and ages
prove nothing, since clocks differ."""
SAMPLE_BYTES: Final = 4 * 1024 * 1024
MAX_SAMPLES: Final = 12
"""How often the results of one candidate are asked for in vain before it is held no longer: they may be gone."""
SAMPLE_LINES: Final = 20
"""What is read of a candidate's results; every line of a batch has the mark and number of the run that made it."""

Owner = tuple[str, int]
"""Run mark and batch number, as the custom ids of a batch's results say them."""


def candidates(listed: Iterable[RemoteBatch], batch: Batch, taken: AbstractSet[str]) -> list[RemoteBatch]:
    """Those among the listed batches that may be the one in doubt, and may still be proven so."""
    return [
        remote
        for remote in listed
        if remote.requests == batch.steps and remote.batch_id not in taken and remote.archived_at is None
    ]


def owner(custom_ids: Sequence[str]) -> Owner | None:
    """Whose batch has these custom ids; None where they are not of one run and batch."""
    read = [read_custom_id(text) for text in custom_ids]
    owners = {(entry[0], entry[1]) if entry is not None else None for entry in read}
    return owners.pop() if len(owners) == 1 else None


class Look(Struct, frozen=True):
    """What one look at the list brought: batches proven ours by number, how many are held, and what failed."""

    proven: dict[int, RemoteBatch] = field(default_factory=dict)
    held: int = 0
    failure: Failure | None = None


class Reconciler:
    """One per run and sitting. `known_ids` reads files: it is called off the loop."""

    def __init__(
        self, provider: BatchProvider, book: BatchBook, *, mark: str, known_ids: Callable[[], AbstractSet[str]]
    ) -> None:
        self._provider = provider
        self._book = book
        self._mark = mark
        self._known_ids = known_ids
        self._owners: dict[str, Owner | None] = {}
        """What was read of batches that had ended; their results do not change."""
        self._samples: Counter[str] = Counter()

    async def look(self, doubtful: Sequence[Batch]) -> Look:
        """Read the list once, for all batches in doubt, and prove what has ended."""
        taken = {batch.batch_id for batch in await self._book.batches() if batch.batch_id is not None}
        taken |= await asyncio.to_thread(self._known_ids)
        listed = await self._listed(doubtful)
        if isinstance(listed, Failure):
            return Look(failure=listed)
        proven: dict[int, RemoteBatch] = {}
        held: set[str] = set()
        failure: Failure | None = None
        for batch in doubtful:
            for remote in candidates(_until_past(listed, batch), batch, taken):
                owned_by = await self._owner(remote)
                if isinstance(owned_by, Failure):
                    failure = owned_by
                    held.add(remote.batch_id)
                elif owned_by == "unknown":
                    held.add(remote.batch_id)
                elif owned_by == (self._mark, batch.number):
                    proven[batch.number] = remote
                    break
        return Look(proven, len(held - {remote.batch_id for remote in proven.values()}), failure)

    async def _listed(self, doubtful: Sequence[Batch]) -> list[RemoteBatch] | Failure:
        """The list, newest first, down to the oldest watermark."""
        seen: dict[str, RemoteBatch] = {}
        after_id: str | None = None
        for _ in range(MAX_PAGES):
            page = await self._provider.list_batches(after_id=after_id, limit=PAGE)
            if isinstance(page, Failure):
                return page
            fresh = [remote for remote in page.batches if remote.batch_id not in seen]
            seen.update((remote.batch_id, remote) for remote in fresh)
            if self._is_the_last(page, fresh, seen, doubtful):
                break
            after_id = page.batches[-1].batch_id
        return list(seen.values())

    @staticmethod
    def _is_the_last(
        page: BatchPage, fresh: Sequence[RemoteBatch], seen: Collection[str], doubtful: Sequence[Batch]
    ) -> bool:
        if not page.has_more or len(fresh) < len(page.batches) or not fresh:
            return True
        return all(batch.watermark in seen for batch in doubtful)

    async def _owner(self, remote: RemoteBatch) -> Owner | Failure | Literal["unknown"] | None:
        """Whose batch this is: None for a foreign one, `unknown` while nobody can say."""
        batch_id = remote.batch_id
        if batch_id in self._owners:
            return self._owners[batch_id]
        if remote.status != "ended":
            return "unknown"
        if self._samples[batch_id] >= MAX_SAMPLES:
            return None
        self._samples[batch_id] += 1
        sample = await self._sample(batch_id)
        if isinstance(sample, Failure):
            return sample
        if not sample:
            return "unknown"
        self._owners[batch_id] = owner(sample)
        return self._owners[batch_id]

    async def _sample(self, batch_id: str) -> list[str] | Failure:
        """The custom ids of the first lines of a batch's results."""
        gathered = bytearray()

        async def write(chunk: bytes) -> None:
            gathered.extend(chunk)
            if len(gathered) >= SAMPLE_BYTES or gathered.count(b"\n") >= SAMPLE_LINES:
                raise _Enough

        failure: Failure | None = None
        try:
            result = await self._provider.download_results(batch_id, write)
            failure = result if isinstance(result, Failure) else None
        except _Enough:
            pass
        found = self._custom_ids(bytes(gathered))
        return failure if failure is not None and not found else found

    def _custom_ids(self, data: bytes) -> list[str]:
        """The custom ids of the first lines. The last one may be cut: then it is no JSON."""
        found: list[str] = []
        for line in data.split(b"\n")[:SAMPLE_LINES]:
            try:
                found.append(self._provider.read_result(line.rstrip(b"\r")).custom_id)
            except ValueError:  # a blank line, a cut one, or a result of an unknown type
                continue
        return found


class _Enough(Exception):
    """As much of the results has come as the proof needs."""


def _until_past(listed: Sequence[RemoteBatch], batch: Batch) -> list[RemoteBatch]:
    """Those before the watermark. Where it is not in the list (deleted since), all: a foreign batch is refused by its
    custom ids."""
    ids = [remote.batch_id for remote in listed]
    end = ids.index(batch.watermark) if batch.watermark in ids else len(ids)
    return list(listed[:end])
