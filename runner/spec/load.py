"""A job file to a `LoadedJob`: every problem of the file at once, each where it was written.

Owns   the order in which a job is read and checked, and `load`, the one entry to it.

    settings ─▶ layers, shaped and merged ─▶ ${NAME} ─▶ values ─▶ files ─▶ templates ─▶ what only fits together

A step works on what the steps before could read, so that one mistake does not hide the next; it stays silent where
another has spoken about the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from runner.catalog.models import ModelFacts
from runner.errors import Location, MissingExtras, Problem, SpecError
from runner.settings import Settings, absolute, find_root, load_settings, shown_path
from runner.spec.blocks import block_warnings, check_blocks
from runner.spec.connections import ConnectionReader
from runner.spec.dataset_checks import check_datasets
from runner.spec.environment import Substitution
from runner.spec.hints import choice_hint
from runner.spec.inputs import Inputs
from runner.spec.layers import Layers
from runner.spec.loaded import LoadedJob, job_file_name, local_files
from runner.spec.media import FixedMedia
from runner.spec.node import Entry, MapNode, ScalarNode, find, from_value, plain
from runner.spec.node import Path as NodePath
from runner.spec.shape import drop_nulls
from runner.spec.statement import read_statements
from runner.spec.templates import TemplateCheck
from runner.spec.texts import Text, name_texts, texts_of
from runner.spec.together import check_together
from runner.spec.tools import ToolReader, choice_problems, container_problems, mode_problems, prefill_problems
from runner.spec.validate import validate

__all__ = ["FactsOf", "LoadedJob", "duplicate_names", "load"]

FactsOf = Callable[[Settings, Mapping[str, Any]], ModelFacts | None]
"""What is known of the model of a job (its plain values, not checked yet); None where that is the snapshot alone."""


def load(
    path: Path | str,
    *,
    sets: Sequence[str] = (),
    variables: Sequence[str] = (),
    profile: str | None = None,
    environ: Mapping[str, str] | None = None,
    lenient: bool = False,
    facts_of: FactsOf | None = None,
) -> LoadedJob:
    """Read a job file and everything it names.

    Args:
        sets: `a.b=value`, the strongest layer; values are YAML.
        variables: `name=value` for the job's `vars`.
        profile: of the project's settings file; default the setting `profile`.
        environ: the process's environment; default `os.environ`.
        lenient: what only a run needs is a warning: a `${NAME}` that is not set, a variable that was not given. No
            connection is made: what lies in a store is not looked at.
        facts_of: what is known of models; default the snapshot.
    Raises:
        SpecError: all that is wrong, in file order.
        MissingExtras: all libraries that it needs and that are not installed, where nothing else is wrong.
    """
    path = absolute(Path(path))
    if not path.is_file() or path.name.startswith("_"):
        raise SpecError([_no_job(path)])
    root = find_root(path)
    settings = load_settings(root, environ)
    profile = profile or settings.profile

    layers = Layers(settings, profile)
    merged = layers.merge(path, sets, variables)
    if merged is None:
        raise SpecError(_in_order(layers.problems, path))
    tree = _with_defaults(drop_nulls(merged), path)
    substitution = Substitution(settings.environment, lenient)
    substituted = substitution.apply(tree)

    reader_of_urls = ConnectionReader(settings, lenient=lenient)
    connections = reader_of_urls.read(tree, substituted)

    texts = texts_of(tree, job_file_name(path, root))
    values: dict[str, Any] = plain(substituted)
    name_texts(values, texts)
    job, value_problems = validate(tree, values, layers.shaper.excused)

    inputs = Inputs(root, offline=lenient)
    statements = read_statements(tree, inputs)
    files = _files(inputs, texts)
    for statement in statements.values():
        files |= statement.files
    assets = _assets(inputs, tree)
    schema = inputs.output_schema(tree.get("output"))

    reader = ToolReader(tree, root)
    tools = reader.tools()

    media = FixedMedia(tree, texts, local_files(settings), root, offline=lenient)
    media.read_written()

    check = TemplateCheck(tree, texts, settings)
    templates = check.load()
    problems = [
        *layers.problems,
        *layers.shaper.problems,
        *substitution.problems,
        *reader_of_urls.problems,
        *value_problems,
        *inputs.problems,
        *media.problems,
        *reader.problems,
        *choice_problems(tree, tools),
        *mode_problems(tree),
        *prefill_problems(tree),
        *check.problems,
        *check_blocks(tree),
    ]
    facts = facts_of(settings, values) if facts_of is not None else None
    together = [
        *check_together(tree, texts, templates, schema, root, lenient=lenient, facts=facts),
        *check_datasets(tree, statements, lambda at: connections.get(_url_of(substituted, at))),
        *container_problems(tree, tools),
    ]
    problems += [problem for problem in together if problem.severity == "error"]
    if job is None or templates is None or problems:
        raise _error(_in_order(problems, path))
    warnings = [
        *substitution.warnings,
        *reader_of_urls.warnings,
        *inputs.warnings,
        *(problem for problem in together if problem.severity == "warning"),
        *block_warnings(tree),
    ]
    loaded = LoadedJob(
        job=job,
        path=path,
        root=root,
        profile=profile,
        settings=settings,
        templates=templates,
        files=files,
        assets=assets,
        schema=schema,
        media=media.media,
        tools=tools,
        connections=connections,
        resolved=plain(tree),
        warnings=tuple(_in_order(warnings, path)),
        tree=tree,
        places=check.places,
        statements=statements,
        offline=lenient,
    )
    media.read_rendered(templates, loaded.context)
    if media.problems:
        raise _error(_in_order(media.problems, path))
    return loaded


def _error(problems: Sequence[Problem]) -> SpecError | MissingExtras:
    """All that is wrong: the job, unless it is sound and nothing but libraries is missing on this machine."""
    is_sound = all(problem.code == "missing-extra" for problem in problems)
    return MissingExtras(problems) if is_sound else SpecError(problems)


def duplicate_names(jobs: Iterable[LoadedJob]) -> list[Problem]:
    """Jobs that have the name of an earlier one: their runs and outputs could not be told apart."""
    first: dict[str, LoadedJob] = {}
    problems = []
    for loaded in jobs:
        earlier = first.setdefault(loaded.job.name, loaded)
        if earlier.path != loaded.path:
            found = f"the name `{loaded.job.name}` is that of {shown_path(earlier.path)} too"
            problems.append(
                Problem("duplicate-name", found, loaded.locate(("name",)), "give each job a `name` of its own")
            )
    return problems


def _no_job(path: Path) -> Problem:
    if path.is_dir():
        hint = "name a job file in it, such as jobs/sentiment.yaml"
        return Problem("file-not-found", "this is a folder, not a job file", Location(shown_path(path)), hint)
    if path.is_file():
        hint = "run a job that names it in `extends`, or rename it without the `_`"
        return Problem(
            "not-a-job", "files whose names begin with `_` are bases, not jobs", Location(shown_path(path)), hint
        )
    there, noun = path, "Job files beside it"
    if not any(path.parent.glob("*.y*ml")):  # a job's name is no path: its file is in `jobs/` mostly
        there, noun = path.parent / "jobs" / f"{path.stem}.yaml", "Job files"
    found = sorted(shown_path(each) for each in there.parent.glob("*.y*ml") if not each.name.startswith("_"))
    cure = choice_hint(shown_path(there), found, noun) if found else None
    return Problem("file-not-found", "there is no such job file", Location(shown_path(path)), cure)


def _with_defaults(tree: MapNode, path: Path) -> MapNode:
    """The name and the sink that a job has without saying so."""
    entries = dict(tree.entries)
    name = tree.get("name")
    if name is None:
        entries["name"] = Entry(tree.span, ScalarNode(path.stem, tree.span))
    if "sinks" not in entries:
        stem = name.value if isinstance(name, ScalarNode) else path.stem
        entries["sinks"] = Entry(tree.span, from_value([{"path": f"out/{stem}.jsonl"}], tree.span))
    return tree.with_entries(entries)


def _url_of(substituted: MapNode, dataset: NodePath) -> str:
    node = find(substituted, (*dataset, "url"))
    return str(plain(node)) if node is not None else ""


def _files(inputs: Inputs, texts: Sequence[Text]) -> dict[str, str]:
    files = {}
    for text in texts:
        if text.kind == "file" and text.name not in files:
            content = inputs.file(text.node)
            if content is not None:
                files[text.name] = content
    return files


def _assets(inputs: Inputs, tree: MapNode) -> dict[str, Any]:
    node = tree.get("assets")
    entries = node.entries if isinstance(node, MapNode) else {}
    return {
        name: inputs.asset(entry.value)
        for name, entry in entries.items()
        if isinstance(entry.value, ScalarNode) and isinstance(entry.value.value, str)
    }


_UNREADABLE = frozenset(
    {
        "doubtful-number",
        "yaml-tag",
        "unquoted-template",
        "template-in-comment",
        "unset-variable",
        "bad-variable",
        "secret-in-file",
    }
)
"""A value that could not be read: whatever else is said of it would follow from that."""


def _in_order(problems: Sequence[Problem], path: Path) -> list[Problem]:
    """By file (the job's own first), line and column, each once."""
    own = shown_path(path)
    unreadable = {_place(problem) for problem in problems if problem.code in _UNREADABLE}
    kept = dict.fromkeys(
        problem for problem in problems if problem.code in _UNREADABLE or _place(problem) not in unreadable
    )
    return sorted(_without_secrets(kept), key=lambda problem: _rank(problem.where, own))


def _without_secrets(problems: Iterable[Problem]) -> list[Problem]:
    """Where a password is written, no problem of that line shows it."""
    problems = list(problems)
    lines = {_place(problem)[:2] for problem in problems if problem.code == "secret-in-file"}
    return [
        replace(problem, where=replace(problem.where, source=None))
        if problem.where is not None and _place(problem)[:2] in lines
        else problem
        for problem in problems
    ]


def _place(problem: Problem) -> tuple[str, int | None, int | None]:
    where = problem.where
    return (where.file, where.line, where.column) if where else ("", None, None)


def _rank(where: Location | None, own: str) -> tuple[int, str, int, int]:
    if where is None:
        return (2, "", 0, 0)
    return (0 if where.file == own else 1, where.file, where.line or 0, where.column or 0)
