"""The errors that more than one module of the ledger raises, so that each has one wording and one code.

Owns   what the system says of a disk or a file, as LedgerErrors that say what to do.
Knows  the operating system's error numbers.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from runner.errors import LedgerError

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})


def damaged(message: str) -> LedgerError:
    """Something that was durable is broken or missing."""
    return LedgerError(
        message, code="damaged", hint="restore the run's folder from a backup, or start a run with --new"
    )


def disk_full(path: Path) -> LedgerError:
    return LedgerError(
        f"no space left for {path}", code="disk-full", hint="free some space, then continue with `runner resume`"
    )


def disk_error(path: Path, why: object) -> LedgerError:
    return LedgerError(
        f"the disk failed under {path}: {why}",
        code="disk-error",
        hint="nothing that was acknowledged is lost; check the disk, then continue with `runner resume`",
    )


def cannot_write(path: Path, why: object) -> LedgerError:
    return LedgerError(
        f"cannot open {path}: {why}",
        code="cannot-write",
        hint="the folder and its files must belong to you and be writable",
    )


def refusal_of(error: OSError, path: Path) -> LedgerError:
    """The LedgerError that says what an operating system's error means."""
    if error.errno in NO_SPACE:
        return disk_full(path)
    return (cannot_write if error.errno in _NOT_ALLOWED else disk_error)(path, error.strerror)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise LedgerError `disk-full`, `cannot-write` or `disk-error` where the system refuses to read or write."""
    try:
        yield
    except OSError as error:
        raise refusal_of(error, path) from error
