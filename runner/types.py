"""The nouns of runner: frozen values that every layer may name.

Owns   the shapes that travel between packages. Fields follow the API's own names.
Knows  the standard library and `Struct`; nothing here does anything.

Invariants
  * `Usage` counts are disjoint: no token is counted in two fields, so usages add like numbers.
  * A `Failure` is a value, not an exception: it says why one row, or the whole job, did not work out.
  * Money is an `int` of pico-dollars (1 USD = 10**12): USD 0.01 per million tokens is 10,000 a token, so no price
    rounds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field
from msgspec.structs import asdict, replace

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"

Mode = Literal["batch", "parallel"]
RowStatus = Literal["open", "succeeded", "failed", "expired", "canceled"]
"""How a row stands. All but `open` are final."""
AttemptEnd = Literal["succeeded", "errored", "canceled", "expired", "lost"]
"""How one try ended. `lost`: the process died, or the reply never came, while it was under way."""
CacheTtl = Literal["5m", "1h"]

PICO_PER_USD = 10**12


class Row(Struct, frozen=True):
    """One selected row of the dataset: `key` is unique in the run, `index` its place (0-based, dataset order)."""

    key: str
    index: int
    values: Mapping[str, Any]


class Step(Struct, frozen=True, order=True):
    """The unit of work and the ledger's primary key: one request that has to be answered for a row."""

    row: int
    turn: int = 0
    sample: int = 0
    round: int = 0


class Prefix(Struct, frozen=True):
    """All that stands before one cache breakpoint of a request: what the API writes to its cache, or reads from it.

    `digest` (16 bytes) is equal where all of it is equal. `size_bytes` is about its text in UTF-8, never less: what a
    model's minimum is compared with. `ttl` is the breakpoint's.
    """

    digest: bytes
    size_bytes: int
    ttl: CacheTtl


@dataclasses.dataclass(frozen=True, slots=True)
class PendingFile:
    """A file that a request names by its id, before that is known: the SHA-256 of its bytes, and the way to them.

    `load` gives the bytes, from memory or once more from their file; it raises OSError or ValueError where they cannot
    be had any more, and who calls it compares the digest.

    Until then `placeholder` stands for the id. As a JSON string it cannot occur in a body but as that id, since quotes
    within texts are escaped.
    """

    sha256: bytes
    media_type: str
    size_bytes: int
    load: Callable[[], bytes] = dataclasses.field(repr=False, compare=False)

    @property
    def placeholder(self) -> str:
        return f"file_pending_{self.sha256.hex()}"


class Request(Struct, frozen=True):
    """One rendered call of the Messages API.

    `body` is the JSON object to POST, as UTF-8 bytes, without `stream`; bytes from here on. `hash` is the identity
    (32 bytes, SHA-256): what the model sees and the betas. `prefix` is the digest of the longest of its `prefixes`,
    `b""` where nothing is cached. `input_bound` is an upper bound of its input tokens, None where bytes do not bound
    it. `cache_ttl` is the longest time-to-live marked in it (decides the dearest cache write), None where nothing is
    marked.
    """

    hash: bytes
    prefix: bytes
    body: bytes
    model: str
    max_tokens: int
    input_bound: int | None
    cache_ttl: CacheTtl | None = None
    betas: tuple[str, ...] = ()
    shared_bytes: int = 0
    """How many bytes at the body's beginning are the same for every row of the job."""
    prefixes: tuple[Prefix, ...] = ()
    """One a cache breakpoint, each within the next. Rows that share all of them share the tuple too."""
    silent_bytes: int = 0
    """How many bytes of the body say nothing of its tokens: images and PDFs in base64."""
    media_tokens: int = 0
    """About how many tokens stand for these, and for what only the API sees."""
    shared_silent_bytes: int = 0
    shared_media_tokens: int = 0
    """The same of the part at the body's beginning."""
    pending: tuple[PendingFile, ...] = ()
    """Files whose ids are still to be put into the body; such a request cannot be sent."""

    def with_ids(self, ids: Mapping[bytes, str]) -> Request:
        """The same request with the ids of all its pending files, by their SHA-256."""
        head, tail = self.body[: self.shared_bytes], self.body[self.shared_bytes :]
        for file in self.pending:
            before, after = (b'"file_id":"%b"' % name.encode() for name in (file.placeholder, ids[file.sha256]))
            head, tail = head.replace(before, after), tail.replace(before, after)
        return replace(self, body=head + tail, shared_bytes=len(head), pending=())


class Usage(Struct, frozen=True):
    """Tokens of one or more replies; disjoint counts, so the whole prompt is the sum of the four input fields."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0
    web_search_requests: int = 0
    """Searches of the API's own tool, which are billed each. Told by a reply, and part of what it costs; sums of tokens
    (in the ledger, in records) do not have it."""

    @property
    def cache_creation_input_tokens(self) -> int:
        return self.ephemeral_5m_input_tokens + self.ephemeral_1h_input_tokens

    @property
    def prompt_tokens(self) -> int:
        """All tokens of the prompt, however they were billed."""
        return self.input_tokens + self.cache_read_input_tokens + self.cache_creation_input_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_input_tokens + other.cache_read_input_tokens,
            self.ephemeral_5m_input_tokens + other.ephemeral_5m_input_tokens,
            self.ephemeral_1h_input_tokens + other.ephemeral_1h_input_tokens,
            self.web_search_requests + other.web_search_requests,
        )

    def to_dict(self) -> dict[str, Any]:
        """The shape of the API's own `usage` object, as records hold it."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cache_read_input_tokens": self.cache_read_input_tokens,
            "cache_creation_input_tokens": self.cache_creation_input_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.ephemeral_5m_input_tokens,
                "ephemeral_1h_input_tokens": self.ephemeral_1h_input_tokens,
            },
        }


class Reply(Struct, frozen=True):
    """What the model returned, in the API's words. `stop_details` is the API's object on a refusal, else None."""

    message_id: str
    request_id: str | None
    model: str
    stop_reason: str | None
    content: Sequence[Mapping[str, Any]]
    usage: Usage
    stop_details: Mapping[str, Any] | None = None


class Failure(Struct, frozen=True):
    """Why a request did not work out.

    `kind` is one of the API's error types, or `refusal`, `truncated`, `schema_mismatch`, `render_error`,
    `input_error`, `too_large`, `connection_error`, `timeout`, `results_lost`; or `unexpected_reply`: a stop reason
    that is no answer (`tool_use`, `pause_turn`, one that is not known), or a reply without text. `retryable`: the
    same request may work later. `scope` is `job` where no other row could work either (bad key, spend limit).
    `may_be_billed`: the API may have accepted and billed the request although no reply reached us; its reservation is
    then kept. `category` is the API's refusal category. `code` is the error code of the API's error object, where it
    has one; it decides what is done now, and is not kept.
    """

    kind: str
    message: str
    retryable: bool = False
    retry_after_s: float | None = None
    http_status: int | None = None
    request_id: str | None = None
    scope: Literal["row", "job"] = "row"
    may_be_billed: bool = False
    category: str | None = None
    code: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The `error` object of a record."""
        return {
            "kind": self.kind,
            "message": self.message,
            "http_status": self.http_status,
            "request_id": self.request_id,
            "category": self.category,
        }


class Outcome(Struct, frozen=True):
    """How one attempt at a step ended, with all that must be durable of it.

    `body` is the reply's message object as the API sent it (JSON bytes), `b""` where there was none; `reply` is its
    parsed form. Exactly one of `reply` and `failure` is set. `cost_pico` is None where the model's price is unknown.
    `reused`: the reply was paid for by another run; usage and cost of this attempt are zero.
    """

    step: Step
    attempt: int
    end: AttemptEnd
    mode: Mode
    request_hash: bytes
    started_at: datetime
    ended_at: datetime
    body: bytes = b""
    reply: Reply | None = None
    failure: Failure | None = None
    usage: Usage = field(default_factory=Usage)
    cost_pico: int | None = 0
    request_id: str | None = None
    batch_id: str | None = None
    reused: bool = False
    tries: int = 1
    """This attempt's place among those that count towards `max_attempts`, from 1: lost ones and those before a
    `retry` do not."""


class Attempt(Struct, frozen=True):
    """One try at a step as the ledger remembers it; `number` counts from 1 and `reserved_pico` is what was set aside
    for it."""

    step: Step
    number: int
    end: AttemptEnd | None
    mode: Mode
    started_at: datetime
    ended_at: datetime | None
    failure: Failure | None
    usage: Usage
    cost_pico: int | None
    reserved_pico: int
    request_id: str | None
    batch_id: str | None
    reused: bool


class Record(Struct, frozen=True):
    """What a sink gets for one selected row; `to_dict` is exactly the object a jsonl sink writes."""

    key: str
    index: int
    status: RowStatus
    output: Any
    text: str | None
    stop_reason: str | None
    error: Mapping[str, Any] | None
    row: Mapping[str, Any]
    model: str | None
    mode: Mode | None
    attempts: int
    reused: bool
    cost_usd: float | None
    usage: Mapping[str, Any]
    run_id: str
    job: str
    request_hash: str | None
    message_id: str | None
    request_id: str | None
    batch_id: str | None
    started_at: str | None
    ended_at: str | None
    content: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()
    """What rules of severity `warn` say of it."""
    turns: Sequence[Mapping[str, Any]] | None = None
    """The replies of each turn, in order; None in a job of one turn, as the next two are in one of one sample."""
    samples: Sequence[Mapping[str, Any]] | None = None
    vote: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as jsonl sinks write it (docs/output.md): every field but those for `columns` alone, in its
        order, and behind them those that only some jobs have."""
        fields = asdict(self)
        for name in COLUMN_FIELDS:
            del fields[name]
        for name in FIELDS_OF_SOME_JOBS:
            if fields[name] is None:
                del fields[name]
        return fields


COLUMN_FIELDS = ("content", "warnings")
"""Fields that the expressions of `columns` see, and no record has that is written whole."""
FIELDS_OF_SOME_JOBS = ("turns", "samples", "vote")
RECORD_FIELDS = tuple(name for name in Record.__struct_fields__ if name not in (*COLUMN_FIELDS, *FIELDS_OF_SOME_JOBS))


class Capabilities(Struct, frozen=True):
    """What a provider offers. `batch_list_lag_s` is how long a new batch may be missing from its list; `files` says
    that it keeps files which requests name by an id."""

    batches: bool
    count_tokens: bool
    models: bool
    batch_list_lag_s: float = 3600.0
    files: bool = False
