from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runner.errors import SetupError
from runner.plugins import find_provider
from runner.providers.anthropic import AnthropicProvider
from runner.providers.credentials import find_credentials
from runner.providers.transport import choose
from runner.providers.wire import WireProvider

KEY = {"ANTHROPIC_API_KEY": "sk-ant-canary-canary"}
TOKEN = {"ANTHROPIC_AUTH_TOKEN": "token-canary"}
CUSTOM = {"ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer of-a-gateway"}
PROFILE = {"ANTHROPIC_PROFILE": "work"}
FEDERATION = {
    "ANTHROPIC_FEDERATION_RULE_ID": "rule",
    "ANTHROPIC_ORGANIZATION_ID": "org",
    "ANTHROPIC_IDENTITY_TOKEN": "jwt",
}


@pytest.mark.parametrize(
    ("environ", "setting", "transport", "why"),
    [
        (KEY, "auto", "wire", "ANTHROPIC_API_KEY does not change"),
        (TOKEN, "auto", "wire", "ANTHROPIC_AUTH_TOKEN does not change"),
        (CUSTOM, "auto", "wire", "among ANTHROPIC_CUSTOM_HEADERS"),
        (PROFILE, "auto", "sdk", "a profile's login is renewed"),
        (FEDERATION, "auto", "sdk", "workload identity"),
        (KEY, "sdk", "sdk", "the setting"),
        (PROFILE, "sdk", "sdk", "the setting"),
        (KEY, "wire", "wire", "the setting"),
    ],
)
def test_the_credential_chooses_unless_the_setting_does(
    environ: dict[str, str], setting: str, transport: str, why: str, tmp_path: Path
) -> None:
    choice = choose(find_credentials({**environ, "ANTHROPIC_CONFIG_DIR": str(tmp_path)}), setting)
    assert choice.transport == transport
    assert why in choice.why


@pytest.mark.parametrize("environ", [PROFILE, FEDERATION])
def test_the_wire_cannot_carry_what_has_to_be_renewed(environ: dict[str, str]) -> None:
    with pytest.raises(SetupError) as caught:
        choose(find_credentials(environ), "wire")
    assert caught.value.code == "bad-transport"
    assert "needs a credential that does not change" in caught.value.message


@pytest.mark.parametrize(
    ("setting", "made"), [("auto", WireProvider), ("wire", WireProvider), ("sdk", AnthropicProvider)]
)
def test_the_provider_by_its_name_is_of_the_transport_that_was_chosen(setting: str, made: type) -> None:
    async def main() -> object:
        provider = find_provider("anthropic").load().connect(KEY, max_concurrency=1, transport=setting)
        await provider.aclose()
        return provider

    assert type(asyncio.run(main())) is made
