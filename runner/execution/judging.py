"""What becomes of a step once its outcome is durable: the judge, and the retry policy, as one pure rule.

Owns   the composition of `replies` (what a reply is worth) and `engines.retry` (how often).
Knows  nothing of files, threads or the network; the same outcome gives the same ruling on every machine, which is
       what lets an outcome found in the spool after a crash be ruled on later.
"""

from __future__ import annotations

from collections.abc import Callable

from runner.engines import Accept, Ask, Fail, Judge, Verdict
from runner.engines.retry import RetryPolicy
from runner.ledger import Rule, Ruling
from runner.replies.asking import NEVER, Asking
from runner.replies.judge import judge_reply
from runner.replies.reply_check import ReplyCheck
from runner.rounds import CallTools, GoOn, NextTurn, next_turn
from runner.types import Failure, Outcome, Reply, Row, Step

PASSING = frozenset(
    {
        "connection_error",
        "timeout",
        "rate_limit_error",
        "api_error",
        "overloaded_error",
        "timeout_error",
        "conflict_error",
    }
)
"""Error kinds that say nothing about the request: a later run sends such rows again."""


_ACCEPT = Accept()
_SUCCEEDED = Ruling("succeeded")
"""Nearly all verdicts and rulings, by the hundred thousand: made once."""


RowOf = Callable[[int], Row]
"""A run's row by its number, from whatever thread asks."""


def make_judge(
    check: ReplyCheck | None, asking: Asking = NEVER, turns: int = 0, *, row_of: RowOf | None = None
) -> Judge:
    """The judge of one job: what it asks of a reply, what it wants done about one that is no answer, and how many
    further turns there are, are all it knows. What a reply must look like is said of the last turn's. `row_of` is asked
    where a rule of the job looks at the row, and only then."""
    if check is None or not check.needs_row:
        row_of = None

    def judge(step: Step, reply: Reply) -> Verdict:
        if step.turn < turns:
            return _before_the_last(step, reply)
        row = row_of(step.row) if row_of is not None else None
        failure = judge_reply(reply, check, row)
        return _ACCEPT if failure is None else _of_no_answer(step, reply, failure, row)

    def _of_no_answer(step: Step, reply: Reply, failure: Failure, row: Row | None) -> Verdict:
        if asking.keeps(failure):
            return _ACCEPT
        invalid = check is not None and failure.kind == "schema_mismatch"
        problems = check.problems(reply, row) if check is not None and invalid else ()
        asked = asking.after(step, reply, failure, problems)
        if asked is None:
            return Fail(asking.in_the_end(reply, failure))
        # A reply that calls for tools is as it should be; any other that is asked about again has something wrong.
        return Ask(asked.step, asked.why, None if isinstance(asked.why, GoOn | CallTools) else failure)

    def _before_the_last(step: Step, reply: Reply) -> Verdict:
        failure = judge_reply(reply, None)
        if failure is not None and not asking.keeps(failure):
            return _of_no_answer(step, reply, failure, None)
        following = next_turn(step)
        return Ask(following, NextTurn(following.turn))

    return judge


def make_rule(judge: Judge, retry: RetryPolicy, *, uploads: bool = False) -> Rule:
    """Compose the judge and the retry policy into the rule that the ledger applies to every outcome.

    With `uploads` the run sends the files itself that its requests name: one that is gone is sent again, and the row
    with it, in the next pass.
    """

    def rule(outcome: Outcome) -> Ruling:
        if outcome.step.row < 0:
            return _of_no_row(outcome)
        if outcome.reply is not None:
            return _ruling(judge(outcome.step, outcome.reply))
        failure = outcome.failure
        assert failure is not None, "an outcome has a reply or a failure"
        if outcome.end == "canceled":
            # Nobody worked on it, so it says nothing about the row; whose cancel it was is in `retryable`.
            return Ruling("open" if failure.retryable and not outcome.reused else "canceled", failure)
        if _try_again(outcome, failure, retry, uploads=uploads):
            return Ruling("open", failure)
        return Ruling("expired" if outcome.end == "expired" else "failed", failure)

    return rule


def _of_no_row(outcome: Outcome) -> Ruling:
    """A warm-up is asked for nothing, so any reply will do; one that failed is not tried again, since a row can do
    the same."""
    return _SUCCEEDED if outcome.failure is None else Ruling("failed", outcome.failure)


def _try_again(outcome: Outcome, failure: Failure, retry: RetryPolicy, *, uploads: bool) -> bool:
    # A job-scope failure (bad key, spend limit) says nothing about the row: it waits for the next run.
    if outcome.reused:
        return False
    again = failure.retryable or (uploads and is_gone_file(failure))
    return failure.scope == "job" or (again and outcome.tries < retry.max_attempts)


def is_gone_file(failure: Failure) -> bool:
    """Whether a request named a file that the API does not have (any more): the only thing whose absence is one
    row's."""
    return failure.kind == "not_found_error" and failure.scope == "row"


def _ruling(verdict: Verdict) -> Ruling:
    match verdict:
        case Accept():
            return _SUCCEEDED
        case Ask(step, _, failure):
            return Ruling("open", failure, step)
        case Fail(failure):
            return Ruling("failed", failure)


def is_passing(failure: Failure | None) -> bool:
    """Whether a later run may expect another answer to the same request."""
    return failure is not None and failure.kind in PASSING
