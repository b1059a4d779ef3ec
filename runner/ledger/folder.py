"""A run's folder as the ledger needs it: private, on a local disk, and with one owner at a time.

Owns   the names inside the folder, their permissions, the lock, and making a new directory entry durable.
Knows  the operating system. Nothing of what is in the files.

Invariants
  * Folders are 0700 and files 0600: replies and rows are nobody else's business.
  * At most one process writes a run: `flock` on the file `lock`, held as long as the ledger is open. The kernel gives
    it up when the process ends, however it ends, so there are no stale locks.
  * `ledger.db` is never opened here: closing any descriptor of it would drop SQLite's own POSIX locks
    (sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path

from runner.encoding import decode, encode
from runner.errors import LedgerError
from runner.ledger.refusals import disk_errors

DATABASE = "ledger.db"
ROWS = "rows"
SPOOL = "spool"
_LOCK = "lock"

_NETWORK_FILE_SYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "ncpfs", "coda"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs"),
}
"""Shared memory and locks between machines do not work there: sqlite.org/wal.html ("does not work over a network
filesystem")."""


def make_private(folder: Path) -> None:
    """Make a folder, and its parents where they lack, that only its owner can enter. Raises LedgerError
    `cannot-write`."""
    with disk_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)


def open_private(path: Path, flags: int) -> int:
    """Open a file that, when it is made, only its owner can read."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def sync_entries(folder: Path) -> None:
    """Make the names in a folder durable: a synced file may be gone after a power cut if its entry was not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_network(folder: Path) -> None:
    """Raise LedgerError `network-disk` where the folder is on a file system of another machine, as far as the system
    tells."""
    name = file_system_of(folder)
    if name in _NETWORK_FILE_SYSTEMS:
        raise LedgerError(
            f"{folder} is on a network file system ({name}), where a ledger can be damaged",
            code="network-disk",
            hint="set RUNNER_STATE_DIR (or `state_dir` in runner.toml) to a folder on a local disk",
        )


def file_system_of(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The type of the file system a folder is on; None where the system does not say (no Linux, a subvolume).

    mountinfo's fields are those of proc(5): the third is the device, and the type is the first after the lone `-`.
    """
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError):
        for line in mounts.read_text(errors="replace").splitlines():
            head, _, tail = line.partition(" - ")
            if head.split()[2:3] == [wanted]:
                return tail.split()[0]
    return None


def is_owned(folder: Path) -> bool:
    """Whether a process writes the run now.

    The lock is tried only where the process that it names is alive, or on another machine: between runs nobody must
    meet a lock that was only held to look.
    """
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not _may_live(os.pread(descriptor, 1024, 0)):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _may_live(name: bytes) -> bool:
    try:
        owner = decode(name)
        if owner["host"] == socket.gethostname():
            os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError, KeyError, TypeError):
        return True  # another user's, or it has not written its name yet
    return True


class Lock:
    """Ownership of a run's folder. Raises LedgerError `locked`, naming the owner, where somebody else has it."""

    def __init__(self, folder: Path) -> None:
        with disk_errors(folder):
            self._descriptor = open_private(folder / _LOCK, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = self._owner()
            os.close(self._descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise LedgerError(f"cannot lock {folder}: {error.strerror}", code="cannot-lock") from error
            raise LedgerError(
                f"the run {folder.name} is in use{owner}",
                code="locked",
                hint="wait until it has ended, or stop it; reading it (show, export) is possible meanwhile",
            ) from error
        name = encode({"pid": os.getpid(), "host": socket.gethostname()}) + b"\n"
        with contextlib.suppress(OSError):  # on a full disk the name is missing, but the lock is held
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, name, 0)

    def _owner(self) -> str:
        try:
            owner = decode(os.pread(self._descriptor, 1024, 0))
            return f" by process {owner['pid']} on {owner['host']}"
        except (ValueError, KeyError, TypeError, OSError):
            return ""  # the owner has the lock but has not written its name yet

    def close(self) -> None:
        os.close(self._descriptor)
