"""A project to start from, and the JSON Schema that editors read.

Owns   what `runner init` and `runner schema` write. The starter project is the package's own `examples` folder.
"""

from __future__ import annotations

import importlib.resources
import json
import shutil
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

from runner.errors import UsageError
from runner.spec.schema import json_schema

SCHEMA_PATH = Path("jobs/job.schema.json")
_NOT_COPIED = frozenset({"__pycache__", "__init__.py", ".runner", "out", SCHEMA_PATH.name})


def schema_text() -> str:
    """The JSON Schema of job files, as it is written."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def write_schema(root: Path) -> Path:
    """Write `jobs/job.schema.json` of a project; returns its path."""
    path = root / SCHEMA_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(schema_text(), encoding="utf-8")
    return path


def make_project(folder: Path, *, force: bool) -> list[Path]:
    """Copy the starter project into a folder; returns what was written. Raises UsageError where it would replace a
    file."""
    source = importlib.resources.files("runner") / "examples"
    files = dict(_files(source, Path()))
    there = [str(folder / path) for path in files if (folder / path).exists()]
    if there and not force:
        more = f" and {len(there) - 3} more" if len(there) > 3 else ""
        raise UsageError(
            f"{', '.join(there[:3])}{more} would be replaced",
            hint="name another folder, or pass --force",
            code="exists",
        )
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with content.open("rb") as read, target.open("wb") as write:
            shutil.copyfileobj(read, write)
    return [*(folder / path for path in files), write_schema(folder)]


def _files(folder: Traversable, path: Path) -> Iterator[tuple[Path, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name in _NOT_COPIED:
            continue
        if entry.is_dir():
            yield from _files(entry, path / entry.name)
        else:
            yield path / entry.name, entry
