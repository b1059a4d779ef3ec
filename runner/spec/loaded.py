"""A job with everything it names: closed, so that nothing of the project has to be read again.

Owns   `LoadedJob` and its form in a run's `inputs/` folder:

    job.json         format, where the job came from, the resolved job
    templates.json   name -> text, inline texts among them
    files.json       path as written -> text of the raw blocks
    media.json       path as used -> SHA-256 of an image or document that no row has a part in
    media-<sha256>   its content
    assets.json      name -> value
    schema.json      the output's JSON Schema, or null
    tools.json       what requests say of each tool, and how functions are run

Invariants
  * The value of a `${NAME}` is in `job` only. What is stored, printed or hashed is `resolved`, which keeps the name.
  * A restored job equals the stored one, but for positions: its problems are at the job file as a whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from runner.connections import Connection
from runner.encoding import decode
from runner.errors import Location, Problem, SpecError
from runner.settings import Settings, shown_path
from runner.spec.connections import ConnectionReader
from runner.spec.environment import Substitution
from runner.spec.job import Job
from runner.spec.node import MapNode, Source, Span, from_value, locate, plain
from runner.spec.node import Path as NodePath
from runner.spec.origins import LocalFiles, Unseen, origin_of
from runner.spec.shape import Excused
from runner.spec.statement import WrittenStatement
from runner.spec.texts import Places, inline_name, name_texts, texts_of
from runner.spec.validate import validate
from runner.templating import TemplateFailure, TemplateSet
from runner.tools import Tool

FORMAT = 1


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """A job, checked, with its templates, files, assets and schema.

    `files` are the texts of `{file: …}` blocks by their path as written, `media` the images and documents that are the
    same for every row. `schema` is the JSON Schema that `output`
    means, None for free text. `resolved` is the merged job in long forms, as JSON values, with `${NAME}`
    unreplaced. `warnings` are problems that do not stop anything.
    """

    job: Job
    path: Path
    root: Path
    profile: str | None
    settings: Settings
    templates: TemplateSet
    files: Mapping[str, str]
    assets: Mapping[str, Any]
    schema: Mapping[str, Any] | None
    resolved: Mapping[str, Any]
    media: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    tools: tuple[Tool, ...] = ()
    """With what functions say of themselves, as it was when the job was loaded: so a run asks the same to its end."""
    connections: Mapping[str, Connection] = field(default_factory=dict, repr=False)
    """By the `url` of a dataset or sink in `job`; they hold secrets."""
    warnings: tuple[Problem, ...] = ()
    tree: MapNode | None = field(default=None, repr=False)
    """The merged tree with its positions; None in a restored job."""
    places: Places = field(default=Places({}, {}, {}), repr=False)
    statements: Mapping[NodePath, WrittenStatement] = field(default_factory=dict)
    """The `sql` or `query` of its datasets, by where these are written; none in a restored job, whose rows are read."""
    unset: Mapping[int, Problem] = field(default_factory=dict)
    """Sinks, by their numbers, whose `${NAME}` has no value here, and why; only of a job that was restored to be read.
    In `job` they stand as they are written."""
    offline: bool = False
    """Whether it was loaded to be checked by what local files show."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment with what `.env` adds: it holds the credentials."""
        return self.settings.environment

    @property
    def context(self) -> dict[str, Any]:
        """What every text of the job sees: `vars`, `assets` and `job`."""
        job = self.job
        about = {"name": job.name, "description": job.description, "model": job.model}
        return {"vars": job.vars, "assets": self.assets, "job": about}

    @property
    def local_files(self) -> LocalFiles:
        """The files that rows may name."""
        return local_files(self.settings)

    def content_of(self, name: str) -> bytes:
        """The content of a file that the job names itself. Raises Unreadable; Unseen where it lies in a store, and the
        job was loaded to be checked, which makes no connection."""
        data = self.media.get(name)
        if data is None and self.offline and origin_of(name) == "store":
            raise Unseen
        return self.local_files.trusted(name) if data is None else data

    def locate(self, path: NodePath, *, key: bool = False) -> Location:
        """Where a value of the job, or with `key` its key, is written; what is not written at its nearest ancestor."""
        if self.tree is None:
            return Location(shown_path(self.path))
        return locate(self.tree, path, key=key)

    def place(self, failure: TemplateFailure, otherwise: NodePath = ()) -> Location:
        """Where a template failed: in its file, or in the job file; `otherwise` where it does not know itself."""
        if failure.template is None or failure.template not in self.places.sources:
            return self.locate(otherwise)
        if self.tree is None and "#" in failure.template:
            return Location(shown_path(self.path))
        return self.places.locate(failure.template, failure.line)

    def is_template(self, path: NodePath) -> bool:
        """Whether the text at `path` is rendered."""
        return inline_name(job_file_name(self.path, self.root), path) in self.templates.sources

    def render_path(self, path: NodePath, context: Mapping[str, Any]) -> str:
        """The value at `path` (of a dataset or sink), rendered where it is a template. Raises SpecError."""
        name = inline_name(job_file_name(self.path, self.root), path)
        if name not in self.templates.sources:
            value: Any = self.resolved
            for part in path:
                value = value[part]
            return str(value)
        try:
            return self.templates.template(name).render(context)
        except TemplateFailure as failure:
            raise SpecError(
                [Problem("template", failure.message, self.place(failure, path), failure.hint)]
            ) from failure

    def store(self, folder: Path) -> None:
        """Write everything that `restore` needs into a run's folder; durable when this returns."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = {
            "format": FORMAT,
            "path": self.path.relative_to(self.root).as_posix()
            if self.path.is_relative_to(self.root)
            else str(self.path),
            "root": str(self.root),
            "profile": self.profile,
            "job": self.resolved,
        }
        for name, value in (
            ("job", about),
            ("templates", dict(self.templates.sources)),
            ("files", dict(self.files)),
            ("assets", dict(self.assets)),
            ("schema", self.schema),
            ("tools", [tool.to_json() for tool in self.tools]),
            ("media", {name: sha256(data).hexdigest() for name, data in self.media.items()}),
        ):
            _write(folder / f"{name}.json", value)
        for data in self.media.values():
            _write_bytes(folder / f"media-{sha256(data).hexdigest()}", data)

    @classmethod
    def restore(cls, folder: Path, settings: Settings, *, sends: bool = True) -> LoadedJob:
        """Read back what `store` wrote. Secrets are taken from the environment anew.

        Args:
            sends: whether the run is gone on with. Where it is only read, limits are not asked for, and a sink whose
                `${NAME}` is not set is in `unset`.
        Raises:
            SpecError: a `${NAME}` that is still needed is not set any more, or another version wrote the folder.
        """
        about = _read(folder / "job.json")
        if about["format"] != FORMAT:
            found = f"the stored job has format {about['format']}, this version of runner reads {FORMAT}"
            hint = "resume it with the version that began it"
            raise SpecError([Problem("stored-format", found, Location(str(folder / "job.json")), hint)])
        root = settings.root
        path = root / about["path"]
        job, connections, unset = _rebuild(about["job"], path, root, settings, sends=sends)
        templates = TemplateSet.from_sources(_read(folder / "templates.json"))
        return cls(
            job=job,
            path=path,
            root=root,
            profile=about["profile"],
            settings=settings,
            templates=templates,
            files=_read(folder / "files.json"),
            assets=_read(folder / "assets.json"),
            schema=_read(folder / "schema.json"),
            media=_read_media(folder),
            tools=_stored_tools(folder / "tools.json"),
            connections=connections,
            unset=unset,
            resolved=about["job"],
            places=Places({}, {}, templates.sources),
        )


def local_files(settings: Settings) -> LocalFiles:
    return LocalFiles(settings.root, settings.data_dirs, (settings.state_dir,))


def job_file_name(path: Path, root: Path) -> str:
    """A job file as template names and runs call it: from the root, with `/`."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _rebuild(
    resolved: Mapping[str, Any], path: Path, root: Path, settings: Settings, *, sends: bool
) -> tuple[Job, Mapping[str, Connection], Mapping[int, Problem]]:
    """The job, with the values of `${NAME}` as they are now. The dataset's are not asked for: its rows are copied."""
    shown = shown_path(path)

    def node(value: Mapping[str, Any]) -> MapNode:
        made = from_value(value, Span(Source(shown, ()), 0, 0, 0, 1))
        assert isinstance(made, MapNode)
        return made

    sinks: list[Any] = resolved.get("sinks") or []
    unset = {} if sends else _unset_sinks([node({"sinks": [sink]}) for sink in sinks], settings)
    tree = node({**resolved, "sinks": [sink for number, sink in enumerate(sinks) if number not in unset]})
    needless = {"dataset"} if sends else {"dataset", "limits"}
    substitution = Substitution(settings.environment, needless=frozenset(needless))
    substituted = substitution.apply(tree)
    reader = ConnectionReader(settings)
    connections = reader.read(_without(tree, "dataset"), substituted)
    values = plain(substituted)
    made = iter(values["sinks"])
    values["sinks"] = [sink if number in unset else next(made, None) for number, sink in enumerate(sinks)]
    whole = node(values)
    name_texts(values, texts_of(whole, job_file_name(path, root)))
    job, problems = validate(whole, values, Excused())
    problems = [*substitution.problems, *reader.problems] or problems  # what lacks a value looks as if it were missing
    if job is None or problems:
        raise SpecError([Problem(problem.code, problem.message, Location(shown), problem.hint) for problem in problems])
    return job, connections, unset


def _unset_sinks(sinks: Sequence[MapNode], settings: Settings) -> dict[int, Problem]:
    """Which sinks of a job lack the value of a `${NAME}`, of their own or of their connection, and why. Each is given
    as a job with that one sink."""
    unset = {}
    for number, sink in enumerate(sinks):
        substitution, reader = Substitution(settings.environment), ConnectionReader(settings)
        reader.read(sink, substitution.apply(sink))
        problems = [*substitution.problems, *reader.problems]
        if problems:
            unset[number] = problems[0]
    return unset


def _without(tree: MapNode, name: str) -> MapNode:
    return tree.with_entries({key: entry for key, entry in tree.entries.items() if key != name})


def _stored_tools(path: Path) -> tuple[Tool, ...]:
    """Runs that were begun before there were tools have no such file."""
    return tuple(Tool.from_json(values) for values in _read(path)) if path.exists() else ()


def _write(path: Path, value: Any) -> None:
    # JSON escapes keep lone surrogates, which data may hold and UTF-8 has no form for.
    _write_bytes(path, json.dumps(value, ensure_ascii=True, allow_nan=False, indent=1).encode() + b"\n")


def _write_bytes(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> Any:
    return decode(path.read_bytes())


def _read_media(folder: Path) -> dict[str, bytes]:
    index = folder / "media.json"
    if not index.is_file():  # written by a version that knew no images and documents
        return {}
    return {name: (folder / f"media-{digest}").read_bytes() for name, digest in _read(index).items()}
