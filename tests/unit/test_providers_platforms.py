"""The platforms' clients where something is missing, or answers otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SetupError
from runner.plugins import find_provider
from runner.providers import Sent
from runner.providers.platforms import PlatformProvider
from runner.testing.providers import sample_request
from support.engine_fakes import body_of
from support.raw_server import Answer, Exchange, reply, serve

AWS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret-canary-secret"}


def made(name: str, environ: Mapping[str, str], **options: str) -> PlatformProvider:
    plugin = find_provider(name)
    provider: PlatformProvider = plugin.load().connect_with(environ, plugin.options()(**options), max_concurrency=2)
    return provider


def try_once(
    name: str, answer: Answer, environ: Mapping[str, str], path: str = "", **options: str
) -> tuple[Sent, list[Exchange]]:
    async def main() -> tuple[Sent, list[Exchange]]:
        async with serve(answer) as server:
            provider = made(name, environ, base_url=server.address + path, **options)
            try:
                return await provider.send(sample_request(model="global.anthropic.claude-x")), server.requests
            finally:
                await provider.aclose()

    return asyncio.run(main())


def test_bedrock_gets_the_model_in_the_path_a_signature_and_no_model_in_the_body() -> None:
    sent, (asked,) = try_once("bedrock", reply(body_of("hello"), x_amzn_requestid="r-1"), AWS, aws_region="eu-west-1")
    assert sent.reply is not None
    assert sent.request_id == "r-1"
    assert asked.line == "POST /model/global.anthropic.claude-x/invoke HTTP/1.1"
    assert "/eu-west-1/bedrock/aws4_request" in asked.headers["authorization"]
    body = json.loads(asked.body)
    assert "model" not in body
    assert body["anthropic_version"]
    assert "secret" not in repr((sent, asked.headers))


def test_vertex_gets_a_path_of_project_and_region() -> None:
    environ = {"ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer token-canary"}
    sent, (asked,) = try_once("vertex", reply(body_of("hello")), environ, "/v1", region="us-east5", project_id="p")
    assert sent.reply is not None
    assert asked.line.startswith(
        "POST /v1/projects/p/locations/us-east5/publishers/anthropic/models/global.anthropic.claude-x:rawPredict "
    )
    assert asked.headers["authorization"] == "Bearer token-canary"


def test_a_key_of_anthropics_own_never_goes_to_a_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-canary: sk-ant-canary")
    cases: list[tuple[str, Mapping[str, str], dict[str, str]]] = [
        ("foundry", {"ANTHROPIC_FOUNDRY_API_KEY": "foundry-key"}, {}),
        ("bedrock", AWS, {"aws_region": "r"}),
        ("aws", AWS, {"aws_region": "r", "workspace_id": "w"}),
        ("vertex", {"ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer t"}, {"region": "r", "project_id": "p"}),
        ("google_cloud", {"ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer t"}, {}),
    ]
    for name, environ, options in cases:
        sent, (asked,) = try_once(name, reply(body_of("hello")), environ, **options)
        assert sent.reply is not None, name
        assert "sk-ant-canary" not in repr(asked.headers), name


def test_a_refusal_of_a_gate_is_read_and_never_tried_again() -> None:
    throttled = reply(b'{"message":"Too many requests"}', status="429 Too Many", x_amzn_errortype="ThrottlingException")
    sent, asked = try_once("bedrock", throttled, AWS, aws_region="r")
    assert sent.failure is not None
    assert (sent.failure.kind, sent.failure.retryable, len(asked)) == ("rate_limit_error", True, 1)


@pytest.mark.parametrize("name", ["vertex", "google_cloud"])
def test_without_a_credential_of_google_every_request_says_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    options: dict[str, Any] = {"region": "r", "project_id": "p"} if name == "vertex" else {}
    sent, asked = try_once(name, reply(body_of("hello")), {}, **options)
    assert sent.failure is not None
    assert (sent.failure.kind, sent.failure.scope, asked) == ("authentication_error", "job", [])


def test_a_profile_of_aws_that_there_is_not_is_told_when_the_provider_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    async def main() -> None:
        made("bedrock", {}, aws_region="r", aws_profile="nobody")

    with pytest.raises(SetupError, match="nobody"):
        asyncio.run(main())
