"""Addresses: which paths are URLs, and what of one may be shown.

Owns   the syntax: `scheme://…`, and fsspec's chains (`zip://inside.csv::s3://bucket/all.zip`), whose first link is the
       file and whose last one is where it lies.
Knows  text only.

Source: RFC 3986, sections 3.1 and 3.2.1; fsspec, "URL chaining". A scheme has two letters at least, so that `C:\\data`
is a path.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_CHAINED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+::\S")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+")
_LOCAL = ("file", "local")
_NAMED_BEFORE_AT = ("abfs", "abfss", "sftp", "ssh")
"""Before an @ stands the container there, or a user, without whom another file may be meant. Elsewhere it may be a
token."""
CHAIN = "::"


def is_url(path: str) -> bool:
    """Whether a path is a URL, or a chain of them, and no name in the local file system."""
    return _SCHEME.match(path) is not None or (_CHAINED.match(path) is not None and "://" in path)


def as_path(path: str) -> str:
    """The path that a `file://` URL means; every other path as it is."""
    if scheme_of(path) in _LOCAL and CHAIN not in path:
        return unquote(urlsplit(path).path)
    return path


def scheme_of(url: str) -> str:
    """The scheme of the first link, in lower case; empty for a path that has none."""
    match = _SCHEME.match(url)
    return match.group(1).lower() if match else url.partition(CHAIN)[0].lower() if is_url(url) else ""


def is_web(url: str) -> bool:
    """Whether it is one address of the web, which is read by our own reader."""
    return scheme_of(url) in ("http", "https") and CHAIN not in url


def file_name(url: str) -> str:
    """The last part of a URL's path, which tells the format: `x.csv` of `https://host/a/x.csv?signature=…`.

    A link that only caches (`simplecache::s3://…`) has no name of its own: the next one's counts.
    """
    named = [link for link in url.split(CHAIN) if "://" not in link or link.partition("://")[2]]
    links = named[1:] if len(named) > 1 and "://" not in named[0] else named
    return _without_query(links[0] if links else url).rpartition("/")[2]


def shown(url: str) -> str:
    """A URL as people may see it: without a password, a user of the web, query and fragment."""
    return CHAIN.join(_shown_link(link) for link in url.split(CHAIN))


def without_secrets(text: str) -> str:
    """A text of a library, one line, the URLs in it as they may be shown."""
    line = " ".join(text.split())
    return _IN_TEXT.sub(lambda match: shown(match.group()), line)[:300]


def _without_query(link: str) -> str:
    return re.split(r"[?#]", link, maxsplit=1)[0] if scheme_of(link) in ("http", "https") else link


def _shown_link(link: str) -> str:
    match = _SCHEME.match(link)
    if match is None:
        return link
    rest = _without_query(link)[match.end() :]
    host, slash, path = rest.partition("/")
    before, at, host = host.rpartition("@")
    if scheme_of(link) in _NAMED_BEFORE_AT:
        host = f"{before.partition(':')[0]}{at}{host}"
    cut = "?…" if len(_without_query(link)) < len(link) else ""
    return f"{match.group()}{host}{slash}{path}{cut}"
