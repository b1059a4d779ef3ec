"""Misbehaviour on request: which request goes wrong, and how.

Owns   the errors that can be asked for, the rules that pick requests (by order, text, rate) and the deterministic draw.
Knows  a path and the bytes of a body. Carrying a fault out is the business of `messages`, `app` and the `batch…`
       modules.

A rate is drawn from the seed, the kind, the body and how often that body has come: it does not depend on the order in
which concurrent requests arrive, and a retry is a new draw.

Of batches, a rule names one of the places of `acts` instead of a path. A kind that means something at one place only is
looked for there unless a rule says otherwise. What is done to a batch as such (`BATCH`) adds up: every rule strikes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from runner.simulator.acts import BATCH_CREATE, BATCH_ROW, MESSAGES, Act
from runner.simulator.refusal import Refused

Contains = Callable[[bytes], bool]
"""Whether a request's body has these bytes in it."""


class _Error(Struct, frozen=True):
    status: int
    message: str
    error_code: str | None = None
    retry_after: str | None = None
    kind: str | None = None


_ERRORS: Mapping[str, _Error] = {
    "400": _Error(400, "Invalid request."),
    "401": _Error(401, "invalid x-api-key"),
    "402": _Error(402, "Your credit balance is too low to access the Anthropic API."),
    "403": _Error(403, "Your API key does not have permission to use the specified resource."),
    "404": _Error(404, "The requested resource was not found."),
    "408": _Error(408, "Request timed out."),
    "409": _Error(409, "The request conflicts with another one."),
    "412": _Error(412, "A precondition failed.", kind="invalid_request_error"),
    "413": _Error(413, "Request exceeds the maximum size."),
    "422": _Error(422, "The request could not be processed."),
    "429": _Error(429, "This request would exceed your organization's rate limit.", retry_after="1"),
    "431": _Error(431, "Request header fields too large.", kind="invalid_request_error"),
    "499": _Error(499, "Client closed request.", kind="invalid_request_error"),
    "500": _Error(500, "Internal server error"),
    "501": _Error(501, "Not implemented"),
    "502": _Error(502, "Bad gateway"),
    "503": _Error(503, "Service unavailable"),
    "504": _Error(504, "The request took too long."),
    "529": _Error(529, "Overloaded"),
    # A limit that an administrator set is told as a bad request (rate-limits page), the organisation's own as a 429.
    "usage_limit": _Error(400, "You have reached your specified API usage limits."),
    "workspace_usage_limit": _Error(400, "You have reached your specified workspace API usage limits."),
    "spend_limit": _Error(429, "Your organization has reached its spend limit.", "enforced_spend_limit_reached"),
    "contract_spend_limit": _Error(429, "The contract's spend limit is reached.", "contract_spend_limit_reached"),
    "ramp_limit": _Error(429, "Your traffic has grown too fast.", "ramp_limit_exceeded", "1"),
    "on_hold": _Error(400, "Your organization is on hold.", "organization_on_hold"),
    "billing_error": _Error(402, "Your credit balance is too low to access the Anthropic API."),
    "storage_full": _Error(400, "Your organization has used all of its file storage.", "storage_quota_exceeded"),
    "image_too_large": _Error(400, "An image is too large.", "image_dimensions_too_large"),
}

BAD_RETRY_AFTER = ("-5", "nan", "inf", "1e9", "86400", "soon", "Fri, 31 Dec 2099 23:59:59 GMT", "")
"""What the kind `bad_retry_after` sends, one after the other."""

_ACTS = frozenset(act.value for act in Act if act not in (Act.REFUSE, Act.REPLY_ERROR))
_REPLY_ERRORS = {f"reply_{status}": _ERRORS[status] for status in ("408", "429", "500", "502", "503", "504", "529")}
"""A create that was accepted and is answered with an error, as by a gateway in between."""

OFF_SCHEMA_TEXT = '{"unexpected":true}'
"""What `off_schema` and `invalid` answer: JSON that no closed schema takes."""
CUT_OFF_BELOW = 1_024
"""Tokens that an answer needs which `cut_off` strikes."""
_MAX_TOKENS = re.compile(rb'(?<!\\)"max_tokens":\s*(\d+)')

KINDS = frozenset(_ERRORS) | frozenset(_REPLY_ERRORS) | {"bad_retry_after"} | _ACTS


class Rule(Struct, frozen=True):
    """Which requests a fault hits. All conditions must hold; without any, every request is hit.

    `nth` counts the requests that match `path` and `text` since the rule was made, from 1. `rate` is drawn. `times`
    bounds how often it strikes. `text` is looked for in the request's JSON. The rest is what the fault needs:
    `retry_after` (sent as it is; "" sends none), `message`, `seconds` (of `slow` and `late_…`), `category` (of
    `refusal`), `share` (of a stuck batch's requests that are done), `lines` (how many results go wrong) and `size` (of
    a long line, in bytes).

    `unless` is a text that the request must not have in it, `below` a `max_tokens` that it must not reach. So `invalid`
    spares a conversation in which it has answered before, and `cut_off` a request with room for 1,024 tokens; what it
    strikes does not depend on how much room there is.
    """

    kind: str
    path: str = MESSAGES
    nth: tuple[int, ...] = ()
    text: str | None = None
    rate: float | None = None
    times: int | None = None
    retry_after: str | None = None
    message: str | None = None
    seconds: float = 5.0
    category: str | None = "general_harms"
    share: float = 0.5
    lines: int = 1
    size: int = 16_000_000
    unless: str | None = None
    below: int | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Rule:
        """Read a rule as the control endpoint gets it. Raises Refused."""
        unknown = sorted(value.keys() - set(cls.__struct_fields__))
        if unknown:
            raise Refused(f"{unknown[0]}: not a field of a fault rule")
        if value.get("kind") not in KINDS:
            raise Refused(f"kind: {value.get('kind')!r} is none of {', '.join(sorted(KINDS))}")
        nth = value.get("nth", ())
        path = value.get("path") or _place(value["kind"])
        return cls(
            **{
                **_MILD.get(value["kind"], {}),
                **value,
                "path": path,
                "nth": (nth,) if isinstance(nth, int) else tuple(nth),
            }
        )

    @classmethod
    def standing(cls, name: str, rate: float) -> Rule:
        """The rule for a rate from the command line: KIND or PLACE:KIND. Raises Refused."""
        place, _, kind = name.rpartition(":")
        return cls.from_json({"kind": kind, "rate": rate} | ({"path": place} if place else {}))


_MILD: Mapping[str, Mapping[str, Any]] = {
    Act.INVALID.value: {"unless": OFF_SCHEMA_TEXT},
    Act.CUT_OFF.value: {"below": CUT_OFF_BELOW},
}
"""Faults that pass once the request is asked again in another way."""


class Fault(Struct, frozen=True):
    """What shall go wrong with one request."""

    kind: str
    act: Act
    rule: Rule
    error: Refused | None = None


class Faults:
    """The rules in force. The first that strikes decides."""

    def __init__(self, rates: Sequence[tuple[str, float]], seed: int) -> None:
        self._seed = seed
        self._standing = tuple(Rule.standing(name, rate) for name, rate in rates)
        self._active: list[_Active] = []
        self._seen: Counter[bytes] = Counter()
        self.clear()

    def clear(self) -> None:
        """Back to the rates the stand-in was started with."""
        self._active = [_Active(rule) for rule in self._standing]
        self._seen.clear()

    def add(self, rule: Rule) -> None:
        self._active.append(_Active(rule))

    def any_at(self, path: str) -> bool:
        """Whether there is any rule for that place."""
        return any(active.rule.path == path for active in self._active)

    def choose(
        self, path: str, body: bytes, contains: Contains | None = None, *, room: int | None = None
    ) -> Fault | None:
        """The fault for this request, if any. Counts it for every rule.

        Args:
            contains: how to look for a text where `body` is not what was sent, but stands for it.
            room: the request's `max_tokens`, where `body` does not say it.
        """
        struck = self._struck(path, body, contains, room)
        if not struck:
            return None
        struck[0].struck += 1
        return _fault(struck[0])

    def choose_all(self, path: str, body: bytes, contains: Contains | None = None) -> list[Fault]:
        """The faults of all rules that strike."""
        struck = self._struck(path, body, contains, None)
        for active in struck:
            active.struck += 1
        return [_fault(active) for active in struck]

    def _struck(self, path: str, body: bytes, contains: Contains | None, room: int | None) -> list[_Active]:
        rules = [active for active in self._active if active.rule.path == path]
        if not rules:
            return []
        digest = b""
        draw = b""
        if any(active.rule.rate is not None for active in rules):
            place = b"" if path.startswith("/") else path.encode()
            digest = hashlib.blake2b(place + body, digest_size=12).digest()
            draw = b"%d/%d/" % (self._seed, self._seen[digest] + 1) + digest
        struck = [active for active in rules if self._strikes(active, body, draw, contains, room)]
        # Requests in batches are many: only those that were struck are remembered. The rest have succeeded.
        if digest and (struck or path != BATCH_ROW):
            self._seen[digest] += 1
        return struck

    def _strikes(self, active: _Active, body: bytes, draw: bytes, contains: Contains | None, room: int | None) -> bool:
        if active.rule.below is not None:
            if (_room_in(body) if room is None else room) >= active.rule.below:
                return False
            # How much room an answer needs is a matter of the question alone: not of what there is, nor of the try.
            question = _MAX_TOKENS.sub(b"", body, 1)
            draw = b"%d/" % self._seed + hashlib.blake2b(question, digest_size=12).digest()
        return active.strikes(draw, contains or body.__contains__)


class _Active:
    """A rule with its counters."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.struck = 0
        self._matched = 0
        # The request holds the text as a JSON string; the SDK leaves non-ASCII characters as they are.
        self._needle = None if rule.text is None else _as_json(rule.text)
        self._spares = None if rule.unless is None else _as_json(rule.unless)

    def strikes(self, draw: bytes, contains: Contains) -> bool:
        """Whether it hits a request that has come to its place."""
        rule = self.rule
        if self._needle is not None and not contains(self._needle):
            return False
        if self._spares is not None and contains(self._spares):
            return False
        self._matched += 1
        if rule.times is not None and self.struck >= rule.times:
            return False
        if rule.nth and self._matched not in rule.nth:
            return False
        return rule.rate is None or _share(rule.kind.encode() + draw) < rule.rate


def _as_json(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


def _room_in(body: bytes) -> int:
    """A request's `max_tokens`; 0 where it has none."""
    found = _MAX_TOKENS.search(body)
    return 0 if found is None else int(found[1])


def _share(key: bytes) -> float:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64


def _fault(active: _Active) -> Fault:
    rule = active.rule
    if rule.kind == "bad_retry_after":
        value = BAD_RETRY_AFTER[(active.struck - 1) % len(BAD_RETRY_AFTER)]
        return Fault(rule.kind, Act.REFUSE, rule, _refused(_ERRORS["429"], rule, value))
    error = _ERRORS.get(rule.kind) or _REPLY_ERRORS.get(rule.kind)
    if error is None:
        return Fault(rule.kind, Act(rule.kind), rule)
    retry_after = error.retry_after if rule.retry_after is None else rule.retry_after
    act = Act.REPLY_ERROR if rule.kind in _REPLY_ERRORS else Act.REFUSE
    return Fault(rule.kind, act, rule, _refused(error, rule, retry_after))


def _place(kind: str) -> str:
    if kind in _REPLY_ERRORS:
        return BATCH_CREATE
    return Act(kind).place if kind in _ACTS else MESSAGES


def _refused(error: _Error, rule: Rule, retry_after: str | None) -> Refused:
    headers = {"retry-after": retry_after} if retry_after else {}
    message = rule.message or error.message
    return Refused(message, error.status, kind=error.kind, error_code=error.error_code, headers=headers)
