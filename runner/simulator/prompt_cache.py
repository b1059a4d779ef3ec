"""The prompt cache, as the API accounts for it.

Owns   the entries and the split of a prompt's tokens into read, written and uncached.
Knows  prefixes as digests with a running token count; nothing of requests or HTTP.

Rules (source: the API's prompt-caching page, October 2026)
  * Entries are written only at breakpoints, and only where the prefix reaches the model's minimum; a shorter one is
    silently not cached.
  * From each breakpoint the look-up walks back over at most 20 positions, the breakpoint itself being the first, to the
    longest prefix with an entry. Everything up to there is read; from there to each later breakpoint is written, with
    that breakpoint's time-to-live; the rest is plain input.
  * An entry can be read only once the reply that writes it has begun. Requests before that pay for their own write.
  * It lives for 5 minutes or 1 hour from the start of the request that wrote or last read it.
  * Scope: workspace and model. Batches have a cache of their own, which live requests neither read nor write (measured
    by others, not documented). There a request is accounted for later than it started, so a look-up is made as of a
    moment (`at`): it sees what was readable by then, and of later entries only those of its `own` batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from runner.clock import Clock
from runner.simulator.prompt import Block, Prompt

_LOOK_BACK = 20
_LIFETIME_S = {"5m": 300.0, "1h": 3600.0}
_SWEEP_EVERY = 4_096
"""New entries between two sweeps of dead ones, so that the table does not grow with the requests."""

Scope = tuple[str, str]
"""Workspace and model."""


class _Entry(Struct):
    ttl: str
    expires_at: float
    readable_from: float
    owner: str


class CacheUse(Struct, frozen=True):
    """How one prompt's tokens split; the four counts are disjoint and add up to the prompt.

    `reads` are the prefixes whose life it renews, `writes` those that become entries when its reply begins.
    """

    read: int
    written_5m: int
    written_1h: int
    uncached: int
    reads: tuple[bytes, ...]
    writes: tuple[tuple[bytes, str], ...]
    scope: Scope
    started_at: float

    @property
    def billed_input(self) -> int:
        """What counts against the limit on input tokens: all but reads."""
        return self.uncached + self.written_5m + self.written_1h


class PromptCache:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[tuple[Scope, bytes], _Entry] = {}
        self._until_sweep = _SWEEP_EVERY

    def clear(self) -> None:
        self._entries.clear()

    def look(self, prompt: Prompt, scope: Scope, minimum: int, *, at: float | None = None, own: str = "") -> CacheUse:
        """Account for a prompt that starts now: what it would read, and what it would write. Changes nothing.

        Args:
            minimum: the shortest prefix, in tokens, that the model caches.
            at: when it started, if not now (the clock's monotonic seconds).
            own: entries of this owner are read whenever they were written.
        """
        now = self._clock.monotonic() if at is None else at
        blocks = prompt.blocks
        marks = [index for index, block in enumerate(blocks) if block.ttl is not None and block.tokens >= minimum]
        if not marks:
            return CacheUse(0, 0, 0, prompt.tokens, (), (), scope, now)
        hit = max(self._look_up(scope, blocks, mark, now, own) for mark in marks)
        reads = {blocks[position].prefix for position in (hit, *marks) if 0 <= position <= hit}
        read = boundary = blocks[hit].tokens if hit >= 0 else 0
        written = {"5m": 0, "1h": 0}
        writes: list[tuple[bytes, str]] = []
        for mark in marks:
            block = blocks[mark]
            if mark > hit and block.ttl is not None:
                written[block.ttl] += block.tokens - boundary
                boundary = block.tokens
                writes.append((block.prefix, block.ttl))
        uncached = prompt.tokens - boundary
        return CacheUse(read, written["5m"], written["1h"], uncached, tuple(reads), tuple(writes), scope, now)

    def refresh(self, use: CacheUse) -> None:
        """The request was accepted: what it reads lives on from its start."""
        for prefix in use.reads:
            entry = self._entries.get((use.scope, prefix))
            if entry is not None and entry.expires_at > use.started_at:
                entry.expires_at = max(entry.expires_at, use.started_at + _LIFETIME_S[entry.ttl])

    def begin(self, use: CacheUse, owner: str = "") -> None:
        """The reply has begun: what it writes can be read from now on."""
        now = self._clock.monotonic()
        for prefix, ttl in use.writes:
            expires_at = use.started_at + _LIFETIME_S[ttl]
            known = self._entries.get((use.scope, prefix))
            if known is None or known.expires_at <= use.started_at:
                self._entries[use.scope, prefix] = _Entry(ttl, expires_at, now, owner)
            elif known.expires_at < expires_at:
                known.ttl, known.expires_at = ttl, expires_at
        self._until_sweep -= len(use.writes)
        if self._until_sweep <= 0:
            self._sweep()

    def _look_up(self, scope: Scope, blocks: Sequence[Block], mark: int, now: float, own: str) -> int:
        """The nearest position at or before `mark` whose prefix has a live entry, -1 where there is none."""
        for index in range(mark, max(-1, mark - _LOOK_BACK), -1):
            entry = self._entries.get((scope, blocks[index].prefix))
            if entry is None or entry.expires_at <= now:
                continue
            if entry.owner in ("", own) or entry.readable_from < now:
                return index
        return -1

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        self._entries = {key: entry for key, entry in self._entries.items() if entry.expires_at > now}
        self._until_sweep = _SWEEP_EVERY
