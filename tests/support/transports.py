"""Either transport, for tests that hold both to the same.

    pytestmark = pytest.mark.usefixtures("transport")     # each test once over the SDK's client, once over the wire

A test then makes its providers by `connect` below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.providers.anthropic import AnthropicProvider
    from runner.providers.wire import WireProvider

    AnyProvider = AnthropicProvider | WireProvider

TRANSPORTS = ("sdk", "wire")

_used = ["sdk"]


@contextmanager
def using(transport: str) -> Iterator[None]:
    _used.append(transport)
    try:
        yield
    finally:
        _used.pop()


def connect(environ: Mapping[str, str], **options: Any) -> AnyProvider:
    """A provider over the transport in use."""
    # Late, since the SDK takes a second to import and most tests need neither.
    from runner.providers import anthropic, wire

    if _used[-1] == "wire":
        return wire.connect(environ, **options)
    return anthropic.connect(environ, **options)
