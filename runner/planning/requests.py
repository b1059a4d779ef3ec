"""Requests: one row becomes one request.

Owns   rendering a row's messages and putting them, encoded once, behind the part that all rows share; the prefixes
       that the API's cache may know a request by.
Knows  compiled blocks and templates. Nothing of how a job is written: `planning.compile` reads that.

A body is always  {"model", "max_tokens" and the other params by name, "system", "messages"},  and every message's
content a list of blocks, so that equal requests have equal bytes. `messages` is cut into `Piece`s: fixed bytes, or a
template that is rendered and encoded for the row, what makes blocks of it, or a history that the row holds
(`planning.compose` has the way of the last two). Everything before the first of these is encoded and hashed once for
all rows; from there on the identity is hashed over the very bytes that go into the body (cache marks aside), so that
nothing is encoded twice.

Invariants (held by property tests)
  * The body equals the plain encoding of the object that it decodes to.
  * The identity equals `identity.request_identity` of that object.
  * A row never ends a run: what cannot be rendered is a `Failure` of that row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from msgspec import Struct

from runner.catalog.api import MAX_REQUEST_BYTES
from runner.catalog.server_tools import has_server_tools
from runner.encoding import encode
from runner.media.content import Unsendable
from runner.planning.compose import InHistory, NoBlock, TooLarge, composed, drafted, require_within
from runner.planning.content import NO_WEIGHT, Sight, Weight
from runner.planning.history import BadHistory, Spoken
from runner.planning.identity import SharedIdentity, unmarked
from runner.planning.pieces import (
    CompiledHistory,
    CompiledMessage,
    Piece,
    TextBlock,
    ends_with_assistant,
    pieces_of,
)
from runner.spec.origins import Unreadable
from runner.templating import Printed, TemplateFailure
from runner.types import CacheTtl, Failure, Mode, PendingFile, Prefix, Request, Row

FRAMING_TOKENS = 512
"""Added to the input bound for what the API puts around a prompt (roles, turn marks, thinking's instructions). Every
token of our own text covers at least one byte of the body; what the API adds is not documented, so this is a generous
guess."""

SCHEMA_TOKENS = 2048
"""Added where structured output is asked for, beside the schema's own bytes a second time: the API explains the schema
in hidden system tokens (structured outputs guide), for which no figure is given. A generous guess too."""

TOOLS_TOKENS = 1024
"""Added where there are tools, beside their own bytes a second time: the API explains their use in hidden tokens,
290 to 804 by model and choice (tool use guide, "Pricing")."""


class CacheShape(Struct, frozen=True):
    """What the cost of a job's rows depends on besides their own text.

    `shared_prefix_bytes`: UTF-8 bytes of text up to the last breakpoint that all rows share; 0 where there is none.
    `row_breakpoint`: a later breakpoint stands behind text of the row, so each row may write the cache.
    `ttl`: the longest time-to-live that is marked, in either mode; None where nothing is marked.
    """

    shared_prefix_bytes: int
    row_breakpoint: bool
    ttl: Mapping[Mode, CacheTtl | None]

    def reaches(self, minimum: int | None) -> bool:
        """Whether anything may be cached at all by a model that caches from `minimum` tokens on (None: not known).

        A token has at least one byte, so fewer bytes than that are surely too short.
        """
        if self.row_breakpoint:
            return True
        return self.shared_prefix_bytes > 0 and self.shared_prefix_bytes >= (minimum or 0)


class Appended(NamedTuple):
    """Messages that stand behind those of the job, encoded, each with a comma before it: as they are sent, and as the
    model sees them (the same without cache marks)."""

    sent: bytes
    seen: bytes


_NOTHING_APPENDED = Appended(b"", b"")


class CompiledJob:
    """A job that is ready to make requests, in one mode.

    `shared` is the body without `messages`, as it is sent; `context` what templates see beside `row`; `schema` the
    output's JSON Schema as the user means it, `prefill` whether a row's history may end with the assistant. `turns` are
    further messages of the user, whose texts may depend on the row and on replies, and `last_format` what the last of
    them asks the reply to look like. Making requests changes nothing in it, so several threads may use it.
    """

    def __init__(
        self,
        *,
        name: str,
        mode: Mode,
        shared: Mapping[str, Any],
        messages: Sequence[CompiledMessage | CompiledHistory],
        betas: tuple[str, ...],
        context: Mapping[str, Any],
        schema: Mapping[str, Any] | None,
        cache: CacheShape,
        prefill: bool = True,
        turns: Sequence[TextBlock] = (),
        last_format: Mapping[str, Any] | None = None,
        sight: Sight = Sight(),  # noqa: B008 - frozen
        uploads: bool = False,
    ) -> None:
        self.name = name
        self.mode = mode
        self.shared = shared
        self.betas = betas
        self.schema = schema
        self.cache = cache
        self.uploads = uploads
        """Whether requests name files that are uploaded first."""
        self.prefilled = ends_with_assistant(messages)
        self.turns = tuple(turns)
        self.last_format = last_format
        self._prefill = prefill
        self.model: str = shared["model"]
        self.max_tokens: int = shared["max_tokens"]
        self.context = dict(context)
        self._cache_ttl = cache.ttl[mode]
        self._allowance = input_bound(shared, 0)
        self._identity = SharedIdentity(shared, betas)
        self.messages = tuple(messages)
        self._prefix_seed, prefixes = _system_prefixes(shared)
        self._prefix_bytes = _bytes_before_messages(shared)
        head = [encode(shared)[:-1], b',"messages":']
        self._seen_head = hashlib.sha256()
        pieces = pieces_of(messages)
        self.head_weight = NO_WEIGHT
        """Of the content that all rows share."""
        self._head_pending: tuple[PendingFile, ...] = ()
        while pieces and pieces[0].is_fixed:
            piece = pieces.pop(0)
            head.append(piece.sent)
            self._seen_head.update(piece.seen)
            self._prefix_bytes += piece.length
            self.head_weight += piece.weight
            self._head_pending += piece.pending
            if piece.ttl is not None:
                prefixes.append(self._prefix(self._seen_head, self._prefix_bytes, piece.ttl))
        self._head = b"".join(head)
        self._row_pieces = tuple(pieces)
        self.sight = sight
        self.reads_files = any(piece.maker is not None and piece.maker.reads_files for piece in pieces)
        """Whether rows may name files, which are read whenever one is rendered."""
        self._is_text = self.head_weight == NO_WEIGHT and all(
            piece.maker is None and not piece.is_of_history and piece.weight == NO_WEIGHT for piece in pieces
        )
        self._ends_in_row_text = self.prefilled and not _ends_in_fixed_text(messages)
        self.shared_prefixes = tuple(prefixes)
        """What every row's `prefixes` begin with; the tuple itself where a row adds none."""
        self.row_prefixes = sum(piece.ttl is not None for piece in pieces)
        """How many prefixes a row adds at most, with text of its own in them."""

    @property
    def row_templates(self) -> tuple[str, ...]:
        """Names of the templates and blocks that are rendered for each row."""
        return tuple(piece.name for piece in self._row_pieces if piece.name)

    @property
    def may_end_with_assistant(self) -> bool:
        """Whether a row's last message may be the beginning of an answer."""
        return self.prefilled or isinstance(self.messages[-1], CompiledHistory)

    def variant(
        self, *, model: str | None = None, max_tokens: int | None = None, last_turn: bool = False
    ) -> CompiledJob:
        """The same job asked of another model, with another limit, or for the reply that its last turn wants."""
        shared = {**self.shared, "model": model or self.model, "max_tokens": max_tokens or self.max_tokens}
        return CompiledJob(
            name=self.name,
            mode=self.mode,
            shared=_with_format(shared, self.last_format) if last_turn and self.last_format is not None else shared,
            messages=self.messages,
            betas=self.betas,
            context=self.context,
            schema=self.schema,
            cache=self.cache,
            prefill=self._prefill,
            turns=self.turns,
            last_format=self.last_format,
            sight=self.sight if model is None else self.sight.of_model(model),
        )

    def request(
        self, row: Row, printed: Printed | None = None, more: Appended = _NOTHING_APPENDED
    ) -> Request | Failure:
        """Render and encode one row; `printed` counts the nulls that its texts show as nothing, `more` stands behind
        the job's own messages.

        Failures: `render_error`, `input_error`, `too_large`.
        """
        context = {**self.context, "row": row.values}
        if not self._is_text:
            return self._composed(row, context, printed, more)
        sent = [self._head]
        seen = self._seen_head.copy()
        prefixes = self.shared_prefixes
        for piece in self._row_pieces:
            if piece.template is None:
                sent.append(piece.sent)
                seen.update(piece.seen)
            else:
                try:
                    text = piece.template.render(context, printed)
                except TemplateFailure as failure:
                    return _render_error(row, failure)
                if not text or text.isspace():
                    return _empty_text(row, piece.name)
                try:
                    encoded = orjson.dumps(text)  # of a text it writes what `encode` does
                except TypeError:
                    return _half_a_character(row, piece.name)
                sent.append(encoded)
                seen.update(encoded)
            if piece.ttl is not None:
                size = self._prefix_bytes + sum(map(len, sent)) - len(self._head)
                prefixes = (*prefixes, self._prefix(seen, size, piece.ttl))
        if self._ends_in_row_text and text != text.rstrip():
            return _trailing_space(row, self._row_pieces)
        seen.update(more.seen)
        seen.update(b"]")
        sent += (more.sent, b"]}")
        body = b"".join(sent)
        if len(body) > MAX_REQUEST_BYTES:
            return _too_large(row, len(body))
        return Request(
            self._identity.with_messages(seen.digest()), prefixes[-1].digest if prefixes else b"", body, self.model,
            self.max_tokens, None if self._allowance is None else len(body) + self._allowance, self._cache_ttl,
            self.betas, len(self._head), prefixes,
        )  # fmt: skip

    def prefixes(self, row: Row) -> tuple[Prefix, ...] | None:
        """A row's prefixes alone, rendered no further than its last breakpoint; None where they cannot be rendered."""
        context = {**self.context, "row": row.values}
        if not self._is_text:
            request = self._composed(row, context, None, _NOTHING_APPENDED)
            return request.prefixes if isinstance(request, Request) else None
        seen, size, prefixes = self._seen_head.copy(), self._prefix_bytes, list(self.shared_prefixes)
        for piece in self._row_pieces:
            if len(prefixes) == len(self.shared_prefixes) + self.row_prefixes:
                break
            if piece.template is None:
                seen.update(piece.seen)
                size += len(piece.sent)
            else:
                try:
                    encoded = orjson.dumps(piece.template.render(context))
                except (TemplateFailure, TypeError):
                    return None
                seen.update(encoded)
                size += len(encoded)
            if piece.ttl is not None:
                prefixes.append(self._prefix(seen, size, piece.ttl))
        return tuple(prefixes)

    def _composed(
        self, row: Row, context: Mapping[str, Any], printed: Printed | None, more: Appended
    ) -> Request | Failure:
        """A request with more than text in it, with blocks that come and go, or with a history."""
        told = Spoken(self.sight)
        seen, prefixes = self._seen_head.copy(), list(self.shared_prefixes)
        size = self._prefix_bytes
        pending = list(self._head_pending)

        def hashed(part: bytes, length: int) -> None:
            nonlocal size
            seen.update(part)
            size += length

        try:
            drafts = drafted(self._row_pieces, context, printed, self.head_weight)
            sent, weight = [self._head], self.head_weight
            for part in composed(self._row_pieces, drafts, context, printed, self._head, told):
                sent.append(part.sent)
                weight += part.weight
                pending += part.pending
                hashed(part.seen, part.length)
                if part.ttl is not None:
                    prefixes.append(self._prefix(seen, size, part.ttl))
            require_within(weight, self.sight)
            if isinstance(self.messages[-1], CompiledHistory):
                told.end(self.model, may_prefill=self._prefill)
        except TemplateFailure as failure:
            return _render_error(row, failure)
        except (BadHistory, InHistory) as failure:
            return _bad_history(row, getattr(failure, "name", "") or self._history_name(), failure)
        except NoBlock as failure:
            return Failure("render_error", f"{failure}; row {row.key!r}")
        except (Unsendable, Unreadable) as failure:
            kind = "connection_error" if getattr(failure, "passing", False) else "input_error"
            return Failure(kind, f"{failure.message} ({failure.hint}); row {row.key!r}")
        except TooLarge as failure:
            return _too_large(row, failure.size_bytes)
        seen.update(more.seen)
        seen.update(b"]")
        sent += (more.sent, b"]}")
        body = b"".join(sent)
        if len(body) > MAX_REQUEST_BYTES:
            return _too_large(row, len(body))
        if self._ends_in_row_text and not more.sent and _last_text(body) != _last_text(body).rstrip():
            return _trailing_space(row, self._row_pieces)
        return Request(
            hash=self._identity.with_messages(seen.digest()),
            prefix=prefixes[-1].digest if prefixes else b"",
            body=body,
            model=self.model,
            max_tokens=self.max_tokens,
            input_bound=self.bound_of(len(body) - weight.silent_bytes, weight),
            cache_ttl=self._cache_ttl,
            betas=self.betas,
            shared_bytes=len(self._head),
            prefixes=self.shared_prefixes if len(prefixes) == len(self.shared_prefixes) else tuple(prefixes),
            silent_bytes=weight.silent_bytes,
            media_tokens=weight.tokens,
            shared_silent_bytes=self.head_weight.silent_bytes,
            shared_media_tokens=self.head_weight.tokens,
            pending=tuple({file.sha256: file for file in pending}.values()),
        )

    def _history_name(self) -> str:
        return [message.name for message in self.messages if isinstance(message, CompiledHistory)][-1]

    def bound_of(self, text_bytes: int, weight: Weight) -> int | None:
        """Upper bound of the input tokens of a body with so many bytes that say something of them, and such content;
        None where there is none, or not even the model's context is one."""
        if self._allowance is None:
            return None
        return self.sight.bound(None if weight.bound is None else text_bytes + weight.bound + self._allowance)

    def _prefix(self, seen: hashlib._Hash, size_bytes: int, ttl: CacheTtl) -> Prefix:
        return Prefix(_digest(self._prefix_seed + seen.digest()), size_bytes, ttl)


def hidden_tokens(shared: Mapping[str, Any]) -> int:
    """Upper bound of the input tokens that the API adds to what the body says."""
    output_format, tools = (shared.get("output_config") or {}).get("format"), shared.get("tools")
    hidden = FRAMING_TOKENS
    if output_format is not None:
        hidden += SCHEMA_TOKENS + len(encode(output_format))
    if tools:
        hidden += TOOLS_TOKENS + len(encode(tools))
    return hidden


def input_bound(shared: Mapping[str, Any], body_bytes: int) -> int | None:
    """An upper bound of the input tokens of a request whose body has so many bytes; None where a tool that the API runs
    may read what it likes."""
    if has_server_tools(shared.get("tools") or ()):
        return None
    return body_bytes + hidden_tokens(shared)


_BEHIND_THE_PARAMS = ("tools", "system")


def _with_format(shared: Mapping[str, Any], output_format: Mapping[str, Any]) -> dict[str, Any]:
    """A body that asks for this form of the reply, with its params by name as ever."""
    params = {key: value for key, value in shared.items() if key != "model" and key not in _BEHIND_THE_PARAMS}
    params["output_config"] = {**params.get("output_config", {}), "format": output_format}
    behind = {key: shared[key] for key in shared if key in _BEHIND_THE_PARAMS}
    return {"model": shared["model"], **{name: params[name] for name in sorted(params)}, **behind}


def _system_prefixes(shared: Mapping[str, Any]) -> tuple[bytes, list[Prefix]]:
    """Everything that has to be equal before messages for a cached prefix to be shared, and the prefixes that end at
    a tool or a block of the system prompt.

    Besides model, tools and system these are the params whose change invalidates the cache (prompt caching guide, "What
    invalidates the cache").
    """
    parts = {key: shared.get(key) for key in ("model", "tools", "tool_choice", "thinking", "output_config")}
    parts |= {key: shared[key] for key in ("context_management", "speed") if key in shared}
    system: Sequence[Mapping[str, Any]] = shared.get("system") or ()
    tools: Sequence[Mapping[str, Any]] = shared.get("tools") or ()
    prefixes = []
    for end, tool in enumerate(tools, 1):
        if "cache_control" in tool:
            # Tools come first of all, so nothing but the model decides besides (same page).
            seed = encode({"model": shared.get("model"), "tools": unmarked(tools[:end])})
            size = _bytes_before_messages({"tools": tools[:end]})
            prefixes.append(Prefix(_digest(seed), size, tool["cache_control"]["ttl"]))
    for end, block in enumerate(system, 1):
        if "cache_control" in block:
            seed = encode({**parts, "system": unmarked(system[:end])})
            size = _bytes_before_messages({**shared, "system": system[:end]})
            prefixes.append(Prefix(_digest(seed), size, block["cache_control"]["ttl"]))
    return encode({**parts, "system": unmarked(shared.get("system"))}), prefixes


def _bytes_before_messages(shared: Mapping[str, Any]) -> int:
    """Of what a cached prefix begins with: tools and the text of the system prompt."""
    tools = shared.get("tools")
    text = sum(len(block["text"].encode()) for block in shared.get("system") or ())
    return text + (len(encode(tools)) if tools else 0)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]


def _render_error(row: Row, failure: TemplateFailure) -> Failure:
    hint = f" ({failure.hint})" if failure.hint else ""
    return Failure("render_error", f"{failure}{hint}; row {row.key!r}")


def _empty_text(row: Row, name: str) -> Failure:
    return Failure("render_error", f"{name}: the text is empty, which the API refuses; row {row.key!r}")


def _half_a_character(row: Row, name: str) -> Failure:
    message = f"{name}: the text holds half of a surrogate pair, which has no UTF-8 form and which the API refuses"
    return Failure("input_error", f"{message}; row {row.key!r}")


def _bad_history(row: Row, name: str, failure: Exception) -> Failure:
    return Failure("input_error", f"{name}: {failure}; row {row.key!r}")


def _trailing_space(row: Row, pieces: Sequence[Piece]) -> Failure:
    name = [piece.name for piece in pieces if piece.name][-1]
    message = f"{name}: a last message of the assistant ends in white space, which the API refuses"
    return Failure("render_error", f"{message}; row {row.key!r}")


def _ends_in_fixed_text(messages: Sequence[CompiledMessage | CompiledHistory]) -> bool:
    last = messages[-1]
    block = last.blocks[-1] if isinstance(last, CompiledMessage) else None
    return isinstance(block, TextBlock) and isinstance(block.content, str)


def _last_text(body: bytes) -> str:
    block: dict[str, Any] = orjson.loads(body)["messages"][-1]["content"][-1]
    return str(block.get("text", ""))


def _too_large(row: Row, size_bytes: int) -> Failure:
    message = f"the request has {size_bytes:,} bytes, more than the {MAX_REQUEST_BYTES:,} that the API takes"
    return Failure("too_large", f"{message}; row {row.key!r}")
