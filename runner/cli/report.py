"""What people read of runs and plans, most important first; and the worst of several exit statuses.

Owns   the words of the summary at a run's end, which `show` has too, of a plan and of an error.
Knows  summaries and plans as values. All text that comes from data, templates or the API passes `plain_text` here.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from runner import execution
from runner.cli.arguments import OutputFormat
from runner.cli.batch_report import batch_facts
from runner.cli.failure_report import what_next, why_failed
from runner.cli.terminal import counted, duration, labelled, plain_text, share, usd, wrapped
from runner.encoding import encode_text, printable
from runner.errors import RunnerError, render
from runner.execution import standing
from runner.ledger import Delivery

if TYPE_CHECKING:  # the planning of jobs loads Jinja, which `--help` has no use for
    from runner.planning.priming import CacheBill

_BAD_TO_GOOD = (1, 2, 3, 4, 5, 6, 0)
"""Several jobs end with the worst (docs/reliability.md, "Exit status"); an interruption comes before all of them."""


def worst(statuses: Sequence[int]) -> int:
    signalled = [status for status in statuses if status > 128]
    if signalled:
        return signalled[0]
    return next((status for status in _BAD_TO_GOOD if status in statuses), 0)


def tell(error: RunnerError) -> None:
    """Show an error on stderr; what it quotes of data or templates is made harmless."""
    print(plain_text(render(error), lines=True), file=sys.stderr)


def print_summary(summary: execution.Summary, output: OutputFormat) -> None:
    """To stdout, or to stderr where a sink has written its records to stdout."""
    if output is OutputFormat.json:
        print(as_json(summary))
        return
    stream = sys.stderr if any(sink.kind == "stdout" for sink in summary.sinks) else sys.stdout
    print("\n".join(lines(summary, width_of(stream))), file=stream)


def as_json(summary: execution.Summary) -> str:
    return printable(encode_text(summary.to_dict()))


def width_of(stream: TextIO) -> int | None:
    """How wide lines for people may be; None where they go to no terminal."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def lines(summary: execution.Summary, width: int | None = None) -> list[str]:
    """What a person wants to know, most important first."""
    facts = _of_nothing(summary) if summary.nothing_to_do else _facts(summary)
    told = [line for label, text in facts if text for line in labelled(label, plain_text(text), width)]
    return [*wrapped(_headline(summary), width), *told]


def _headline(summary: execution.Summary) -> str:
    counts = summary.counts
    if summary.nothing_to_do:
        what = "every row has its answer" if counts.succeeded == counts.total else "no row would be sent"
        return f"{summary.job}: nothing to do, {what}"
    name = f"{summary.job} ({summary.run_id}{', simulated' if summary.simulated else ''})"
    done = f"{counts.succeeded:,} of {counted(counts.total, 'row')} succeeded"
    return f"{name}: {summary.status}, {done}, {summary.mode}, {duration(summary.elapsed_s)}"


Facts = list[tuple[str, str]]
"""Labels and texts; an empty text is left out."""


def _of_nothing(summary: execution.Summary) -> Facts:
    """No run was made: what there is of the last one."""
    stays = "they stay as they are until their request changes, or `runner retry`"
    return [
        ("last run", summary.run_id),
        *why_failed(summary),
        ("", stays if summary.counts.failed else ""),
        *_sinks(summary),
        *_labelled_once("go on", what_next(summary)),
    ]


def _labelled_once(label: str, texts: Sequence[str]) -> Facts:
    return [(label if not number else "", text) for number, text in enumerate(texts)]


def _facts(summary: execution.Summary) -> Facts:
    counts, money, usage, stopped = summary.counts, summary.money, summary.usage, summary.stopped_by
    earlier = counts.reused - counts.shared
    # A finished run's attempts are settled; what an ended one still has reserved is for replies that nobody awaits,
    # unless it is for batches, which are told apart.
    at_work = summary.status == "running" or any(batch.state not in standing.OVER for batch in summary.batches)
    doubtful = money.doubtful + (0 if at_work else money.reserved)
    requests = f"{counts.requests:,}" + (
        f" in {counts.attempts:,} attempts" if counts.attempts > counts.requests else ""
    )
    canceled = summary.status == "canceled"
    by_signal = summary.status == "interrupted"  # which the headline has said
    resume = [f"{summary.resume}, or run the job again"] if summary.resume is not None else []
    return [
        *why_failed(summary),
        ("expired", f"{counts.expired:,}" if counts.expired else ""),
        ("canceled", f"{counts.canceled:,}" if counts.canceled else ""),
        ("open", f"{counts.open:,}" if counts.open else ""),
        ("reused", f"{counted(earlier, 'answer')} paid for before" if earlier else ""),
        ("shared", f"{counted(counts.shared, 'row')} of the same request as another" if counts.shared else ""),
        ("requests", requests),
        ("tokens", _tokens(usage.prompt_tokens, usage.cache_read_input_tokens, usage.output_tokens)),
        ("cost", _cost(money.spent, money.unpriced, summary.estimated_cost_pico)),
        ("cache", _cache(summary.cache)),
        ("warm-up", f"{usd(money.overhead)} for filling the cache before the rows" if money.overhead else ""),
        ("in doubt", f"up to {usd(doubtful)} for requests whose reply never came" if doubtful else ""),
        *batch_facts(summary),
        *_sinks(summary),
        ("sinks", f"not written; `runner export {summary.run_id}` writes what there is" if canceled else ""),
        *[("warning", warning) for warning in summary.warnings],
        (
            "waiting" if summary.status == "waiting" else "stopped",
            stopped.message if stopped is not None and not by_signal else "",
        ),
        ("", stopped.hint or "" if stopped is not None and not by_signal else ""),
        *_labelled_once("go on", [*resume, *what_next(summary)]),
    ]


def _tokens(prompt: int, cached: int, output: int) -> str:
    if not prompt and not output:
        return ""
    read = f" ({share(cached, prompt)} read from the cache)" if cached else ""
    return f"{prompt:,} in{read}, {output:,} out"


def _cache(bill: CacheBill | None) -> str:
    """What was written and read, and what that saved against plain input."""
    if bill is None:
        return ""
    written = f"{bill.written_tokens:,} tokens written for {usd(bill.written_pico)}"
    read = f"{bill.read_tokens:,} read for {usd(bill.read_pico)}"
    what = "saved" if bill.saved_pico >= 0 else "cost more than without a cache by"
    return f"{written}, {read}; {what} {usd(abs(bill.saved_pico))}"


def _cost(spent_pico: int, unpriced: int, estimated_pico: int | None) -> str:
    if unpriced:
        return f"{usd(spent_pico)}, and {counted(unpriced, 'reply', 'replies')} of unknown price"
    estimate = f" (estimated {usd(estimated_pico)})" if estimated_pico is not None else ""
    return f"{usd(spent_pico)}{estimate}"


def _sinks(summary: execution.Summary) -> Facts:
    return [("sink", sink_text(sink)) for sink in summary.sinks]


def sink_text(sink: Delivery) -> str:
    if sink.state == "delivered":
        return f"{sink.target}: {counted(sink.records, 'record')}"
    if sink.state == "pending" and not sink.error:
        return f"{sink.target}: {counted(sink.records, 'record')} so far"
    return f"{sink.target}: not delivered{f': {sink.error}' if sink.error else ''}"


def plan_lines(planned: execution.Plan, width: int | None = None) -> list[str]:
    """What a run would send and cost."""
    head = f"{planned.job}: {planned.model}, {planned.mode} mode, because {planned.why}"
    told = [line for label, text in _plan_facts(planned) if text for line in labelled(label, plain_text(text), width)]
    return [*wrapped(head, width), *told]


def _plan_facts(planned: execution.Plan) -> Facts:
    estimate, unsendable = planned.estimate, sum(planned.unsendable.values())
    rows = f"{planned.rows:,}: {planned.new:,} new, {planned.changed:,} changed, {planned.reused:,} reused"
    upper = "unbounded" if estimate.input_tokens_upper is None else f"at most {estimate.input_tokens_upper:,}"
    output = f"about {estimate.output_tokens:,} out (at most {estimate.output_tokens_upper:,})"
    waits = f"run {planned.unfinished} of this job is unfinished; `runner run` goes on with it"
    twins = f", {planned.twins:,} of the same request as another" if planned.twins else ""
    return [
        ("rows", rows + twins + (f", {unsendable:,} that cannot be sent" if unsendable else "")),
        ("requests", f"{estimate.requests:,}{_plan_rounds(estimate.tool_rounds)}"),
        ("tokens", f"about {estimate.input_tokens:,} in ({upper}), {output}"),
        *[
            ("cost", f"{_usd(cost.expected)} expected, {_usd(cost.upper)} at most, in {mode} mode")
            for mode, cost in estimate.cost.items()
        ],
        *_plan_further(planned),
        *_plan_batches(planned),
        *_plan_cache(planned),
        *_plan_uploads(planned),
        ("cap", usd(planned.cap_pico) if planned.cap_pico is not None else "none (limits.max_cost_usd)"),
        ("prices", planned.prices),
        *[("failing", failure.message) for failure in planned.first_unsendable],
        *([("note", waits)] if planned.unfinished else []),
    ]


def _plan_further(planned: execution.Plan) -> Facts:
    """What may come on top where replies are no answer."""
    further = planned.further
    if further is None:
        return []
    most = f"{_usd(further.cost[planned.mode])} at most"
    number = f"up to {counted(further.requests, 'request')}"
    return [("further", f"{number} on top, where a reply is no answer, {most}, in {planned.mode} mode")]


def _plan_rounds(tool_rounds: int) -> str:
    return f", and up to {tool_rounds} more for each row that calls for tools" if tool_rounds else ""


def _plan_cache(planned: execution.Plan) -> Facts:
    """How the cache is filled in parallel mode."""
    warm_up, own = planned.warm_up, planned.estimate.row_prefixes
    if warm_up is None:
        return []
    each = f"{counted(own, 'different prefix', 'different prefixes')} of the rows' own, each written by its first row"
    return [
        ("warm-up", f"{'yes' if warm_up.pays else 'no'}: {warm_up.why}"),
        ("cache", each if own else ""),
    ]


def _plan_uploads(planned: execution.Plan) -> Facts:
    uploads = planned.uploads
    if uploads is None:
        return []
    number = f"{'at least ' if uploads.at_least else ''}{counted(uploads.files, 'file')}"
    size = f"{uploads.size_bytes / 1e6:,.1f} MB"
    return [("uploads", f"{number}, {size}" + (f"; {uploads.known:,} are at the API already" if uploads.known else ""))]


def _plan_batches(planned: execution.Plan) -> Facts:
    """What batch mode adds to a plan."""
    priming = planned.priming
    if priming is None:
        return []
    requests, cap, at_once = planned.estimate.requests, planned.cap_pico, planned.all_at_once_pico
    first = "1 of a single request first, then " if priming.pays else ""
    queue = f"takes {planned.queue_requests:,} requests at once; the others wait until batches have ended"
    waits = f"batches wait for one another under this cap; from {_usd(at_once)} on all can go at once"
    return [
        ("batches", f"{first}{planned.estimate.batches:,}{_in_waves(planned.estimate.waves)}"),
        ("priming", f"{'yes' if priming.pays else 'no'}: {priming.why}"),
        ("queue", queue if requests > planned.queue_requests else ""),
        ("note", waits if cap is not None and at_once is not None and cap < at_once else ""),
    ]


def _in_waves(waves: int) -> str:
    """Each turn's batches wait for those of the turn before."""
    return f" in {waves} waves, one a turn" if waves > 1 else ""


def _usd(pico: int | None) -> str:
    return "unknown" if pico is None else usd(pico)
