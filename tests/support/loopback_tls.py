"""A server's certificate for `localhost`, from an authority that nobody trusts unless told to.

They were made once and are valid from 2020 to 2119, so that no test needs a tool or a clock for them; the authority's
own key was thrown away. The key below guards nothing but sockets of tests on this machine.
"""

from __future__ import annotations

import ssl
from pathlib import Path

AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBdzCCARygAwIBAgIBATAKBggqhkjOPQQDAjAgMR4wHAYDVQQDDBVBbiBhdXRo
b3JpdHkgb2YgdGVzdHMwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBa
MCAxHjAcBgNVBAMMFUFuIGF1dGhvcml0eSBvZiB0ZXN0czBZMBMGByqGSM49AgEG
CCqGSM49AwEHA0IABEeq/zlLLq5pUg4dFzXxD1yblSUilI8WANDjV2pupIJ5YHbs
fjXA2wLw/eQasWx6J8qP7DCJwBqnmasucGZ6BuOjRTBDMBIGA1UdEwEB/wQIMAYB
Af8CAQAwDgYDVR0PAQH/BAQDAgEGMB0GA1UdDgQWBBRmGiSyaLYIKqzPrRi9outY
L9Ua+DAKBggqhkjOPQQDAgNJADBGAiEAo0j0L8VnqO+Hn0gduLgoDK0U6BSpgygS
BAS9sJEyIgACIQDuZ05GiPHlpa7idwOo94EScueule4M6VNYEkAf0IZAYg==
-----END CERTIFICATE-----
"""

_SERVER = """\
-----BEGIN CERTIFICATE-----
MIIBsjCCAVigAwIBAgIBAjAKBggqhkjOPQQDAjAgMR4wHAYDVQQDDBVBbiBhdXRo
b3JpdHkgb2YgdGVzdHMwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBa
MBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BB1pGIQxkqDgn9MeuI8RoyZbY02zf0X2TrjBplS6j8Cq858oBfbJQ4eLo1/XxsOA
zwhzMd2Py0X20xQa0yJ12b6jgYwwgYkwFAYDVR0RBA0wC4IJbG9jYWxob3N0MAwG
A1UdEwEB/wQCMAAwDgYDVR0PAQH/BAQDAgeAMBMGA1UdJQQMMAoGCCsGAQUFBwMB
MB0GA1UdDgQWBBTJQOjEBV9bK6ggcaK+l9D6YNa76DAfBgNVHSMEGDAWgBRmGiSy
aLYIKqzPrRi9outYL9Ua+DAKBggqhkjOPQQDAgNIADBFAiEA8/muCap+neC56vyC
Mtqym2QDsbk/XegmEJg/h+o+kiMCIApLKQJ8j9wgPQx0wFq/d+lpCMaLt1sABfJR
vDx01DqX
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgqrl/gUHgE7mZcuwj
3g5JB1VXE7aeQRswflV/XkaEBJehRANCAAQdaRiEMZKg4J/THriPEaMmW2NNs39F
9k64waZUuo/AqvOfKAX2yUOHi6Nf18bDgM8IczHdj8tF9tMUGtMiddm+
-----END PRIVATE KEY-----
"""


def authority_file(folder: Path) -> Path:
    """What SSL_CERT_FILE is set to by who trusts the authority."""
    path = folder / "authority.pem"
    path.write_text(AUTHORITY)
    return path


def server_context(folder: Path) -> ssl.SSLContext:
    """For a server on localhost."""
    path = folder / "server.pem"
    path.write_text(_SERVER)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
