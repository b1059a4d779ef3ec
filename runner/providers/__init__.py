"""Providers: who answers a request. This module is the contract of the plugin folder.

A provider makes exactly one try: it never retries, never waits for a limit and never raises for what the API or the
network does. Whatever happens comes back as a value with a reply or a failure; what raises is a bug.

A provider whose capabilities say `batches` is a `BatchProvider` as well, and one whose say `files` a `FileProvider`.

A third party's is made by its class: `connect_with(environ, options, *, max_concurrency, clock)`, on the loop that will
send; `options` is an instance of its `Options`, a subclass of `runner.providers.options.ProviderOptions`.

The folder, in the order to read it in:

    transport       which of the two transports carries the requests: the one place that chooses
      wire            connections of our own, for a credential that does not change: the hot path
        direct          whole bodies, straight to the API
          connection_pool   the connections to one server
            connection      one of them: a request in one write, a response
            incoming        a response as its bytes come in
        aiohttp_wire    all else: proxies, redirects, bodies piece by piece
        proxies         which proxy stands before an address
        tls             the certificates that a server is checked against
        deadlines       one timer for all attempts that may take equally long
      anthropic       the SDK's client
    platforms       Bedrock, Vertex AI and others, through the SDK's clients for them
      platform_options  what a job may set of each, and what each offers; light
      platform_errors   their errors, as the API would tell them
    options         what all providers say of themselves before a client is made; light
    credentials     where the credential and the address come from
    arrival         what came back for a message; the same over either transport
      stream          a streamed reply, put together again
      headers         a response's headers
      unfolding       compressed bodies, in bounded parts
    failures        what did not come back, as a `Failure`: one table
    endpoints       everything beside sending a message; the same over either transport
      exchange        one request and its response, below what is asked
      calls           one call, and whatever happens as a value
      batches         the Message Batches API
        batch_objects   its objects
        upload          a batch's body on its way
        download        its results on their way
        results         one line of them
      files           the Files API
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from msgspec import Struct

from runner.types import AttemptEnd, Capabilities, Failure, Reply, Request


class Sent(Struct, frozen=True):
    """What one try brought. Exactly one of `reply` and `failure` is set.

    `body` is the message object as JSON bytes (`b""` on failure); `headers` are the response's, lower-case names,
    empty where there was no response. `request_id` is the API's, also on failures.
    """

    reply: Reply | None
    failure: Failure | None
    body: bytes = b""
    request_id: str | None = None
    headers: Mapping[str, str] | None = None


class Provider(Protocol):
    @property
    def capabilities(self) -> Capabilities: ...

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        """POST one Messages request, once.

        With `on_begin` the request is streamed, and `on_begin` is called when the reply has begun: from then on the
        prefix it wrote can be read from the cache. Requests whose `max_tokens` is above the SDK's non-streaming bound
        are streamed in any case; the reply is the same.
        """
        ...

    async def count_tokens(self, request: Request) -> int | Failure: ...

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        """What the Models API says of each model, as JSON objects; a Failure where the server does not have it."""
        ...

    async def aclose(self) -> None: ...


# -- batches -----------------------------------------------------------------------------------------------------------

RemoteStatus = Literal["in_progress", "canceling", "ended"]


class RemoteBatch(Struct, frozen=True):
    """A batch as the API tells of it. Times are the API's own.

    `tallies` are its request counts by name (`processing`, `succeeded`, `errored`, `canceled`, `expired`); all but
    `processing` are zero until the whole batch has ended, and their sum is always the number of its requests.
    """

    batch_id: str
    status: RemoteStatus
    tallies: Mapping[str, int]
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    archived_at: datetime | None = None

    @property
    def requests(self) -> int:
        return sum(self.tallies.values())


class BatchPage(Struct, frozen=True):
    """Some batches, newest first; `has_more` where older ones follow."""

    batches: Sequence[RemoteBatch]
    has_more: bool


class BatchLine(Struct, frozen=True):
    """One line of a batch's results. `end` is never `lost`; exactly one of `reply` and `failure` is set.

    A failure of scope `job` is one that no other row would survive either (a billing error).
    """

    custom_id: str
    end: AttemptEnd
    reply: Reply | None = None
    failure: Failure | None = None
    request_id: str | None = None


class BatchProvider(Provider, Protocol):
    async def create_batch(
        self, chunks: AsyncIterable[bytes], size_bytes: int, betas: Sequence[str] = ()
    ) -> RemoteBatch | Failure:
        """POST a batch, once: `size_bytes` of JSON in chunks, each pulled only when the one before it has left.

        A Failure has the status of a clean refusal in `http_status`, and is `may_be_billed` wherever the batch may have
        been accepted if the whole body has left. What `chunks` raises is raised, with nothing sent after it.
        """
        ...

    async def retrieve_batch(self, batch_id: str) -> RemoteBatch | Failure:
        """A batch that the API does not know (yet) is a Failure with `http_status` 404."""
        ...

    async def list_batches(self, *, after_id: str | None = None, limit: int = 100) -> BatchPage | Failure:
        """One page of the workspace's batches, newest first; `after_id` goes on behind that batch."""
        ...

    async def cancel_batch(self, batch_id: str) -> RemoteBatch | Failure: ...

    async def download_results(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        """GET a batch's results from our own origin's path, raw, and hand every chunk to `write`; returns the bytes.

        A Failure wherever the response is seen to be none of results or cut: that it looks whole proves nothing, so who
        calls this compares ids and tallies.
        """
        ...

    def read_result(self, line: bytes) -> BatchLine:
        """Read one line of results. Pure. Raises ValueError where it is none (no JSON, no id, an unknown type)."""
        ...


# -- files -------------------------------------------------------------------------------------------------------------


class RemoteFile(Struct, frozen=True):
    """An uploaded file as the API tells of it. Times are the API's own; `expires_at` None: it does not expire."""

    file_id: str
    filename: str
    media_type: str
    size_bytes: int
    created_at: datetime
    expires_at: datetime | None = None


class FilePage(Struct, frozen=True):
    """Some files, and where the next page begins; None after the last."""

    files: Sequence[RemoteFile]
    next_page: str | None


class FileProvider(Provider, Protocol):
    async def upload_file(
        self,
        chunks: AsyncIterable[bytes],
        size_bytes: int,
        *,
        filename: str,
        media_type: str,
        expires_in_s: int | None = None,
    ) -> RemoteFile | Failure:
        """POST a file, once: `size_bytes` in chunks, each pulled only when the one before it has left.

        A Failure is `may_be_billed` wherever the file may have been kept although no reply says so (nothing is billed
        for that). What `chunks` raises is raised, with nothing sent after it.
        """
        ...

    async def retrieve_file(self, file_id: str) -> RemoteFile | Failure:
        """A file that is not there (any more) is a Failure with `http_status` 404 and the scope `row`."""
        ...

    async def list_files(self, *, page: str | None = None, limit: int = 1000) -> FilePage | Failure:
        """One page of the workspace's files."""
        ...

    async def delete_file(self, file_id: str) -> str | Failure:
        """Returns the id. A file that is not there is a Failure as with `retrieve_file`."""
        ...
