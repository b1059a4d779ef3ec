"""The HTTP server: routes, credentials, identity headers and the shape of errors.

Owns   what every exchange has in common. What an endpoint does is in `messages`, `batches`, `files` and `models`,
       control calls in `admin`.
Knows  aiohttp's low-level server: with a handful of fixed paths its router would only cost time.

Every response carries the date by the stand-in's clock, `request-id`, the organisation and workspace, and the
rate-limit headers; every refusal has the API's error shape. A handler is cancelled when its client has gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
from collections.abc import Awaitable, Callable, Mapping
from email.utils import format_datetime
from typing import Any

import orjson
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from runner.clock import Clock
from runner.simulator.accounts import Accounts
from runner.simulator.admin import Admin, Traffic, TurnedClock
from runner.simulator.batches import PATH as BATCHES
from runner.simulator.batches import Batches
from runner.simulator.control import TOKEN_HEADER
from runner.simulator.exchange import Exchange, fail
from runner.simulator.faults import Fault, Faults
from runner.simulator.files import PATH as FILES
from runner.simulator.files import Files
from runner.simulator.messages import Messages, decode
from runner.simulator.models import list_models, model_info
from runner.simulator.options import ANY_KEY, Options
from runner.simulator.platforms import key_of, open_envelope
from runner.simulator.refusal import Refused
from runner.simulator.validation import NEWER_VERSION, VERSIONS

MAX_BODY_BYTES = 32_000_000
"""32 MB, in the stricter reading (whether the API means 2**20 is not known). Source: errors page, "Request size
limits"."""

_READ_BYTES = 1 << 20
"""What a connection reads ahead: batches are large."""

_ORGANIZATION = "00000000-0000-4000-8000-000000000000"
_CONTROL = "/_control/"
_CLIENT_CLOSED_REQUEST = 499
"""What nginx books where the client has left; for the counts alone."""
_MODELS = "/v1/models"

_Endpoint = Callable[[Exchange, bytes, Fault | None], Awaitable[web.StreamResponse]]
"""Gets the body and the fault that shall strike its reply, if any."""


class App:
    """The stand-in as one callable for an aiohttp server; `close` commits its books."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self._options = options
        self._accounts = Accounts(options.state)
        self._clock = TurnedClock(clock, self._accounts.ahead_s())
        self._faults = Faults(options.faults, options.seed)
        self._files = Files(options, self._clock, self._accounts, self._faults)
        self._messages = Messages(options, self._clock, self._accounts, self._files)
        self._batches = Batches(options, self._clock, self._accounts, self._faults, self._files)
        self._traffic = Traffic()
        self._admin = Admin(
            self._clock, self._accounts, self._faults, self._messages, self._batches, self._files, self._traffic
        )
        self._mark = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self._workspaces: dict[str, str] = {}
        self._endpoints: Mapping[str, Mapping[str, _Endpoint]] = {
            "/v1/messages": {"POST": self._messages.create},
            "/v1/messages/count_tokens": {"POST": self._messages.count},
            _MODELS: {"GET": self._list_models},
        }

    def start(self) -> None:
        """Begin to work on batches, those of an earlier life too. Call it on the loop."""
        self._batches.work.start()

    async def close(self) -> None:
        await self._batches.work.stop()
        self._accounts.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever it is."""
        path = request.path.rstrip("/")
        if path.startswith(_CONTROL):
            return await self._control(request, path)
        envelope = open_envelope(path)
        request_id = f"req_sim{self._mark}{next(self._numbers):08x}"
        exchange = Exchange(request, envelope.path, request_id, "", "", "", envelope=envelope)
        exchange.headers.update(self._messages.limits.headers(""))
        exchange.headers |= {"request-id": exchange.request_id, "anthropic-organization-id": _ORGANIZATION}
        if self._clock.ahead_s:
            exchange.headers["date"] = format_datetime(self._clock.now(), usegmt=True)
        self._traffic.begin()
        try:
            response = await self._answer(exchange)
            self._traffic.by_status[response.status] += 1
            return response
        except ConnectionResetError:
            # Who asked has left: there is nobody to answer, and nothing is wrong here.
            return web.Response(status=_CLIENT_CLOSED_REQUEST)
        finally:
            self._traffic.in_flight -= 1

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        try:
            self._authenticate(exchange)
            if exchange.path == BATCHES or exchange.path.startswith(BATCHES + "/"):
                return await self._batches.handle(exchange)  # reads its body itself
            if exchange.path == FILES or exchange.path.startswith(FILES + "/"):
                return await self._files.handle(exchange)  # so does this
            endpoint = self._find(exchange)
            data = exchange.unwrap(await _read(exchange.request))
            fault = self._faults.choose(exchange.path, data)
            if fault is not None and fault.act.before_acceptance:
                return await fail(exchange, fault)
            return await endpoint(exchange, data, fault)
        except Refused as refused:
            return await exchange.refuse(refused)

    def _authenticate(self, exchange: Exchange) -> None:
        headers = exchange.request.headers
        key = key_of(headers)
        if not key:
            raise Refused("authentication_error: x-api-key or authorization header is required", 401)
        if self._options.key not in (key, ANY_KEY):
            raise Refused("invalid x-api-key", 401)
        exchange.workspace = self._workspaces.get(key) or self._name_workspace(key)
        exchange.headers["anthropic-workspace-id"] = exchange.workspace
        exchange.version = headers.get(
            "anthropic-version", "" if exchange.envelope.has_version_header else NEWER_VERSION
        )
        exchange.betas = headers.get("anthropic-beta", "")
        if exchange.version not in VERSIONS:
            reason = "header is required" if not exchange.version else f"{exchange.version!r} is not a valid version"
            raise Refused(f"anthropic-version: {reason}")

    def _name_workspace(self, key: str) -> str:
        name = self._workspaces[key] = "wrkspc_" + hashlib.sha256(key.encode()).hexdigest()[:24]
        return name

    def _find(self, exchange: Exchange) -> _Endpoint:
        methods = self._endpoints.get(exchange.path)
        if methods is None and exchange.path.startswith(_MODELS + "/"):
            methods = {"GET": self._retrieve_model}
        if methods is None:
            raise Refused("Not Found", 404)
        endpoint = methods.get(exchange.request.method)
        if endpoint is None:
            raise Refused("Method Not Allowed", 405)
        return endpoint

    async def _list_models(self, exchange: Exchange, _: bytes, __: Fault | None) -> web.StreamResponse:
        query = exchange.request.query
        lifecycles = query.getall("lifecycle[]", []) + query.getall("lifecycle", [])
        return await exchange.reply(orjson.dumps(list_models(query, lifecycles)))

    async def _retrieve_model(self, exchange: Exchange, _: bytes, __: Fault | None) -> web.StreamResponse:
        return await exchange.reply(orjson.dumps(model_info(exchange.path.removeprefix(_MODELS + "/"))))

    async def _control(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        exchange = Exchange(request, path, "control", "", "", "")
        try:
            if not secrets.compare_digest(request.headers.get(TOKEN_HEADER, ""), self._options.control_token):
                raise Refused("wrong control token", 401)
            data = await request.read()
            body: Any = decode(data) if data else None
            answer = self._admin.call(request.method, path.removeprefix(_CONTROL), body)
            return await exchange.reply(orjson.dumps(answer))
        except Refused as refused:
            return await exchange.refuse(refused)


async def _read(request: web.BaseRequest) -> bytes:
    too_large = Refused("Request exceeds the maximum size", 413)
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise too_large
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise too_large from None


def make_server(app: App) -> web.Server:
    """The low-level server around an app. Call it on the loop that will run it."""

    loop = asyncio.get_running_loop()

    def make_request(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: Any,
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)

    return web.Server(
        app.handle,
        request_factory=make_request,
        handler_cancellation=True,
        access_log=None,
        read_bufsize=_READ_BYTES,
    )
