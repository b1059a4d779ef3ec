"""The certificates that a server's own is checked against.

Owns   the choice of them, which is the SDK's client's: the system's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
Knows  addresses.
"""

from __future__ import annotations

import ssl

from yarl import URL


def tls_of(url: URL) -> ssl.SSLContext | None:
    """What a connection to an address is made with; None in the clear. Reading certificates takes 50 ms, so not where
    nothing is encrypted."""
    if url.scheme != "https":
        return None
    import httpx2  # 15 ms that no address in the clear needs

    return httpx2.create_ssl_context()
