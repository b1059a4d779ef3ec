"""Do the columns that a job uses exist? Asked once the dataset is open and its header known.

Owns   `check_columns`: `row.<column>` in templates (followed through includes and macros), in `where` and in
       `columns`, and the columns named by `key`, `types` and `include_row`; of datasets that rows are crossed with
       `row.<name>.<column>`, and the columns that their own `where`, `key` and `types` name. `check_columns_kept`: the
       same of `output` and `sinks` alone, for a run that has its rows.
Knows  a loaded job and a list of names; no dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from runner.errors import Location, Problem
from runner.spec.hints import choice_hint
from runner.spec.loaded import LoadedJob, job_file_name
from runner.spec.node import Path, ScalarNode
from runner.spec.templates import expressions, where_name
from runner.spec.texts import CROSS, locate_in_scalar, texts_of
from runner.templating import Expression

Sides = Mapping[str, Sequence[str] | None]
"""The columns of the datasets that rows are crossed with, by their names; None where they are not known."""


def check_columns(loaded: LoadedJob, columns: Sequence[str] | None, sides: Sides | None = None) -> list[Problem]:
    """All uses of columns that the datasets do not have, in file order; nothing is said of those whose columns are not
    known. `columns` are those of a row, names of crossed datasets among them."""
    if loaded.tree is None:
        return []
    found: dict[Problem, None] = {}
    if columns is not None:
        found |= dict.fromkeys((*_clashes(loaded, columns, sides or {}), *_uses(loaded, "row", columns)))
        found |= dict.fromkeys(_named(loaded, columns, sides or {}))
    for name, of_side in (sides or {}).items():
        if of_side is not None:
            found |= dict.fromkeys((*_uses(loaded, f"row.{name}", of_side), *_of_side(loaded, name, of_side)))
    return list(found)


def check_columns_kept(loaded: LoadedJob, columns: Sequence[str]) -> list[Problem]:
    """Uses in `output` and `sinks` of columns that the rows of a run do not have: their dataset had none, or they were
    not read, as the job had no use for them."""
    assert loaded.tree is not None
    found = [
        problem
        for name, node in expressions(loaded.tree)
        if name.startswith(("output.", "sinks."))
        for problem in _in_expression(name, node, "row", columns, _KEPT)
    ]
    found += [
        _problem(column, columns, loaded.locate(path), _KEPT)
        for column, path in _of_sinks(loaded)
        if column not in columns
    ]
    hint = "`runner run` reads the job's dataset again: equal requests keep their answers"
    return [replace(problem, hint=f"{problem.hint}. {hint}") for problem in found]


_KEPT = "what the run keeps of its rows"


def _clashes(loaded: LoadedJob, columns: Sequence[str], sides: Sides) -> Iterator[Problem]:
    for name in sides:
        if list(columns).count(name) > 1:
            found = f"the dataset has a column `{name}` of its own"
            where = loaded.locate((*CROSS, name), key=True)
            yield Problem("cross-clash", found, where, "give the one in `cross` another name")


def _uses(loaded: LoadedJob, variable: str, columns: Sequence[str]) -> Iterator[Problem]:
    """Uses of a row's columns or, where the variable is `row.question`, of those of a row that it was crossed with."""
    assert loaded.tree is not None
    for text in texts_of(loaded.tree, job_file_name(loaded.path, loaded.root)):
        if text.kind in ("text", "template", "value", "expression") and "row" in text.sees:
            for use in loaded.templates.template(text.name).columns(variable):
                if use.column not in columns and not use.optional:
                    where = loaded.places.locate(use.template, use.line, f"{variable}.{use.column}")
                    yield _problem(use.column, columns, where, _noun(variable))
    for name, node in expressions(loaded.tree):
        if not name.startswith("dataset.cross."):
            yield from _in_expression(name, node, variable, columns, _noun(variable))


def _in_expression(
    name: str, node: ScalarNode, variable: str, columns: Sequence[str], dataset: str
) -> Iterator[Problem]:
    for use in Expression(str(node.value), name).columns(variable):
        if use.column not in columns and not use.optional:
            where = locate_in_scalar(node, use.line, f"{variable}.{use.column}")
            yield _problem(use.column, columns, where, dataset)


def _noun(variable: str) -> str:
    """What a person calls the dataset whose columns are a variable's."""
    return "the dataset" if variable == "row" else f"`{variable.removeprefix('row.')}`"


def _named(loaded: LoadedJob, columns: Sequence[str], sides: Sides) -> Iterator[Problem]:
    job = loaded.job
    own = columns[: len(columns) - len(sides)]  # names of crossed datasets stand last
    uses: list[tuple[str, Path]] = [
        (column, ("dataset", "key", number)) for number, column in enumerate(job.dataset.key or ())
    ]
    uses += [(column, ("dataset", "types", column)) for column in job.dataset.types or ()]
    for column, path in uses:
        if column not in own:
            yield _problem(column, own, loaded.locate(path))
    for column, path in _of_sinks(loaded):
        if column not in columns:
            yield _problem(column, columns, loaded.locate(path))


def _of_sinks(loaded: LoadedJob) -> Iterator[tuple[str, Path]]:
    for number, sink in enumerate(loaded.job.sinks):
        if isinstance(sink.include_row, tuple):
            for place, column in enumerate(sink.include_row):
                yield column, ("sinks", number, "include_row", place)


def _of_side(loaded: LoadedJob, name: str, columns: Sequence[str]) -> Iterator[Problem]:
    """What a crossed dataset says of its own rows."""
    assert loaded.tree is not None
    at = (*CROSS, name)
    wanted = where_name(at)
    for called, node in expressions(loaded.tree):
        if called == wanted:
            yield from _in_expression(called, node, "row", columns, f"`{name}`")
    spec = loaded.job.dataset.cross[name]
    uses: list[tuple[str, Path]] = [(column, (*at, "key", number)) for number, column in enumerate(spec.key or ())]
    uses += [(column, (*at, "types", column)) for column in spec.types or ()]
    for column, path in uses:
        if column not in columns:
            yield _problem(column, columns, loaded.locate(path), f"`{name}`")


def _problem(column: str, columns: Sequence[str], where: Location, dataset: str = "the dataset") -> Problem:
    hint = choice_hint(column, columns, "Columns")
    return Problem("unknown-column", f"{dataset} has no column `{column}`", where, hint)
