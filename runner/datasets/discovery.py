"""Which files a path means.

Owns   globs and their order, and what is said where there is no such file.
Knows  the file system, and `storage` for paths that are URLs; opens nothing.

A path that exists is that file, even where its name has `*`, `?` or `[` in it; else these make it a glob. Matches are
sorted by their bytes, so that the order of rows depends neither on the file system nor on the locale. A file that is
reached in several ways, by links, is read once. Hidden files are
matched only by a pattern that names them.
"""

from __future__ import annotations

import difflib
import glob
import os
from pathlib import Path

from runner.datasets.problems import data_error
from runner.errors import InputError
from runner.storage import RemoteFile, StorageError, as_path, find, is_url, shown

_MAX_LISTED = 10_000
"""Names read of a folder when looking for near matches."""


def find_any(pattern: str, root: Path) -> tuple[Path | RemoteFile, ...]:
    """The files that a path or a URL means, at least one, in bytewise order. Raises InputError, StorageError."""
    if not is_url(as_path(pattern)):
        return find_files(as_path(pattern), root)
    try:
        return find(pattern, root)
    except StorageError as error:
        if not error.missing:
            raise
        raise data_error(error.code, error.message, shown(pattern), hint=error.hint) from error


def find_files(pattern: str, root: Path) -> tuple[Path, ...]:
    """The files that `pattern` means, at least one, in bytewise order. Raises InputError with near matches."""
    path = root / pattern
    if path.exists():
        return (_regular(path, pattern),)
    if not glob.has_magic(pattern):
        raise _missing(path, pattern)
    # not Path.glob: it yields hidden files, and takes no absolute pattern
    matches = glob.glob(pattern, root_dir=root, recursive=True)  # noqa: PTH207
    files = [root / match for match in sorted(matches, key=os.fsencode) if (root / match).is_file()]
    if not files:
        raise _no_match(path, pattern)
    once: dict[Path, Path] = {}
    for file in files:
        once.setdefault(file.resolve(), file)
    return tuple(once.values())


def display_name(path: Path | RemoteFile, root: Path) -> str:
    """A file as messages name it: relative to the root where it lies below, a URL without what may be secret."""
    if isinstance(path, RemoteFile):
        return path.name
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _regular(path: Path, pattern: str) -> Path:
    if path.is_dir():
        hint = f"name the files in it: {pattern.rstrip('/')}/*.jsonl"
        raise data_error("not-a-file", f"{pattern!r} is a folder", pattern, hint=hint)
    if not path.is_file():
        hint = "a run may read its input twice; pipe it to stdin and set the path to `-`"
        raise data_error("not-a-file", f"{pattern!r} is not a regular file", pattern, hint=hint)
    return path


def _missing(path: Path, pattern: str) -> InputError:
    folder = _nearest_folder(path.parent)
    if folder != path.parent:
        absent = path.parent.relative_to(folder).parts[0]
        near = difflib.get_close_matches(absent, [entry.name for entry in _entries(folder) if entry.is_dir()], n=3)
        message = f"there is no file {pattern!r}: {folder} has no folder {absent!r}"
    else:
        near = difflib.get_close_matches(path.name, [entry.name for entry in _entries(folder)], n=3)
        message = f"there is no file {pattern!r} (looked in {folder})"
    return data_error("file-not-found", message, pattern, hint=_did_you_mean(near))


def _no_match(path: Path, pattern: str) -> InputError:
    fixed = path
    while glob.has_magic(fixed.name) and fixed != fixed.parent:
        fixed = fixed.parent
    folder = _nearest_folder(fixed)
    names = sorted(entry.name for entry in _entries(folder))[:3]
    there = f"{folder} has {', '.join(map(repr, names))}, …" if names else f"{folder} is empty"
    return data_error("file-not-found", f"no file matches {pattern!r}", pattern, hint=there)


def _nearest_folder(path: Path) -> Path:
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for _, entry in zip(range(_MAX_LISTED), entries, strict=False)]
    except OSError:
        return []


def _did_you_mean(near: list[str]) -> str | None:
    return f"did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else None
