"""The check of a run's replies, made from the job at hand or from what a run has stored, and the rows that it looks at.

Owns   which part of a job becomes which part of a `ReplyCheck`; `RowLookup`.
Knows  loaded jobs and a run's `inputs/` folder. Both give the same values, so a reply has one ruling wherever it is
       made: by a run, by its workers, by a command that only has the folder, or by `revalidate` with a job of today.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.deferred import deferred
from runner.encoding import decode
from runner.ledger.sqlite import SqliteLedger
from runner.replies.passages import JsonPassage, Passage, RegexPassage, TagPassage, TypesOf
from runner.replies.reply_check import ReplyCheck
from runner.replies.rules import Rule, Rules
from runner.spec.loaded import LoadedJob
from runner.spec.regexes import compile_regex
from runner.types import Row

if TYPE_CHECKING:
    from runner.replies import schema as schemas
else:
    schemas = deferred("runner.replies.schema")  # 45 ms that texts do not need

LABEL = "label"
"""The one field that `output.labels` is short for."""


def check_of(loaded: LoadedJob) -> ReplyCheck | None:
    """What a job asks of a reply's text; None where any text will do."""
    return _made(loaded.resolved, loaded.schema, loaded.assets)


def stored_check(folder: Path) -> ReplyCheck | None:
    """The same, of the job that a run has stored in its folder. Needs no environment."""
    return _made(stored_job(folder), _stored(folder, "schema"), _stored(folder, "assets"))


def stored_job(folder: Path) -> Mapping[str, Any]:
    """The resolved job that a run has stored, as JSON values."""
    job: Mapping[str, Any] = _stored(folder, "job")["job"]
    return job


def _stored(folder: Path, name: str) -> Any:
    return decode((folder / "inputs" / f"{name}.json").read_bytes())


def _made(
    resolved: Mapping[str, Any], schema: Mapping[str, Any] | None, assets: Mapping[str, Any]
) -> ReplyCheck | None:
    output: Mapping[str, Any] = resolved.get("output") or {}
    passage = _passage(output, schema)
    rules = _rules(output.get("rules") or (), schema, {"vars": resolved.get("vars") or {}, "assets": assets})
    if schema is None and passage is None and rules is None:
        return None
    return ReplyCheck(schemas.Check(schema) if schema is not None else None, passage, rules)


def _passage(output: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Passage | None:
    types = TypesOf(schema, LABEL if output.get("labels") else None)
    match output.get("extract"):
        case {"regex": str(pattern)}:
            return RegexPassage(compile_regex(pattern), types)
        case {"xml_tag": str(tag)}:
            return TagPassage(tag, types)
        case {"json": choice}:
            return JsonPassage(choice)
    return None


def _rules(
    written: Sequence[Mapping[str, Any]], schema: Mapping[str, Any] | None, shared: Mapping[str, Any]
) -> Rules | None:
    if not written:
        return None
    fields = (schema or {}).get("properties")
    rules = [Rule(rule["rule"], rule.get("message"), rule.get("severity") or "error") for rule in written]
    return Rules(rules, shared, tuple(fields) if isinstance(fields, Mapping) else ())


class RowLookup:
    """A run's rows by their numbers, from any thread and beside whoever writes the ledger. Opened when first asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._ledger: SqliteLedger | None = None

    def __call__(self, index: int) -> Row:
        """Raises IndexError where there is no such row, LedgerError."""
        with self._lock:
            if self._ledger is None:
                self._ledger = SqliteLedger.open(self._folder, read_only=True)
            return self._ledger.row(index)

    def close(self) -> None:
        with self._lock:
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None
