"""What a request will take of the limits, as learned from the replies so far.

Owns   the running means: input tokens a byte, output tokens a reply.
Knows  sizes and usages. Nothing of pace.

Counted as input is what the API counts: tokens that were not cached, and cache writes; what is read from the cache is
free (rate-limits page, October 2026). Where the part that all rows share is read from the cache, only the bytes of the
row's own part say anything of what a request takes.
"""

from __future__ import annotations

from runner.types import Request, Usage

_FIRST_TOKENS_A_BYTE = 1 / 3
"""Until a reply says better; English has about one token in three to four bytes."""
_FIRST_OUTPUT = 200.0
_FADE = 0.98
"""Means over about the last fifty replies: rows of a kind often stand together."""
_NEAR = 0.05


class Costs:
    """One per run."""

    def __init__(self) -> None:
        self._shared_is_cached = False
        self._counted = 0.0
        self._weight = 0.0
        self.tokens_a_byte = _FIRST_TOKENS_A_BYTE
        self.input = 0.0
        """Of a request, on the mean of those that left lately."""
        self.output = _FIRST_OUTPUT
        self._replies = 0

    def expect(self, request: Request) -> float:
        """Input tokens that a request will take; it goes into the mean."""
        tokens = self._weight_of(request) * self.tokens_a_byte
        self.input += _NEAR * (tokens - self.input) if self.input else tokens
        return tokens

    def learn(self, request: Request, usage: Usage) -> None:
        """Take note of what a request really took."""
        counted = counted_input(usage)
        if usage.cache_read_input_tokens and not self._shared_is_cached:
            self._shared_is_cached = True
            self._counted = self._weight = self.input = 0.0  # these were of whole bodies
        self._counted = _FADE * self._counted + counted
        self._weight = _FADE * self._weight + self._weight_of(request)
        if self._weight:
            self.tokens_a_byte = self._counted / self._weight
        self._replies += 1
        self.output += max(_NEAR, 1 / self._replies) * (usage.output_tokens - self.output)

    def _weight_of(self, request: Request) -> int:
        """The bytes of a request that count."""
        size = len(request.body)
        return size - request.shared_bytes if self._shared_is_cached else size


def counted_input(usage: Usage) -> int:
    """The input tokens that count towards the limit: cache writes do, cache reads do not."""
    return usage.input_tokens + usage.ephemeral_5m_input_tokens + usage.ephemeral_1h_input_tokens
