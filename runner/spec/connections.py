"""`url` in a dataset or a sink: a URL, or the name of a connection in the project's settings.

Owns   `[connections]` of `runner.toml`, and what is wrong with a `url` that local facts show.
Knows  trees, settings and the environment. The connections it gives hold secrets; nothing here prints one.

    [connections]
    warehouse = "postgresql://reader:${WAREHOUSE_PASSWORD}@db.example.com/analytics"
    archive = {url = "${ARCHIVE_URL}", options = {sslmode = "verify-full"}}

A connection's variables are read only for a job that uses it.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from runner.connections import Connection, has_written_secret, is_secret_option, is_url
from runner.errors import Location, Problem
from runner.settings import ProjectFile, Settings
from runner.spec.environment import Substitution
from runner.spec.hints import choice_hint
from runner.spec.layers import toml_node
from runner.spec.node import Entry, ListNode, MapNode, Node, Path, ScalarNode, child, find, plain
from runner.spec.texts import datasets_of


class ConnectionReader:
    """Reads the connections that one job uses. `problems` and `warnings` collect what is wrong with them."""

    def __init__(self, settings: Settings, *, lenient: bool = False) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._project = settings.project
        self._environment = settings.environment
        self._lenient = lenient

    def read(self, tree: MapNode, substituted: Node) -> dict[str, Connection]:
        """The connections by the `url` of the job, as it is after substitution."""
        connections: dict[str, Connection] = {}
        for path in _places(tree):
            written, node = find(tree, path), find(substituted, path)
            if not isinstance(written, ScalarNode) or not isinstance(written.value, str):
                continue
            if has_written_secret(written.value):
                self.problems.append(_written_secret(written.span.location()))
            elif isinstance(node, ScalarNode) and isinstance(node.value, str) and node.value not in connections:
                found = self._connection(node.value, written)
                if found is not None:
                    connections[node.value] = found
        return connections

    def _connection(self, text: str, written: ScalarNode) -> Connection | None:
        if is_url(text):
            return Connection(text)
        project = self._project
        named = project.connections if project is not None else {}
        if project is not None and text in named:
            return self._named(project, text)
        where = written.span.location()
        if text != written.value:  # what a variable holds is not shown
            found = f"the value of `{written.value}` is neither a URL nor the name of a connection"
        else:
            found = f"`{text}` is neither a URL nor the name of a connection"
        hint = choice_hint(text if text == written.value else "", list(named), "Connections") if named else _EXAMPLE
        self.problems.append(Problem("unknown-connection", found, where, hint))
        return None

    def _named(self, project: ProjectFile, name: str) -> Connection | None:
        table = toml_node(project, ("connections", name), project.connections[name])
        if isinstance(table, ScalarNode):
            table = MapNode({"url": Entry(table.span, table)}, table.span)
        told = len(self.problems)
        self._check_secrets(table)
        if len(self.problems) > told:
            return None
        # Under `url` names are replaced: the options of a connection are as secret as its address.
        substitution = Substitution(self._environment, self._lenient)
        substituted = substitution.apply(MapNode({"url": Entry(table.span, table)}, table.span))
        self.problems += substitution.problems
        self.warnings += substitution.warnings
        values = plain(substituted)["url"]
        url = values.get("url")
        if len(self.problems) > told or url is None:
            return None
        if not isinstance(url, str) or not is_url(url):
            where = (child(table, "url") or table).span.location()
            found = f"the connection `{name}` is no URL"
            self.problems.append(Problem("bad-url", found, where, "postgresql://user@host/database"))
            return None
        return Connection(url, name, values.get("options", {}))

    def _check_secrets(self, table: Node) -> None:
        url, options = child(table, "url"), child(table, "options")
        if isinstance(url, ScalarNode) and has_written_secret(str(url.value)):
            self.problems.append(_written_secret(url.span.location()))
        for name, entry in options.entries.items() if isinstance(options, MapNode) else ():
            value = plain(entry.value)
            if is_secret_option(name) and isinstance(value, str) and value and not value.startswith(("${", "/")):
                self.problems.append(_written_secret(entry.value.span.location()))


_EXAMPLE = '[connections] in runner.toml names them: warehouse = "${WAREHOUSE_URL}"'


def _places(tree: MapNode) -> Iterator[Path]:
    yield from ((*at, "url") for at in datasets_of(tree))
    sinks = tree.get("sinks")
    for number in range(len(sinks.items) if isinstance(sinks, ListNode) else 0):
        yield ("sinks", number, "url")


def _written_secret(where: Location) -> Problem:
    """The line is not shown: it holds the secret."""
    hint = "take it from the environment: ${NAME}; the variable may stand in .env, which is not committed"
    return Problem("secret-in-file", "a password stands in this file", replace(where, source=None), hint)
