"""The summary at a run's end: a person's, or one JSON object a job; and the worst of several exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from runner import execution
from runner.cli.arguments import OutputFormat
from runner.cli.terminal import duration, plain_text, share, usd
from runner.encoding import encode_text, printable
from runner.errors import RunnerError, render

_BAD_TO_GOOD = (1, 2, 3, 4, 5, 6, 0)
"""Several jobs end with the worst (interface, section 5); an interruption comes before all of them."""


def worst(statuses: Sequence[int]) -> int:
    signalled = [status for status in statuses if status > 128]
    if signalled:
        return signalled[0]
    return next((status for status in _BAD_TO_GOOD if status in statuses), 0)


def tell(error: RunnerError) -> None:
    """Show an error on stderr; what it quotes of data or templates is made harmless."""
    print(plain_text(render(error), lines=True), file=sys.stderr)


def print_summary(summary: execution.Summary, output: OutputFormat, summary_file: Path | None = None) -> None:
    """To stdout, or to stderr where a sink has written its records to stdout."""
    line = printable(encode_text(summary.to_dict()))
    if summary_file is not None:
        summary_file.write_text(line + "\n", encoding="utf-8")
    if output is OutputFormat.json:
        print(line)
        return
    to_stdout = any(sink.kind == "stdout" for sink in summary.sinks)
    print("\n".join(lines(summary)), file=sys.stderr if to_stdout else sys.stdout)


def lines(summary: execution.Summary) -> list[str]:
    """What a person wants to know, most important first."""
    shown = [_headline(summary)]
    shown += [f"  {name:<9}{value}" for name, value in _facts(summary) if value]
    if summary.stopped_by is not None:
        shown.append(f"  stopped: {plain_text(summary.stopped_by.message)}")
        if summary.stopped_by.hint:
            shown.append(f"  {plain_text(summary.stopped_by.hint)}")
    if summary.resume is not None:
        shown.append(f"  go on with: {summary.resume}")
    return shown


def _headline(summary: execution.Summary) -> str:
    counts = summary.counts
    name = f"{summary.job} ({summary.run_id}{', simulated' if summary.simulated else ''})"
    if summary.nothing_to_do:
        return f"{name}: nothing to do, every row has its answer"
    done = f"{counts.succeeded:,} of {counts.total:,} rows succeeded"
    return f"{name}: {summary.status}, {done}, {summary.mode}, {duration(summary.elapsed_s)}"


def _facts(summary: execution.Summary) -> list[tuple[str, str]]:
    counts, money, usage = summary.counts, summary.money, summary.usage
    failed = ", ".join(
        f"{number:,} {kind}" for kind, number in sorted(counts.failures.items(), key=lambda item: -item[1])
    )
    others = ", ".join(
        f"{number:,} {word}"
        for number, word in ((counts.expired, "expired"), (counts.canceled, "canceled"), (counts.open, "open"))
        if number
    )
    return [
        ("failed", f"{counts.failed:,} ({failed})" if counts.failed else ""),
        ("others", others),
        ("reused", f"{counts.reused:,} answers that were paid for before" if counts.reused else ""),
        (
            "requests",
            f"{counts.requests:,} in {counts.attempts:,} attempts"
            if counts.attempts > counts.requests
            else f"{counts.requests:,}",
        ),
        ("tokens", _tokens(usage.prompt_tokens, usage.cache_read_input_tokens, usage.output_tokens)),
        ("cost", _cost(money.spent, money.unpriced, summary.estimated_cost_pico)),
        ("in doubt", f"up to {usd(money.doubtful)} for requests whose reply never came" if money.doubtful else ""),
        *[("sink", _sink(sink.state, sink.target, sink.records, sink.error)) for sink in summary.sinks],
        *[("warning", plain_text(warning)) for warning in summary.warnings],
    ]


def _tokens(prompt: int, cached: int, output: int) -> str:
    if not prompt and not output:
        return ""
    read = f" ({share(cached, prompt)} read from the cache)" if cached else ""
    return f"{prompt:,} in{read}, {output:,} out"


def _cost(spent_pico: int, unpriced: int, estimated_pico: int | None) -> str:
    if unpriced:
        return f"{usd(spent_pico)}, and {unpriced:,} replies whose price is not known"
    estimate = f" (estimated {usd(estimated_pico)})" if estimated_pico is not None else ""
    return f"{usd(spent_pico)}{estimate}"


def _sink(state: str, target: str, records: int, error: str | None) -> str:
    if state == "delivered":
        return f"{plain_text(target)}: {records:,} records"
    return f"{plain_text(target)}: not delivered{f' ({plain_text(error)})' if error else ''}"
