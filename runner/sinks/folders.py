"""A folder on its way: many files written in a staging folder, then put in the place of the old folder at once.

Owns   the folder's digest, its protection, and the exchange of the two folders.
Knows  staged files; nothing of records.

A reader who opens the target sees the files of the old delivery or those of the new, and none that is stale: the two
folders change places in one step (Linux: renameat2 with RENAME_EXCHANGE, macOS: renamex_np with RENAME_SWAP). A file
system that has no such step gets two renames instead, between which there is no folder for a moment. Who has listed the
old files and opens them later does not find them; that is an error for him, and no mixture.

The digest of a folder is one over the names and digests of all files in it. So a file that somebody has added,
changed or removed makes it a folder that is not ours.

Sources: rename(2) on Linux ("Atomically exchange oldpath and newpath"), renamex_np(2) on macOS.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from runner.errors import DeliveryError
from runner.sinks.staging import StagedFile, sync_folder
from runner.sinks.targets import check_parent, sha256_of, told
from runner.storage import RemoteTarget

_AT_FDCWD = -100
_RENAME_EXCHANGE = 1 << 1
_RENAME_SWAP = 0x2


class StagedFolder:
    """A folder in the making. Every method may raise OSError."""

    def __init__(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)  # what a crash has left
        path.mkdir(parents=True)
        self._path = path
        self._files: dict[str, StagedFile] = {}
        self._sealed: dict[str, str] = {}
        self._sha256: str | None = None

    def file(self, name: str) -> StagedFile:
        """A new file, at a path within the folder; to be sealed by `seal_file`, or with the folder."""
        self._files[name] = StagedFile(self._path / name, "")
        return self._files[name]

    def seal_file(self, name: str) -> None:
        """End one file, so that it is no longer open."""
        self._sealed[name] = self._files.pop(name).seal()

    def seal(self) -> str:
        """End all files and make the folder durable; its digest (hex). Further calls give the same."""
        if self._sha256 is None:
            for name in list(self._files):
                self.seal_file(name)
            for folder in {parent for name in self._sealed for parent in Path(name).parents}:
                sync_folder(self._path / folder)
            sync_folder(self._path.parent)
            self._sha256 = _digest(self._sealed)
        return self._sha256

    def publish(self, target: Path | RemoteTarget) -> None:
        """Put the sealed folder in the place of `target`, whose parent is made where it is missing."""
        if isinstance(target, RemoteTarget):
            raise NotImplementedError("a store has no folders that could be exchanged")
        target = target.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _put(self._path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy_beside(target)
        sync_folder(target.parent)
        shutil.rmtree(self._path, ignore_errors=True)  # what stood at the target

    def discard(self) -> None:
        """Remove what is left; harmless after `publish`."""
        for file in self._files.values():
            file.discard()
        shutil.rmtree(self._path, ignore_errors=True)

    def _copy_beside(self, target: Path) -> None:
        beside = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            shutil.copytree(self._path, beside)
            for path in [*beside.rglob("*"), beside]:
                sync_folder(path)  # fsync takes a file's descriptor too
            _put(beside, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def check_folder(path: Path, shown: str, *, overwrite: bool, known_sha256: Collection[str]) -> None:
    """Make sure that a folder can be put at `path` and that what is there may be replaced. Reads it, changes nothing.

    Ours is a folder with one of these digests; one without any files is nobody's. Raises DeliveryError.
    """
    with told(shown):
        if not path.exists():
            check_parent(path.parent, shown)
            return
        if not path.is_dir():
            message = f"{shown} is a file, and a partitioned table is a folder"
            raise DeliveryError(message, hint="move it away, or write to another path", code="bad-target")
        check_parent(path.parent, shown)
        there = files_in(path)
        if there and not overwrite and digest_of(path) not in known_sha256:
            message = f"{shown} exists, and this job did not write it (or a file in it was added or changed since)"
            hint = "move it away, write to another path, or set `overwrite: true` on the sink: all that is in it goes"
            raise DeliveryError(message, hint=hint, code="foreign-target")


def files_in(folder: Path) -> list[Path]:
    """All that is in a folder and is no folder itself, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def digest_of(folder: Path) -> str:
    """The digest (hex) of all that is in a folder."""
    return _digest({path.relative_to(folder).as_posix(): sha256_of(path) for path in files_in(folder)})


def _digest(files: Mapping[str, str]) -> str:
    text = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(files.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _put(folder: Path, target: Path) -> None:
    """Put a folder in the place of another; what was there is at the folder's old place then, or gone."""
    if not target.exists():
        folder.rename(target)
    elif not _exchange(folder, target):
        aside = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(aside)
        folder.rename(target)
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system has none."""
    library = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        call = getattr(library, "renamex_np", None)
        arguments: tuple[object, ...] = (*paths, ctypes.c_uint(_RENAME_SWAP))
    else:
        call = getattr(library, "renameat2", None)
        arguments = (_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], ctypes.c_uint(_RENAME_EXCHANGE))
    if call is None or call(*arguments) == 0:
        return call is not None
    found = ctypes.get_errno()
    if found in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(found, os.strerror(found))
