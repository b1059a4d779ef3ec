"""Where a credential comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import SetupError
from runner.providers.credentials import Credentials, check_address, find_credentials, parse_custom_headers

KEY = "sk-ant-api03-canary"


def find(tmp_path: Path, **environ: str) -> Credentials:
    return find_credentials(environ, home=tmp_path)


def profile(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / ".config" / "anthropic"
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "configs" / f"{name}.json").write_text("{}")
    return folder


def test_the_key_wins_over_the_token_and_everything_else(tmp_path: Path) -> None:
    profile(tmp_path, "default")
    found = find(tmp_path, ANTHROPIC_API_KEY=KEY, ANTHROPIC_AUTH_TOKEN="token-1", ANTHROPIC_PROFILE="p")
    assert (found.kind, found.value, found.address) == ("api_key", KEY, "https://api.anthropic.com")


def test_a_blank_key_is_none_and_the_token_is_used(tmp_path: Path) -> None:
    found = find(tmp_path, ANTHROPIC_API_KEY=" \n", ANTHROPIC_AUTH_TOKEN="token-1")
    assert (found.kind, found.value) == ("auth_token", "token-1")


def test_a_named_profile_wins_over_workload_identity_and_that_over_the_profile_on_disk(tmp_path: Path) -> None:
    folder = profile(tmp_path, "work")
    identity = {
        "ANTHROPIC_FEDERATION_RULE_ID": "rule",
        "ANTHROPIC_ORGANIZATION_ID": "org",
        "ANTHROPIC_IDENTITY_TOKEN": "jwt-canary",
        "ANTHROPIC_WORKSPACE_ID": "wrkspc_1",
    }
    assert find(tmp_path, ANTHROPIC_PROFILE="p", **identity).kind == "profile"
    found = find(tmp_path, **identity)
    assert (found.kind, found.workspace) == ("federation", "wrkspc_1")
    assert found.federation is not None
    assert found.federation.token == "jwt-canary"
    (folder / "active_config").write_text("work\n")
    found = find(tmp_path)
    assert (found.kind, found.value, found.address) == ("profile", "work", None)


def test_workload_identity_needs_all_of_its_parts(tmp_path: Path) -> None:
    with pytest.raises(SetupError):
        find(tmp_path, ANTHROPIC_FEDERATION_RULE_ID="rule", ANTHROPIC_ORGANIZATION_ID="org")
    found = find(
        tmp_path,
        ANTHROPIC_FEDERATION_RULE_ID="rule",
        ANTHROPIC_ORGANIZATION_ID="org",
        ANTHROPIC_IDENTITY_TOKEN_FILE="/var/token",
    )
    assert found.kind == "federation"


def test_a_configuration_folder_can_be_named(tmp_path: Path) -> None:
    folder = profile(tmp_path, "default")
    assert find_credentials({"ANTHROPIC_CONFIG_DIR": str(folder)}, home=tmp_path / "nowhere").value == "default"


def test_a_credential_among_the_custom_headers_is_enough(tmp_path: Path) -> None:
    found = find(tmp_path, ANTHROPIC_CUSTOM_HEADERS="X-Api-Key: gateway-canary\nX-Team: a")
    assert found.kind == "headers"
    assert found.secrets == ("gateway-canary",)
    with pytest.raises(SetupError):
        find(tmp_path, ANTHROPIC_CUSTOM_HEADERS="X-Team: a")


def test_without_a_credential_every_place_is_listed_in_order(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        find(tmp_path, ANTHROPIC_API_KEY="")
    assert caught.value.code == "no-credentials"
    message = caught.value.message
    places = [
        "ANTHROPIC_API_KEY (set, but blank)",
        "ANTHROPIC_AUTH_TOKEN (not set)",
        "ANTHROPIC_PROFILE (not set)",
        "ANTHROPIC_FEDERATION_RULE_ID",
        str(tmp_path / ".config" / "anthropic"),
        "ANTHROPIC_CUSTOM_HEADERS",
    ]
    assert [message.index(place) for place in places] == sorted(message.index(place) for place in places)
    assert "--simulate" in (caught.value.hint or "")


@pytest.mark.parametrize("value", [f"{KEY}\n", f" {KEY}", f'"{KEY} "', "sk-ant-ключ", "a\x00b"])
def test_a_key_that_cannot_be_a_header_is_refused_without_showing_it(tmp_path: Path, value: str) -> None:
    with pytest.raises(SetupError) as caught:
        find(tmp_path, ANTHROPIC_API_KEY=value)
    assert caught.value.code == "bad-credential"
    assert value.strip() not in str(caught.value)


def test_no_representation_shows_a_secret(tmp_path: Path) -> None:
    found = find(tmp_path, ANTHROPIC_API_KEY=KEY, ANTHROPIC_CUSTOM_HEADERS="X-Gate: gate-canary")
    assert KEY not in repr(found)
    assert "gate-canary" not in repr(found)
    assert set(found.secrets) == {KEY, "gate-canary"}


@pytest.mark.parametrize(
    "address",
    [
        "https://api.anthropic.com",
        "https://gw.example/base",
        "http://127.0.0.1:80",
        "http://[::1]:1",
        "http://localhost:8",
    ],
)
def test_https_and_this_machine_are_safe_addresses(tmp_path: Path, address: str) -> None:
    assert find(tmp_path, ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=address).address == address


@pytest.mark.parametrize(
    "address",
    [
        "http://api.anthropic.com",
        "http://127.0.0.1.example",
        "http://localhost.example",
        "ftp://x",
        "api.anthropic.com",
        "https://",
        "http://10.0.0.1",
        "https://user@gw.example",
        "http://user:pw@localhost",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(SetupError) as caught:
        check_address(address)
    assert caught.value.code == "unsafe-address"


def test_a_refused_address_is_shown_without_its_password() -> None:
    with pytest.raises(SetupError) as caught:
        check_address("http://user:hunter2@gw.example")
    assert "hunter2" not in str(caught.value)
    assert "gw.example" in str(caught.value)


def test_custom_headers_are_a_name_and_a_value_a_line() -> None:
    assert parse_custom_headers("A: 1\nnothing\n B : x: y \n: z") == {"A": "1", "B": "x: y"}
