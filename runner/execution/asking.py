"""What a job wants done about replies that are no answer, taken from its models.

Owns   which keys of a job become which part of an `Asking`.
Knows  the loaded job. Light: `check` asks too, and loads no validator for it.
"""

from __future__ import annotations

from msgspec.structs import replace

from runner.replies.asking import NEVER, Asking
from runner.spec.load import LoadedJob
from runner.spec.reply import LargerLimits, OtherModel


def asking_of(loaded: LoadedJob) -> Asking:
    """What a job wants done about replies that are no answer. One that says what an answer is has each mended once,
    if need be."""
    tools = _tools_of(loaded)
    output = loaded.job.output
    if output is None:
        return tools
    is_checked = loaded.schema is not None or output.extract is not None or bool(output.rules)
    cut_off, refused = output.on_truncation, output.on_refusal
    return replace(
        tools,
        repairs=output.repair if output.repair is not None else int(is_checked),
        limits=cut_off.max_tokens if isinstance(cut_off, LargerLimits) else (),
        models=(refused.model,) if isinstance(refused, OtherModel) else (),
        keeps_truncated=cut_off == "keep",
        keeps_refused=refused == "keep",
    )


def _tools_of(loaded: LoadedJob) -> Asking:
    if not loaded.tools:
        return NEVER
    calls = any(tool.python is not None for tool in loaded.tools)
    goes_on = any(tool.python is None for tool in loaded.tools)
    return Asking(goes_on=goes_on, calls=calls, tool_rounds=loaded.job.limits.max_tool_rounds)
