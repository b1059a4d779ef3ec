"""Connections: the databases that a job reads from and writes to, by URL or by a name of the project's settings.

Owns   `Connection`, and the one reading of a database's URL: its parts, what may be shown of it, which of its parts are
       secret.
Knows  text. Nothing here connects or imports a driver: `runner check` asks it too.

Invariants
  * `shown` has the kind of database, host, port and the database's name: no user, no password, no option.
  * What `scrubbed` gives holds no password and no option that is named like a secret, as written or percent-decoded.

Source: "Database URLs", SQLAlchemy 2.1 documentation: `dialect+driver://username:password@host:port/database?option=…`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_.+-]*)://(.*)", re.DOTALL)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
"""What a connection may be called: a bare key of TOML, so that it is never taken for a URL."""

_SECRET_OPTIONS = re.compile(r"pass|pwd|secret|token|key|credential", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-([^}]*))?\}")
SHORTEST_SECRET = 3
"""Shorter texts stand everywhere: taking them out of a message would leave nothing of it."""


class BadUrl(ValueError):
    """A text that is no URL of a database. The message never quotes it: it may hold a password."""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The parts of a URL, percent-decoded."""

    dialect: str
    driver: str | None
    host: str
    port: int | None
    database: str
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def shown(self) -> str:
        """Without user, password and options."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.dialect}://{host}{f':{self.port}' if self.port else ''}/{self.database}"


@dataclass(frozen=True)
class Connection:
    """A database with what it takes to reach it. `name` is what `[connections]` calls it, None for a URL in a job.

    `url` and `options` hold secrets. `options` are handed to the driver when it connects.
    """

    url: str = field(repr=False)
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def parts(self) -> DatabaseUrl:
        """The URL read. Raises BadUrl."""
        return read_url(self.url)

    @property
    def dialect(self) -> str | None:
        """The kind of database, None where the URL cannot be read."""
        try:
            return self.parts.dialect
        except BadUrl:
            return None

    @property
    def shown(self) -> str:
        """How messages and the ledger call it."""
        try:
            url = self.parts.shown
        except BadUrl:
            return self.name or "the URL"
        return f"{self.name} ({url})" if self.name else url

    def scrubbed(self, text: str) -> str:
        """The text without what is secret of the connection."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _secrets(self) -> set[str]:
        texts = [self.url]
        texts += [value for name, value in self.options.items() if isinstance(value, str) and is_secret_option(name)]
        try:
            parts = self.parts
        except BadUrl:
            pass
        else:
            texts.append(parts.password or "")
            texts += [value for name, value in parts.query.items() if is_secret_option(name)]
            texts += _raw_password(self.url)
        return {text for text in texts if len(text) >= SHORTEST_SECRET}


def is_url(text: str) -> bool:
    return "://" in text


def read_url(text: str) -> DatabaseUrl:
    """The parts of a URL. Raises BadUrl.

    What stands before the last `@` of the authority is user and password, so that an `@` in a password does no harm.
    """
    match = _SCHEME.fullmatch(text.strip())
    if match is None:
        raise BadUrl("a URL begins with the kind of database, such as postgresql://")
    dialect, _, driver = match.group(1).partition("+")
    rest, _, query = match.group(2).partition("?")
    authority, _, database = rest.partition("/")
    account, at, address = authority.rpartition("@")
    if not at and "@" in database and dialect.lower() not in _FILES:
        raise BadUrl("the user or the password holds a `/`: write it as %2F")
    host, port = _host_and_port(address)
    username, colon, password = account.partition(":")
    return DatabaseUrl(
        dialect=_ALIASES.get(dialect.lower(), dialect.lower()),
        driver=driver or None,
        host=unquote(host),
        port=port,
        database=unquote(database),
        username=unquote(username) if at and username else None,
        password=unquote(password) if colon else None,
        query=dict(parse_qsl(query, keep_blank_values=True)),
    )


_ALIASES: Mapping[str, str] = {"postgres": "postgresql"}
"""Heroku's and others' name for it, which SQLAlchemy takes no more."""
_FILES = frozenset({"sqlite", "duckdb"})
"""Dialects whose database is a file."""


def _host_and_port(address: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?", address)
    if match is None:
        raise BadUrl("the host is not readable; an IPv6 address stands in brackets: [::1]")
    host, port = match.group(1).strip("[]"), match.group(2)
    if port is not None and not (port.isascii() and port.isdecimal() and int(port) < 1 << 16):
        raise BadUrl("the port is no number below 65,536; is an `@` missing behind the password?")
    return host, int(port) if port else None


def _raw_password(url: str) -> list[str]:
    account = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
    return [account.partition(":")[2]]


def has_written_secret(text: str) -> bool:
    """Whether a URL, as it is written in a file, holds a password or a secret option itself and not by `${NAME}`.

    The default of `${NAME:-…}` is written text too.
    """
    written = _VARIABLE.sub(lambda match: match.group(1) or "", text)
    if not is_url(written):
        return False
    try:
        parts = read_url(written)
    except BadUrl:
        return "@" in written
    return bool(parts.password) or any(value and _SECRET_OPTIONS.search(name) for name, value in parts.query.items())


def is_secret_option(name: str) -> bool:
    """Whether an option's name says that its value is a secret."""
    return _SECRET_OPTIONS.search(name) is not None
