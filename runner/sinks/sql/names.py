"""Names in statements: any text, quoted so that it is a name and nothing else.

Owns   `schema.table` as a job writes it, and the quoting. Knows  nothing of databases but their two quotes.

Names are taken as they are written: a quoted name is not folded to lower case, as PostgreSQL does with a bare one.

Source: ISO/IEC 9075 <delimited identifier> (PostgreSQL, SQLite, DuckDB); MariaDB "Identifier Names", which quotes with
a backtick whatever `sql_mode` says.
"""

from __future__ import annotations

import re

from msgspec import Struct

_PART = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


class TableName(Struct, frozen=True):
    """A table, and its schema (MariaDB: its database) where it is not the connection's own."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        return ".".join(_shown(part) for part in (self.schema, self.name) if part is not None)

    def beside(self, name: str) -> TableName:
        """Another table of the same schema."""
        return TableName(self.schema, name)


def parse_table(text: str) -> TableName:
    """`table` or `schema.table`; a part that has a dot or a quote in it stands in double quotes. Raises ValueError that
    says what is expected."""
    parts: list[str] = []
    place = 0
    while True:
        found = _PART.match(text, place)
        if found is None:
            raise ValueError('a table, or schema.table; a name with a dot in it stands in double quotes: "a.b".c')
        parts.append(found[1].replace('""', '"') if found[1] is not None else found[2])
        place = found.end()
        if place == len(text):
            break
        if text[place] != ".":
            raise ValueError(f"a table, or schema.table: {text[place]!r} cannot stand after a name")
        place += 1
    if len(parts) > 2:
        raise ValueError("a table, or schema.table; the database is the URL's")
    if any("\0" in part or part != part.strip() for part in parts):
        raise ValueError("a table, or schema.table, without spaces around the names")
    return TableName(parts[0] if len(parts) == 2 else None, parts[-1])


def _shown(part: str) -> str:
    return part if re.fullmatch(r'[^".]+', part) else double_quoted(part)


def double_quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def backquoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
