"""Folders that a process throws away when it is done with them, and the next one where it was killed.

Owns   `scratch_folder`.
Knows  a folder to make them in, which only this project uses.

Each is held by an `flock` on the folder itself, which the kernel gives up when the process ends, however it ends. So
one that nobody holds is left over, and whoever makes the next one beside it removes it. Where a file system has no such
locks nothing is ever taken for left over.

Source: flock(2); a folder can be opened for reading and locked on Linux and macOS.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, which is there, whose name begins with `prefix`; those of the same prefix that a killed
    process left are removed. Raises OSError."""
    for left in parent.glob(f"{prefix}*"):
        _remove_left(left)
    folder, descriptor = _made(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _made(parent: Path, prefix: str) -> tuple[Path, int]:
    """The folder, and what holds it. Another process may take it for left over before it is held, and remove it: then
    another one is made."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if _is_held(descriptor) and folder.exists():
                return folder, descriptor
            os.close(descriptor)


def _is_held(descriptor: int) -> bool:
    """Hold a folder of our own; also where there are no locks. False where another process does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _remove_left(folder: Path) -> None:
    with suppress(OSError):  # somebody holds it, or has removed it
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(descriptor)
