"""What a dataset says that does not go together, and what of a statement is wrong that its text alone shows.

Owns   the check of the dataset's keys against the Options of its plugin, and of `sql`, `query`, `url` and `bind`.
Knows  the tree (for places, with `${NAME}` unreplaced), plugins by name and the scan of a statement; no database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from runner.connections import Connection
from runner.errors import Problem, SpecError
from runner.plugins import DATASETS, SOURCES, dataset_from, find_dataset
from runner.spec.hints import choice_hint
from runner.spec.node import ListNode, MapNode, Node, Path, ScalarNode, find, plain
from runner.spec.statement import WrittenStatement
from runner.spec.texts import CROSS, datasets_of
from runner.statements import WRITING, Statement, scan

_MYSQL = frozenset({"mysql", "mariadb"})
"""Kinds of databases whose texts and comments are MySQL's."""
_MIXED = re.compile(r"\$\{.*\{\{|\{\{.*\$\{", re.DOTALL)


def check_datasets(
    tree: MapNode, statements: Mapping[Path, WrittenStatement], connection_of: Callable[[Path], Connection | None]
) -> Iterator[Problem]:
    """All problems and warnings of this kind. `connection_of` gives a dataset's connection, where it is known."""
    yield from _names(find(tree, CROSS))
    for at in datasets_of(tree):
        node = find(tree, at)
        if isinstance(node, MapNode):
            yield from _of_one(node, at, statements.get(at), connection_of(at))


def _names(cross: Node | None) -> Iterator[Problem]:
    """What crossed datasets are called is looked up as `row.question`."""
    for name, entry in cross.entries.items() if isinstance(cross, MapNode) else ():
        if not (name.isidentifier() and name.isascii()):
            found = f"`{name}` cannot be looked up as a column of a row"
            hint = "letters, digits and `_`, the first no digit, such as `question`"
            yield Problem("bad-name", found, entry.key.location(), hint)


def _of_one(
    node: MapNode, at: Path, statement: WrittenStatement | None, connection: Connection | None
) -> Iterator[Problem]:
    yield from _keys(node)
    if statement is None:
        return
    if statement.key == "sql" and node.get("url") is None:
        where = node.entries["sql"].key.location()
        name = ".".join(map(str, at))
        yield Problem("missing-key", f"`{name}.url` is missing", where, 'add `url: "${DATABASE_URL}"`')
    is_duckdb = connection is not None and connection.dialect == "duckdb"
    scanned = scan(statement.text, mysql=connection is not None and connection.dialect in _MYSQL)
    yield from _form(statement, scanned)
    # DuckDB has an INTO that only names columns (UNPIVOT), and says itself what writes.
    if scanned.into is not None and scanned.first_word not in WRITING and statement.key == "sql" and not is_duckdb:
        line, _ = scanned.place(scanned.into)
        where = statement.locate(line, scanned.text[scanned.into : scanned.into + 4])
        yield Problem("bad-statement", "a dataset reads, and this `into` writes", where, "write with a sink")
    yield from _parameters(statement, scanned, node.get("bind"))
    if not scanned.ordered and node.get("key") is None:
        found = "the rows have neither a `key` nor an order, so their numbers may change from run to run"
        hint = "name a column in `key`, or end the statement with ORDER BY"
        yield Problem("unordered", found, statement.node.span.location(), hint, "warning")


def _keys(node: MapNode) -> Iterator[Problem]:
    """Keys that belong to another kind of dataset."""
    said = plain(node)
    source = next((name for name in ("path", *SOURCES) if said.get(name)), None)
    if source is None:
        return
    try:
        plugin = dataset_from(source, said[source] if isinstance(said[source], str) else "")
        own = plugin.options().model_fields
    except SpecError:
        return  # of a path it is told where the path is looked at
    # What no plugin has is a matter of the selection.
    foreign = {key for kind in DATASETS for key in find_dataset(kind).options().model_fields} - {*own, source}
    for key, entry in node.entries.items():
        if key in foreign and said[key] is not None and key not in ("path", *SOURCES):
            here = f"a dataset with `{source}`" if source != "path" else f"the {plugin.kind} dataset"
            message = f"`{key}` is no key of {here}"
            of = sorted(kind for kind in DATASETS if key in find_dataset(kind).options().model_fields)
            hint = f"it goes with {' and '.join(f'`{each}`' for each in of)}" if of else "take it out"
            yield Problem("unknown-key", message, entry.key.location(), hint)


def _form(statement: WrittenStatement, scanned: Statement) -> Iterator[Problem]:
    if scanned.first_word is None:
        yield Problem("bad-statement", "there is no statement", statement.node.span.location())
    elif scanned.first_word in WRITING:
        first = re.search(scanned.first_word, scanned.text, re.IGNORECASE)
        line, _ = scanned.place(first.start() if first else 0)
        where = statement.locate(line, first.group() if first else None)
        found = f"a dataset reads, and the statement begins with `{scanned.first_word}`"
        yield Problem("bad-statement", found, where, "one SELECT; write with a sink")
    if scanned.second is not None:
        line, _ = scanned.place(scanned.second)
        word = re.match(r"\w*", scanned.text[scanned.second :])
        where = statement.locate(line, word.group() if word and word.group() else None)
        hint = "one statement, such as WITH … SELECT; a `;` may only end it"
        yield Problem("bad-statement", "a second statement begins here", where, hint)


def _parameters(statement: WrittenStatement, scanned: Statement, bind: Node | None) -> Iterator[Problem]:
    """A parameter without a value, a value without a parameter, a value that is half a template and half a secret."""
    given = bind.entries if isinstance(bind, MapNode) else {}
    told: set[str] = set()
    for parameter in scanned.parameters:
        if parameter.name not in given and parameter.name not in told:
            told.add(parameter.name)
            line, _ = scanned.place(parameter.start)
            where = statement.locate(line, f":{parameter.name}")
            hint = choice_hint(parameter.name, list(given), "Values in bind") if given else None
            hint = hint or f"give it one: bind: {{{parameter.name}: …}}"
            yield Problem("unbound-parameter", f"`:{parameter.name}` has no value in `bind`", where, hint)
    for name, entry in given.items():
        if name not in scanned.names:
            found = f"the statement has no parameter `:{name}`"
            hint = choice_hint(name, list(scanned.names), "Its parameters")
            yield Problem("unused-value", found, entry.key.location(), hint)
        value = entry.value
        items = value.items if isinstance(value, ListNode) else (value,)
        if not all(isinstance(item, ScalarNode) for item in items):
            found = f"`{name}`: a parameter takes a single value, or a list of them"
            yield Problem("bad-value", found, value.span.location(), "give the statement a parameter for each part")
        if isinstance(value, ScalarNode) and isinstance(value.value, str) and _MIXED.search(value.value):
            found = "a value is either from the environment or a template, not both"
            hint = "give the database two values, and join them in the statement"
            yield Problem("bad-value", found, value.span.location(), hint)
