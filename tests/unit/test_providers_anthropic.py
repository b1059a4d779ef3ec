"""What only the SDK's client can do: credentials that are fetched and renewed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runner.errors import SetupError
from runner.providers import Sent
from runner.providers.anthropic import connect
from runner.testing.providers import sample_request
from support.raw_server import Exchange, reply, serve


def test_a_profile_that_cannot_be_read_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    with pytest.raises(SetupError) as caught:
        connect({"ANTHROPIC_PROFILE": "nope"}, max_concurrency=1)
    assert caught.value.code == "bad-credential"


def test_workload_identity_that_is_refused_stops_the_job(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("jwt-canary-jwt")

    async def main() -> tuple[Sent, list[Exchange]]:
        async with serve(reply(b'{"error":"invalid_grant"}', status="400 Bad")) as server:
            environ = {
                "ANTHROPIC_FEDERATION_RULE_ID": "rule",
                "ANTHROPIC_ORGANIZATION_ID": "org",
                "ANTHROPIC_IDENTITY_TOKEN_FILE": str(token),
                "ANTHROPIC_BASE_URL": server.address,
            }
            provider = connect(environ, max_concurrency=1)
            sent = await provider.send(sample_request())
            await provider.aclose()
            return sent, server.requests

    sent, requests = asyncio.run(main())
    failure = sent.failure
    assert failure is not None
    assert (failure.kind, failure.scope, failure.retryable) == ("authentication_error", "job", False)
    assert "canary" not in failure.message
    assert all("/oauth/token" in seen.line for seen in requests)
