"""The platforms that serve Claude beside Anthropic's own address, each through the SDK's client for it.

Owns   the making of these clients from a job's options and an environment, and what differs in their calls: Bedrock
       and Vertex AI have the model in the path and Bedrock streams in frames of its own.
Knows  the SDK, as `runner.providers.anthropic` does. Requests, replies and failures are those of that provider.

Invariants
  * Clients get `max_retries=0` and everything explicitly: the process's own variables decide nothing that the given
    environment does not say.
  * What a platform lacks is a Failure that says so; `Capabilities` tell before it is asked.

Source: SDK 2.12 `lib/bedrock`, `lib/vertex`, `lib/foundry.py`, `lib/aws`, `lib/google_cloud`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from typing import Any, ClassVar

import anthropic
import httpx2
import orjson

from runner.clock import Clock, SystemClock
from runner.errors import SetupError
from runner.providers import Sent, failures
from runner.providers.anthropic import (
    CREDENTIAL_ERRORS,
    AnthropicProvider,
    SdkWire,
    any_status,
    call_options,
    header_arguments,
    http_client,
)
from runner.providers.arrival import DEADLINE_S, media_type
from runner.providers.credentials import check_address, parse_custom_headers
from runner.providers.endpoints import counted_of, tokens_of
from runner.providers.options import Offers, ProviderOptions, require
from runner.providers.platform_options import (
    AwsOptions,
    BedrockOptions,
    FoundryOptions,
    GoogleCloudOptions,
    VertexOptions,
)
from runner.types import Capabilities, Failure, Request

_FRAMES = "application/vnd.amazon.eventstream"


class PlatformProvider(AnthropicProvider):
    """What the platforms have in common. A subclass makes its client in `_client_of`."""

    Options: ClassVar[type[ProviderOptions]]
    _offers = Offers()

    @classmethod
    def connect_with(
        cls,
        environ: Mapping[str, str],
        options: ProviderOptions,
        *,
        max_concurrency: int,
        clock: Clock | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> PlatformProvider:
        """Make the provider, on the loop that will use it. Raises SetupError."""
        require(options, environ)
        address = options.address(environ)
        check_address(address)
        arguments = {
            "base_url": address,
            "default_headers": header_arguments(parse_custom_headers(environ.get("ANTHROPIC_CUSTOM_HEADERS", ""))),
            "max_retries": 0,
            "http_client": http_client(max_concurrency),
        }
        secrets = _secrets(environ)
        try:
            client = cls._client_of(options, environ, arguments)
        except (anthropic.AnthropicError, ValueError) as error:
            message = failures.scrub(f"{options.label} cannot be reached: {error}", secrets)
            raise SetupError(message, code="bad-credential") from error
        made = cls(
            client,
            uploads=client.copy(http_client=http_client(None)) if options.offers.batches else client,
            secrets=secrets,
            workspace=None,
            clock=clock or SystemClock(),
            deadline_s=deadline_s,
        )
        made._offers = options.offers
        made.prepare(options, environ)
        return made

    @classmethod
    def _client_of(cls, options: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def prepare(self, options: Any, environ: Mapping[str, str]) -> None:
        """What a platform has to do before its first request."""

    @property
    def capabilities(self) -> Capabilities:
        offers = self._offers
        return Capabilities(offers.batches, offers.count_tokens, offers.models, files=offers.files)

    async def count_tokens(self, request: Request) -> int | Failure:
        return await super().count_tokens(request) if self._offers.count_tokens else _lacks("counts no tokens")

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        return await super().models() if self._offers.models else _lacks("has no Models API")


def _lacks(what: str) -> Failure:
    return Failure("not_found_error", f"this platform {what}", http_status=404)


_SECRET_NAMES = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "ANTHROPIC_AWS_API_KEY",
    "ANTHROPIC_FOUNDRY_API_KEY",
)  # fmt: skip


def _secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    values = [environ.get(name, "") for name in _SECRET_NAMES]
    values += parse_custom_headers(environ.get("ANTHROPIC_CUSTOM_HEADERS", "")).values()
    return tuple(value for value in values if len(value) >= 6)


# -- Bedrock and Vertex: the model is in the path ----------------------------------------------------------------------


class ModelInPath(PlatformProvider):
    """Their clients rewrite a body that they can take apart, so that it is handed to them decoded."""

    async def _post(
        self, body: bytes, betas: tuple[str, ...], deadline_s: float, *, stream: bool = False
    ) -> httpx2.Response:
        response: httpx2.Response = await self._client.post(
            "/v1/messages",
            body=orjson.loads(body),
            cast_to=httpx2.Response,
            options=call_options(betas, deadline_s),
            stream=stream,
        )
        return response


class BedrockProvider(ModelInPath):
    """Amazon Bedrock."""

    Options = BedrockOptions

    @classmethod
    def _client_of(cls, options: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Any:
        return anthropic.AsyncAnthropicBedrock(
            aws_region=options.region(environ),
            **_aws_arguments(options, environ, "AWS_BEARER_TOKEN_BEDROCK"),
            **arguments,
        )

    def prepare(self, options: Any, environ: Mapping[str, str]) -> None:  # noqa: ARG002 - as all of them
        if self._client.api_key is None:
            _require_aws_credential(self._client)

    async def _events(
        self, response: httpx2.Response, headers: Mapping[str, str], on_begin: Callable[[], None] | None
    ) -> Sent | None:
        if media_type(headers) != _FRAMES:
            return await super()._events(response, headers, on_begin)
        return await self._arrivals.streamed(_as_events(response), response.status_code, headers, on_begin)


class VertexProvider(ModelInPath):
    """Google Cloud's Vertex AI."""

    Options = VertexOptions

    def prepare(self, options: Any, environ: Mapping[str, str]) -> None:  # noqa: ARG002 - as all of them
        self._credential_errors = _google_errors()

    @classmethod
    def _client_of(cls, options: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Any:
        return anthropic.AsyncAnthropicVertex(
            region=options.region_in(environ), project_id=options.project_in(environ), **arguments
        )

    async def count_tokens(self, request: Request) -> int | Failure:
        ask = self._client.post(
            "/v1/messages/count_tokens",
            body=counted_of(request),
            cast_to=httpx2.Response,
            options=call_options(request.betas, self._deadline_s),
        )
        return await self._answer(any_status(ask), tokens_of)


async def _as_events(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Bedrock's frames as the server-sent events that they hold."""
    from anthropic.lib.bedrock._stream_decoder import AWSEventStreamDecoder

    async for event in AWSEventStreamDecoder().aiter_bytes(response.aiter_bytes()):
        yield b"data: " + event.data.encode() + b"\n\n"


# -- Anthropic's own API, elsewhere ------------------------------------------------------------------------------------


class FoundryProvider(PlatformProvider):
    """Microsoft Foundry."""

    Options = FoundryOptions

    @classmethod
    def _client_of(cls, options: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Any:  # noqa: ARG003
        return anthropic.AsyncAnthropicFoundry(api_key=environ.get("ANTHROPIC_FOUNDRY_API_KEY"), **arguments)


class AwsProvider(PlatformProvider):
    """Claude Platform on AWS."""

    Options = AwsOptions

    @classmethod
    def _client_of(cls, options: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Any:
        key = environ.get("ANTHROPIC_AWS_API_KEY") if options.uses_key(environ) else None
        own = {"api_key": key} if key is not None else _aws_arguments(options, environ, None)
        return anthropic.AsyncAnthropicAWS(
            aws_region=options.region(environ), workspace_id=options.workspace_in(environ), **own, **arguments
        )

    def prepare(self, options: Any, environ: Mapping[str, str]) -> None:
        if not options.uses_key(environ):
            _require_aws_credential(self._client)
            self.carry_by(SignedWire(self._client, self._uploads))


class GoogleCloudProvider(PlatformProvider):
    """Claude Models on Google Cloud."""

    Options = GoogleCloudOptions

    @classmethod
    def _client_of(cls, options: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Any:
        return anthropic.AsyncAnthropicGoogleCloud(
            project=options.project_in(environ),
            location=options.location_in(environ),
            workspace_id=options.workspace_in(environ),
            **arguments,
        )

    def prepare(self, options: Any, environ: Mapping[str, str]) -> None:  # noqa: ARG002 - as all of them
        self._credential_errors = _google_errors()
        wire = SdkWire(self._client, self._uploads)
        wire.credential_errors = self._credential_errors
        self.carry_by(wire)


class SignedWire(SdkWire):
    """AWS's signature covers the whole body, so that a batch is gathered before it leaves.

    Up to 256 MB are in memory then. A create that fails once all of it was handed over is in doubt as ever, although
    less of it may have left.
    """

    async def post(
        self,
        path: str,
        headers: Mapping[str, str],
        timeout_s: float,
        content: AsyncIterable[bytes] | bytes | None = None,
        *,
        follow: bool = False,
    ) -> httpx2.Response:
        if content is not None and not isinstance(content, bytes):
            content = b"".join([chunk async for chunk in content])
        return await super().post(path, headers, timeout_s, content, follow=follow)


def _google_errors() -> tuple[type[Exception], ...]:
    """What is raised where no token of Google's can be had."""
    try:
        from google.auth.exceptions import GoogleAuthError
    except ImportError:
        return CREDENTIAL_ERRORS
    return (*CREDENTIAL_ERRORS, GoogleAuthError)


def _aws_arguments(options: Any, environ: Mapping[str, str], token: str | None) -> dict[str, Any]:
    """A bearer token, a profile, static keys, or nothing: then boto3's own chain finds a credential."""
    if options.aws_profile is not None:
        return {"aws_profile": options.aws_profile}
    bearer = environ.get(token, "") if token is not None else ""
    if bearer.strip():
        return {"api_key": bearer}
    key, secret = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
    if key.strip() and secret.strip():
        return {
            "aws_access_key": key,
            "aws_secret_key": secret,
            "aws_session_token": environ.get("AWS_SESSION_TOKEN") or None,
        }
    profile = environ.get("AWS_PROFILE", "")
    return {"aws_profile": profile} if profile.strip() else {}


def _require_aws_credential(client: Any) -> None:
    """Find the credential now: a signature that cannot be made would look like a bug of every request."""
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session(
            profile_name=client.aws_profile,
            region_name=client.aws_region,
            aws_access_key_id=client.aws_access_key,
            aws_secret_access_key=client.aws_secret_key,
            aws_session_token=client.aws_session_token,
        )
        found = session.get_credentials()
    except BotoCoreError as error:
        raise SetupError(f"the AWS credential cannot be used: {error}", code="bad-credential") from error
    if found is None:
        raise SetupError(
            "no AWS credential was found",
            code="no-credentials",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
