"""Which columns of its dataset a job reads, so that a table's others need not be.

Owns   `used_columns`.
Knows  a loaded job: `row.<column>` in its templates (followed through includes and macros), `where`, `expand`, rules
       and `columns`, and the columns that `key`, `types` and `include_row` name. No dataset.

Where anything takes the row as a whole (`row | tojson`, `row[name]`, a sink that writes the row, as sinks do by
default), all columns are wanted. It is better to read a column in vain than to lack it.
"""

from __future__ import annotations

from collections.abc import Iterator

from runner.spec.loaded import LoadedJob, job_file_name
from runner.spec.templates import expressions
from runner.spec.texts import texts_of
from runner.templating import Expression


def used_columns(loaded: LoadedJob) -> frozenset[str] | None:
    """The names of the columns that the job reads; None where it may be any."""
    if loaded.tree is None:
        return None
    used: set[str] = set()
    for some in (*_by_sinks(loaded), *_by_templates(loaded), *_by_expressions(loaded)):
        if some is None:
            return None
        used |= some
    dataset = loaded.job.dataset
    return frozenset(used | set(dataset.key or ()) | set(dataset.types or ()))


def _by_sinks(loaded: LoadedJob) -> Iterator[frozenset[str] | None]:
    if not loaded.job.sinks:
        yield None
    for sink in loaded.job.sinks:
        if sink.columns is not None:
            continue  # expressions, which are looked at as such
        if isinstance(sink.include_row, bool):
            yield None if sink.include_row else frozenset()
        else:
            yield frozenset(sink.include_row)


def _by_templates(loaded: LoadedJob) -> Iterator[frozenset[str] | None]:
    assert loaded.tree is not None
    for text in texts_of(loaded.tree, job_file_name(loaded.path, loaded.root)):
        if text.kind in ("text", "template", "value", "expression") and "row" in text.sees:
            yield loaded.templates.template(text.name).items("row")


def _by_expressions(loaded: LoadedJob) -> Iterator[frozenset[str] | None]:
    assert loaded.tree is not None
    for name, node in expressions(loaded.tree):
        yield Expression(str(node.value), name).items("row")
