"""Judging: does a reply answer its request?

Owns   the one table from stop reasons to what they mean, and the order of the questions: a reply that was cut off or
       refused is never looked at for validity, so truncation wins over an invalid output.
Knows  replies and the local check. Whether to ask again is not decided here (`replies.asking`).

Source of the stop reasons: platform.claude.com build-with-claude/handling-stop-reasons and the SDK's
       `types/stop_reason.py`
(2.12). Words that this table does not know are failures: what they mean for the text is unknown.
"""

from __future__ import annotations

from runner.replies.extract import has_text
from runner.replies.reply_check import ReplyCheck
from runner.types import Failure, Reply, Row

_COMPLETE = frozenset({"end_turn", "stop_sequence"})

_CUT_OFF = {
    "max_tokens": "the reply was cut off at max_tokens",
    "model_context_window_exceeded": "the reply was cut off at the end of the model's context window",
}
_NOT_AN_ANSWER = {
    "pause_turn": "the model paused a long turn of server tools and has not answered yet",
    "tool_use": "the model asks for a tool instead of answering",
}


def judge_reply(reply: Reply, check: ReplyCheck | None, row: Row | None = None) -> Failure | None:
    """Why a reply is no answer, or None where it is one. `row` is asked for by checks that need it.

    Kinds: `truncated`, `refusal` (with the API's category), `schema_mismatch` (no output in it, not what the schema
    says, a rule that does not hold), `unexpected_reply` (no text, a tool call, a paused turn, a stop reason that is not
    known). None of them is retryable: the same request would be answered alike.
    """
    stop_reason = reply.stop_reason
    if stop_reason not in _COMPLETE:
        if stop_reason in _CUT_OFF:
            return Failure("truncated", _CUT_OFF[stop_reason], request_id=reply.request_id)
        if stop_reason == "refusal":
            return _refusal(reply)
        unknown = f"the reply ended with stop reason {stop_reason!r}, which is not known"
        message = _NOT_AN_ANSWER.get(stop_reason or "", unknown)
        return Failure("unexpected_reply", message, request_id=reply.request_id)
    if not has_text(reply.content):
        return Failure("unexpected_reply", "the reply has no text", request_id=reply.request_id)
    problems = check.problems(reply, row) if check is not None else ()
    return Failure("schema_mismatch", "; ".join(problems), request_id=reply.request_id) if problems else None


def is_no_whole_answer(stop_reason: str | None) -> bool:
    """Whether a reply was cut off or refused."""
    return stop_reason == "refusal" or stop_reason in _CUT_OFF


def _refusal(reply: Reply) -> Failure:
    details = reply.stop_details or {}
    category, explanation = (
        value if isinstance(value, str) else None for value in (details.get("category"), details.get("explanation"))
    )
    message = "the model refused" + (f" ({category})" if category else "") + (f": {explanation}" if explanation else "")
    return Failure("refusal", message, category=category, request_id=reply.request_id)
