"""Which proxy stands before an address: the rules by which the SDK's client reads the environment.

Owns   `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` (and, on macOS and Windows, the system's own settings,
       as `urllib` finds them), asked once an address.
Why    aiohttp's own `trust_env` reads them for every request, in a thread, knows no `ALL_PROXY`, and reads `~/.netrc`
       as well, which would put another credential beside the key.

Source: httpx2 2.16 `_utils.py` (`get_environment_proxies`, `URLPattern`), private there; a test holds the two together.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.request import getproxies

from yarl import URL

from runner.errors import SetupError

_PORTS = {"http": 80, "https": 443}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Proxy:
    """`authorization` is the header value for it, None where its address names no user."""

    url: URL
    authorization: str | None = field(repr=False)


def proxy_for(url: URL) -> Proxy | None:
    """The proxy for requests to this address, None where they go straight there.

    Raises SetupError for a proxy of a kind that is not spoken here (SOCKS).
    """
    settings = getproxies()
    found = settings.get(url.scheme) or settings.get("all")
    if not found or _is_exempt(url, settings.get("no", "")):
        return None
    proxy = URL(found if "://" in found else f"http://{found}")
    if proxy.scheme not in _PORTS or not proxy.host:
        raise SetupError(
            f"the proxy for {url.host} is a {proxy.scheme} proxy, which is not supported",
            code="bad-proxy",
            hint="set HTTPS_PROXY to an http:// or https:// proxy, or name the host in NO_PROXY",
        )
    if proxy.user is None:
        return Proxy(proxy, None)
    user = base64.b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
    return Proxy(proxy.with_user(None), f"Basic {user}")


def _is_exempt(url: URL, no_proxy: str) -> bool:
    return any(_covers(entry.strip(), url) for entry in no_proxy.split(","))


def _covers(entry: str, url: URL) -> bool:
    """Whether one entry of NO_PROXY means this address; one that cannot be read means none."""
    host = (url.host or "").lower()
    if entry == "*":
        return True
    if (network := _network(entry)) is not None:
        return _lies_in(host, network)
    scheme, separator, named = entry.rpartition("://")
    parts = _HOST_AND_PORT.fullmatch(named.partition("/")[0] if separator else named)
    if not entry or parts is None or scheme not in ("", "all", url.scheme):
        return False
    port = int(parts["port"]) if parts["port"] else None
    if port is not None and port != _PORTS.get(scheme) and port != (None if url.is_default_port() else url.port):
        return False
    pattern = parts["host"].lower()
    # Without a scheme a name means its subdomains as well.
    exact = separator or pattern == "localhost" or pattern.startswith(("[", "*."))
    return _is_like(host, pattern.strip("[]") if exact else f"*{pattern}")


_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:/\[\]]*)(?::(?P<port>\d+))?")


def _is_like(host: str, pattern: str) -> bool:
    if pattern == "":
        return True  # `https://`: all that is reached by it
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and host != pattern[1:]
    if pattern.startswith("*"):
        return host == pattern[1:] or host.endswith(f".{pattern[1:]}")
    return host == pattern


def _network(entry: str) -> Network | None:
    """An address or a range of them, as an entry of NO_PROXY."""
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _lies_in(host: str, network: Network) -> bool:
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False
