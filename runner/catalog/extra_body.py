"""`params.extra_body`: keys of a request's body that nothing here knows.

Owns   which keys have no place there, and the warning that goes with the rest.
Knows  names. What passes is sent as it is, and is part of a request's identity.

What runner itself puts into a body would be overwritten, and what `params` takes would pass by its checks and its
price. A cap bounds what runner knows to cost something, so that keys which are known to change a bill are refused under
one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from runner.catalog.shapes import ParamProblem

_KEY_OF_THE_JOB = "write `{}` as the job's own key, or leave it out"
RUNNERS_OWN: Mapping[str, str] = {
    **{name: _KEY_OF_THE_JOB.format(name) for name in ("model", "messages", "system", "tools")},
    "stream": "leave it out: runner streams where a reply may be long",
    "tool_choice": "write `params.tool_choice`",
    "cache_control": "write `cache: true` on the last block that rows share",
}
"""What runner sets, and where a job says it."""

_CHANGES_THE_BILL = frozenset(
    {"billing_policy", "compaction", "container", "fallbacks", "fallback_credit_token", "mcp_servers", "thread"}
)
"""Parameters with which a request costs what its own size and `max_tokens` do not bound."""


def extra_body_problems(value: Mapping[Any, Any], taken: Collection[str], *, capped: bool) -> Iterator[ParamProblem]:
    """What is wrong with an `extra_body`, and a warning where it is sent. `taken`: the names that `params` takes."""
    passed = []
    for name in value:
        path = ("extra_body", name)
        if name in RUNNERS_OWN:
            message = f"`{name}` is what runner itself sends, so it cannot be passed beside it"
            yield ParamProblem(path, "wrong-place", message, RUNNERS_OWN[name])
        elif name in taken:
            yield ParamProblem(
                path, "wrong-place", f"`{name}` is a parameter that is checked", f"write `params.{name}`"
            )
        elif capped and name in _CHANGES_THE_BILL:
            message = f"with `{name}` a request may cost more than the cap can know beforehand"
            yield ParamProblem(path, "unbounded-cost", message, "take it out, or the cap (`limits.max_cost_usd`)")
        else:
            passed.append(f"`{name}`")
    if passed:
        what = ", ".join(passed)
        hint = "the API refuses keys that it does not know, with every row; try one row first: `runner try`"
        yield ParamProblem(("extra_body",), "extra-body", f"{what} is sent without a check", hint, "warning")
