"""What a request will take of the limits, as learned from the replies so far.

Owns   the running means: input tokens a byte, output tokens a reply.
Knows  sizes and usages. Nothing of pace.

Counted as input is what the API counts: tokens that were not cached, and cache writes; what is read from the cache is
free (rate-limits page, October 2026). Of a request with a cached prefix only the bytes behind the part that all rows
share say anything of its own tokens: that part is written once and then read. Writes are a mean of their own, which the
one large write of a shared part leaves quickly.
"""

from __future__ import annotations

from runner.types import Request, Usage

_FIRST_TOKENS_A_BYTE = 1 / 3
"""Until a reply says better; English has about one token in three to four bytes."""
_BYTES_FOR_A_TOKEN = 3
_FIRST_OUTPUT = 200.0
_FADE = 0.98
"""Means over about the last fifty replies: rows of a kind often stand together."""
_NEAR = 0.05
_NEAR_WRITES = 0.1


class Costs:
    """One per run."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._bytes = 0.0
        self._written = 0.0
        self.tokens_a_byte = _FIRST_TOKENS_A_BYTE
        self.input = 0.0
        """Of a request, on the mean of those that left lately."""
        self.output = _FIRST_OUTPUT
        self._replies = 0

    def expect(self, request: Request) -> float:
        """Input tokens that a request will take; it goes into the mean."""
        if _is_warm_up(request):
            return _bytes(request) * self.tokens_a_byte
        tokens = _own_bytes(request) * self.tokens_a_byte + self._written
        self.input += _NEAR * (tokens - self.input) if self.input else tokens
        return tokens

    def learn(self, request: Request, usage: Usage) -> None:
        """Take note of what a request really took. A warm-up says nothing of the rows."""
        if _is_warm_up(request):
            return
        self._tokens = _FADE * self._tokens + usage.input_tokens
        self._bytes = _FADE * self._bytes + _own_bytes(request)
        if self._bytes:
            self.tokens_a_byte = self._tokens / self._bytes
        self._replies += 1
        first = 1 / self._replies
        self._written += max(_NEAR_WRITES, first) * (usage.cache_creation_input_tokens - self._written)
        self.output += max(_NEAR, first) * (usage.output_tokens - self.output)


def _is_warm_up(request: Request) -> bool:
    return request.max_tokens == 0


def _own_bytes(request: Request) -> int:
    if not request.prefix:
        return _bytes(request)
    silent, tokens = request.shared_silent_bytes, request.shared_media_tokens
    return _bytes(request) - (request.shared_bytes - silent + _BYTES_FOR_A_TOKEN * tokens)


def _bytes(request: Request) -> int:
    """Bytes that say something of tokens; those of images and PDFs in base64 do not, their tokens stand for them."""
    return len(request.body) - request.silent_bytes + _BYTES_FOR_A_TOKEN * request.media_tokens


def counted_input(usage: Usage) -> int:
    """The input tokens that count towards the limit: cache writes do, cache reads do not."""
    return usage.input_tokens + usage.cache_creation_input_tokens
