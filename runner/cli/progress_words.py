"""Where a run stands, in words: the pieces that a live block and plain lines are made of.

Knows  the tally's values. Every text in them came through `terminal.plain_text` there.
"""

from __future__ import annotations

from runner.cli.batch_tally import batch_words
from runner.cli.tally import Notice, Progress
from runner.cli.terminal import duration, ranked, share, usd


def said(notice: Notice) -> str:
    if notice.progress is None:
        return notice.text
    return f"{notice.text}: {line(notice.progress)}, in {duration(notice.progress.elapsed_s)}"


def line(progress: Progress) -> str:
    """All of it in one line."""
    parts = [f"{progress.done:,}/{progress.total:,} rows ({share(progress.done, progress.total)})"]
    if not progress.ended:
        parts += under_way(progress)
    parts += [*tokens(progress), cost(progress), *troubles(progress)]
    if not progress.ended and progress.left_s is not None:
        parts.append(f"{duration(progress.left_s)} left")
    return ", ".join(part for part in parts if part)


def under_way(progress: Progress) -> list[str]:
    """What is being waited for: requests in flight, and batches, of which nothing is known until they have ended."""
    at_api = progress.at_api
    if at_api is None:
        return [f"{progress.in_flight:,} in flight", _rate(progress)]
    in_flight = [f"{progress.in_flight:,} in flight", _rate(progress)] if progress.in_flight else []
    return [*in_flight, *batch_words(at_api)]


def _rate(progress: Progress) -> str:
    return f"{progress.rows_per_s:,.1f} rows/s" if progress.rows_per_s is not None else ""


def tokens(progress: Progress) -> list[str]:
    if not progress.prompt_tokens:
        return []
    cached = share(progress.cached_tokens, progress.prompt_tokens)
    return [f"tokens {progress.prompt_tokens:,} in, {progress.output_tokens:,} out", f"{cached} from cache"]


def cost(progress: Progress) -> str:
    text = f"cost {usd(progress.cost_pico)}"
    if progress.cap_pico is not None:
        text += f" of {usd(progress.cap_pico)} ({share(progress.cost_pico, progress.cap_pico)})"
    return f"{text} and {progress.unpriced:,} of unknown price" if progress.unpriced else text


def troubles(progress: Progress) -> list[str]:
    parts = []
    if progress.reused:
        parts.append(f"{progress.reused:,} reused")
    if progress.failures:
        what = "rows" if progress.samples == 1 else "samples"
        parts.append(f"failed {what} {ranked(progress.failures)}")
    if progress.retried:
        parts.append(f"failed attempts {ranked(progress.retried)}")
    if progress.cooling_s > 0 and not progress.ended:
        parts.append(f"waiting {duration(progress.cooling_s)} ({progress.cooling_reason})")
    elif progress.held and not progress.ended:
        parts.append(progress.held)
    return parts
