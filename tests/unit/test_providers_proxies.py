from __future__ import annotations

import ssl
from typing import Any

import httpx2
import pytest
from yarl import URL

from runner.errors import SetupError
from runner.providers.proxies import proxy_for

_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""None: reading them is what takes time."""

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def unproxied(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def address_of_proxy(url: str) -> URL | None:
    proxy = proxy_for(URL(url))
    return proxy.url.with_path("/") if proxy is not None else None


def as_httpx2_has_it(client: httpx2.Client, url: str) -> URL | None:
    """Which proxy the SDK's client would take; it tells nobody, so its insides are asked."""
    transport: Any = client._transport_for_url(httpx2.URL(url))
    if transport is client._transport:
        return None
    proxy = transport._pool._proxy_url
    return URL.build(scheme=proxy.scheme.decode(), host=proxy.host.decode(), port=proxy.port, path="/")


@pytest.mark.parametrize(
    "proxies",
    [
        {"HTTPS_PROXY": "http://one:1"},
        {"ALL_PROXY": "http://all:2", "HTTP_PROXY": "plain:3"},
        {"https_proxy": "http://me:pw@one:1", "http_proxy": "http://two:4"},
    ],
)
@pytest.mark.parametrize(
    "no_proxy",
    [
        "", "*", "example.com", ".example.com", "*.example.com", "api.example.com", "EXAMPLE.com", "ample.com",
        "a.org, example.com", "example.com:8443", "example.com:443", "https://api.example.com",
        "http://api.example.com", "all://example.com", "https://api.example.com:443", "https://", "all://*",
        "localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:8080", "127.0.0.0/8", "10.0.0.0/8", "999.1.1.1",
        "::1", "[::1]", "[::1]:8080", "fe80::/10", "example.com/path", "bad host", "[oops", "https://*.example.com/x",
        "example.com.", ",,",
    ],
)  # fmt: skip
def test_the_proxy_is_the_one_that_the_sdks_client_would_take(
    proxies: dict[str, str], no_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**proxies, "NO_PROXY": no_proxy}.items():
        monkeypatch.setenv(name, value)
    client = httpx2.Client(verify=_CERTIFICATES)
    for url in (
        "https://api.example.com/v1", "https://api.example.com:443", "https://example.com", "https://example.com:8443",
        "https://sample.com", "http://localhost:8080", "http://127.0.0.1:8080", "http://127.0.0.1", "http://10.1.2.3",
        "https://[::1]:8080",
    ):  # fmt: skip
        assert address_of_proxy(url) == as_httpx2_has_it(client, url), url


def test_the_user_of_a_proxy_becomes_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pass%20word@proxy.example:8080")
    proxy = proxy_for(URL("https://api.example.com"))
    assert proxy is not None
    assert proxy.url == URL("http://proxy.example:8080")
    assert proxy.authorization == "Basic bWU6cGFzcyB3b3Jk"
    assert "bWU6" not in repr(proxy)


@pytest.mark.parametrize("address", ["socks5://user:canary@proxy.example:1080", "socks5h://proxy.example"])
def test_a_socks_proxy_is_refused_with_a_reason(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    with pytest.raises(SetupError, match=r"socks5h? proxy") as caught:
        proxy_for(URL("https://api.example.com"))
    assert caught.value.code == "bad-proxy"
    assert "canary" not in str(caught.value)
