"""What a sink says of a table that does not go together, as far as the job shows it.

Owns   `write`, `unique_key` and the dataset's `key` beside one another. What only the database shows is told by the
       sink itself, before anything is paid.
Knows  the tree (for places).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.errors import Problem
from runner.spec.hints import choice_hint
from runner.spec.node import ListNode, MapNode, Node, find, plain


def check_tables(tree: MapNode) -> Iterator[Problem]:
    """All problems of this kind."""
    sinks = tree.get("sinks")
    has_key = bool(_plain(find(tree, ("dataset", "key"))))
    before: dict[tuple[str, str], tuple[int, Any]] = {}
    for number, node in enumerate(sinks.items if isinstance(sinks, ListNode) else (), 1):
        if isinstance(node, MapNode) and isinstance(_plain(node.get("table")), str):
            said = plain(node)
            yield from _check(node, said, has_key=has_key)
            target = str(said.get("url")), said["table"]
            first, write = before.setdefault(target, (number, said.get("write")))
            if first != number and "replace" in (write, said.get("write")):
                found = f"sink {first} writes to `{said['table']}` too, and a table that is replaced has one writer"
                where = node.entries["table"].value.span.location()
                yield Problem("duplicate-sink", found, where, "give each sink a table of its own")


def _check(node: MapNode, said: dict[str, Any], *, has_key: bool) -> Iterator[Problem]:
    write, keys = said.get("write"), said.get("unique_key")
    if write == "merge":
        where = node.entries["write"].value.span.location()
        if not keys:
            found = "`write: merge` needs a `unique_key`: the columns that tell the rows of the table apart"
            yield Problem("merge-without-key", found, where, "unique_key: [key]")
        if not has_key:
            found = "`write: merge` needs a `key` of the dataset: without one a row is named by its position alone"
            yield Problem("merge-without-key", found, where, "name the column that tells rows apart: `dataset.key`")
    elif keys and write in (None, "append"):
        where = node.entries["unique_key"].key.location()
        found = "`unique_key` changes nothing in a table to which every record is appended"
        yield Problem("no-effect", found, where, "write `write: merge`, or take it out")
    if write == "replace" and said.get("when") == "live":
        where = node.entries["when"].value.span.location()
        found = "a table that is replaced as a whole takes no records before the run has ended"
        yield Problem("not-live", found, where, "leave `when` out, or write `write: merge`")
    yield from _unknown_keys(node, said)


def _unknown_keys(node: MapNode, said: dict[str, Any]) -> Iterator[Problem]:
    columns, keys = said.get("columns"), node.get("unique_key")
    if not isinstance(columns, dict) or keys is None:
        return
    for item in keys.items if isinstance(keys, ListNode) else (keys,):
        name = plain(item)
        if isinstance(name, str) and name not in columns:
            hint = choice_hint(name, list(columns), "Columns")
            yield Problem("unknown-column", f"the sink has no column `{name}`", item.span.location(), hint)


def _plain(node: Node | None) -> Any:
    return plain(node) if node is not None else None
