"""Do the columns that a job uses exist? Asked once the dataset is open and its header known.

Owns   `check_columns`: `row.<column>` in templates (followed through includes and macros), in `where` and in
       `columns`, and the columns named by `key` and `include_row`.
Knows  a loaded job and a list of names; no dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runner.errors import Location, Problem
from runner.spec.hints import choice_hint
from runner.spec.loaded import LoadedJob, job_file_name
from runner.spec.node import Path
from runner.spec.templates import expressions
from runner.spec.texts import locate_in_scalar, texts_of
from runner.templating import Expression


def check_columns(loaded: LoadedJob, columns: Sequence[str] | None) -> list[Problem]:
    """All uses of columns that the dataset does not have, in file order; none where `columns` is not known."""
    if columns is None or loaded.tree is None:
        return []
    found = dict.fromkeys(
        (*_in_templates(loaded, columns), *_in_expressions(loaded, columns), *_named(loaded, columns))
    )
    return list(found)


def _in_templates(loaded: LoadedJob, columns: Sequence[str]) -> Iterator[Problem]:
    assert loaded.tree is not None
    for text in texts_of(loaded.tree, job_file_name(loaded.path, loaded.root)):
        if text.kind in ("text", "template", "value", "expression") and "row" in text.sees:
            for use in loaded.templates.template(text.name).columns("row"):
                if use.column not in columns and not use.optional:
                    where = loaded.places.locate(use.template, use.line, f"row.{use.column}")
                    yield _problem(use.column, columns, where)


def _in_expressions(loaded: LoadedJob, columns: Sequence[str]) -> Iterator[Problem]:
    assert loaded.tree is not None
    for name, node in expressions(loaded.tree):
        for use in Expression(str(node.value), name).columns("row"):
            if use.column not in columns and not use.optional:
                yield _problem(use.column, columns, locate_in_scalar(node, use.line, f"row.{use.column}"))


def _named(loaded: LoadedJob, columns: Sequence[str]) -> Iterator[Problem]:
    job = loaded.job
    uses: list[tuple[str, Path]] = [
        (column, ("dataset", "key", number)) for number, column in enumerate(job.dataset.key or ())
    ]
    for number, sink in enumerate(job.sinks):
        if isinstance(sink.include_row, tuple):
            uses += [(column, ("sinks", number, "include_row", place)) for place, column in enumerate(sink.include_row)]
    for column, path in uses:
        if column not in columns:
            yield _problem(column, columns, loaded.locate(path))


def _problem(column: str, columns: Sequence[str], where: Location) -> Problem:
    hint = choice_hint(column, columns, "Columns")
    return Problem("unknown-column", f"the dataset has no column `{column}`", where, hint)
