"""Targets: where a file sink writes, and whether it may.

Owns   the names of trial outputs and the protection of files that are not ours.
Knows  the file system, `storage` for URLs, and digests of earlier outputs; nothing of records.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from runner.errors import DeliveryError
from runner.plugins import COMPRESSIONS
from runner.storage import RemoteTarget, as_path, is_url
from runner.storage import shown as shown_url

STDOUT = "-"


def trial_path(path: str) -> str:
    """Where a trial writes what a run would write to `path`: `out/x.jsonl.gz` becomes `out/x.trial.jsonl.gz`."""
    if path == STDOUT:
        return path
    folder, slash, name = path.rpartition("/")  # of a URL too, whose `//` a path would not keep
    target = PurePosixPath(name)
    suffixes = target.suffix
    if suffixes[1:].lower() in COMPRESSIONS:
        suffixes = PurePosixPath(target.stem).suffix + suffixes
    stem = target.name[: len(target.name) - len(suffixes)]
    return f"{folder}{slash}{stem}.trial{suffixes}"


def place_of(path: str, root: Path) -> Path | RemoteTarget:
    """What a sink's `path` means, a URL too; touches nothing. Raises SpecError for a URL that cannot be written."""
    return RemoteTarget(path) if is_url(as_path(path)) else root / as_path(path)


def shown_target(path: str) -> str:
    """A sink's `path` as people see it: a URL without what may be secret."""
    return shown_url(path) if is_url(path) else path


def check_target(path: Path | RemoteTarget, shown: str, *, overwrite: bool, known_sha256: Collection[str]) -> None:
    """Make sure that a file can be put at `path` and that what is there may be replaced. Reads it, changes nothing.

    Ours, and so replaceable, is a file whose content has one of `known_sha256`. Raises DeliveryError that names the
    cure.
    """
    if isinstance(path, RemoteTarget):
        path.check(overwrite=overwrite, known_sha256=known_sha256)
        return
    with told(shown):
        if not path.exists():
            check_parent(path.parent, shown)
            return
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not a regular file"
            raise DeliveryError(f"{shown} is {what}", hint="name a file in the sink's `path`", code="bad-target")
        check_parent(path.parent, shown)
        if not overwrite and sha256_of(path) not in known_sha256:
            message = f"{shown} exists, and this job did not write it (or it was changed since)"
            hint = "move it away, write to another path, or set `overwrite: true` on the sink"
            raise DeliveryError(message, hint=hint, code="foreign-target")


def sha256_of(path: Path) -> str:
    """The digest (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def told(shown: str) -> Iterator[None]:
    """Turn what the system says into a DeliveryError of this target."""
    try:
        yield
    except OSError as error:
        message = f"{shown} cannot be written: {error.strerror or error}"
        hint = "mend that, then deliver again: runner export RUN"
        raise DeliveryError(message, hint=hint, code="delivery-failed") from error


def check_parent(folder: Path, shown: str) -> None:
    """The folder, or the nearest one above it that exists, must take files."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise DeliveryError(
            f"{shown} cannot be made: {folder} is not a folder", hint="name another path", code="bad-target"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        hint = "make it writable, or name another path"
        raise DeliveryError(f"{shown} cannot be made: {folder} is not writable", hint=hint, code="bad-target")
