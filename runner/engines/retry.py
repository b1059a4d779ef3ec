"""When a failed attempt may be made again: pure arithmetic on counts and seconds.

Owns   the retry policy of a run. Whether a failure is retryable at all was decided in `providers.failures`.
Knows  no clock and no randomness of its own: the caller draws.

Full jitter (a uniform draw between 0 and the exponential ceiling) spreads the rows that failed together; a server's
`retry-after` is the floor under it, so that they do not come back together either. Source: AWS Architecture Blog,
"Exponential Backoff And Jitter" (2015); the names are Temporal's.
"""

from __future__ import annotations

from msgspec import Struct

from runner.types import Failure

MAX_RETRY_AFTER_S = 300.0
"""The longest `retry-after` that is believed: servers have been seen to ask for days."""


FREE_REFUSALS = 30
"""How often a row may meet a rate limit before that counts as a try: at even odds, which only others who use the same
key without regard could cause, one row in a thousand million meets it so often."""
FREE_CONNECTIONS = 1_000
"""How many attempts a row may have had before a connection that did not come to stand counts as a try. Not for the sake
of the network, over whose outage the run stops long before: so that no row comes back for ever."""


class RetryPolicy(Struct, frozen=True):
    """`max_attempts` counts the first one; intervals are in seconds."""

    max_attempts: int = 5
    initial_interval_s: float = 0.5
    backoff_coefficient: float = 2.0
    maximum_interval_s: float = 60.0

    def allows(self, failure: Failure, tries: int) -> bool:
        """Whether a step that has failed `tries` times, last with `failure`, may be tried once more."""
        return failure.retryable and tries < self.max_attempts

    def ceiling_s(self, tries: int) -> float:
        """The longest backoff after `tries` failed attempts (from 1)."""
        try:
            interval = self.initial_interval_s * self.backoff_coefficient ** max(0, tries - 1)
        except OverflowError:
            return self.maximum_interval_s
        return min(interval, self.maximum_interval_s)

    def delay_s(self, tries: int, retry_after_s: float | None, draw: float) -> float:
        """How long to wait after `tries` failed attempts; `draw` is uniform in [0, 1)."""
        return clamp_retry_after(retry_after_s) + draw * self.ceiling_s(tries)


def counts_as_try(failure: Failure | None, attempts: int) -> bool:
    """Whether an attempt counts towards `max_attempts`, after so many earlier ones: a 429 says nothing about the row,
    nor does a connection that never stood, but a row does not come back for ever."""
    if failure is None or not failure.retryable:
        return True
    if failure.kind == "rate_limit_error":
        return attempts >= FREE_REFUSALS
    return not never_left(failure) or attempts >= FREE_CONNECTIONS


def never_left(failure: Failure) -> bool:
    """Whether no connection came to stand, so that nothing of the request was sent."""
    return failure.kind == "connection_error" and failure.http_status is None and not failure.may_be_billed


def clamp_retry_after(retry_after_s: float | None) -> float:
    """A server's wish within [0, MAX_RETRY_AFTER_S]; 0 where it has none."""
    return min(max(retry_after_s or 0.0, 0.0), MAX_RETRY_AFTER_S)
