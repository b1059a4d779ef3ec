"""Publishing: a finished local file is put at a URL, so that a reader sees the old content or the new, never half.

Owns   how each kind of store does that, and whether what is there may be replaced.
Knows  whole files and their digests.

An object store shows an object when its last byte has arrived and not before: a large one is sent in parts, and
completing them is one call. Elsewhere the file is uploaded beside its target under a name of its own and renamed, which
POSIX and SFTP's `posix-rename` do at once. Stores that have neither are refused.

What is there is ours where its SHA-256 is one that this job delivered, or was about to deliver. S3 and Google's store
keep the digest as metadata of the object, which another writer's object has not; everywhere else, and where the
metadata says nothing, the content is read and hashed.

Source: Amazon S3 User Guide, "Amazon S3 data consistency model" and "Multipart upload"; Azure, "Put Block List";
Google, "Consistency"; OpenSSH PROTOCOL, section 4.3 (posix-rename@openssh.com).
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from runner.errors import DeliveryError, Problem, SpecError
from runner.storage.addresses import CHAIN, scheme_of, shown
from runner.storage.reading import WAITS_S, find
from runner.storage.systems import StorageError, System, open_system, told

_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
_RENAMING = frozenset({"sftp", "ssh"})
_NOTED = "runner-sha256"
"""The name of the digest in an object's metadata."""
_READ_AT_ONCE = 1024 * 1024


def check_writable(url: str) -> None:
    """Raise SpecError for a URL that no file can be published at. Makes no connection."""
    scheme = scheme_of(url)
    if CHAIN not in url and scheme in _OBJECT_STORES | _RENAMING:
        return
    if scheme in ("http", "https"):
        message = f"a file cannot be put at {shown(url)}: the web is read only"
    else:
        message = f"a file cannot be put at {shown(url)} so that a reader never sees half of it"
    raise SpecError(
        [Problem("read-only-target", message, hint="write to a path, or to s3://, gs://, az:// or sftp://")]
    )


class RemoteTarget:
    """Where one file is published. Methods raise DeliveryError, StorageError and SetupError."""

    def __init__(self, url: str) -> None:
        """Makes no connection. Raises SpecError for a URL that cannot be written."""
        check_writable(url)
        self._url = url
        self._scheme = scheme_of(url)

    @property
    def name(self) -> str:
        return shown(self._url)

    def exists(self) -> bool:
        system = open_system(self._url)
        with told(self._url):
            return _info(system) is not None

    def open(self) -> BufferedReader:
        """What is there, as a stream that can be sought in. Raises StorageError where nothing is."""
        return find(self._url, Path())[0].open()

    def check(self, *, overwrite: bool, known_sha256: Collection[str]) -> None:
        """Make sure that the store answers, and that what is at the target may be replaced. Changes nothing."""
        system = open_system(self._url)
        with told(self._url, "written"):
            info = _info(system)
            if info is None:
                self._check_container(system)
                return
            if info["type"] == "directory":
                raise DeliveryError(
                    f"{self.name} is a folder", hint="name a file in the sink's `path`", code="bad-target"
                )
            if overwrite or self._is_known(system, info, known_sha256):
                return
        message = f"{self.name} exists, and this job did not write it (or it was changed since)"
        hint = "move it away, write to another path, or set `overwrite: true` on the sink"
        raise DeliveryError(message, hint=hint, code="foreign-target")

    def publish(self, path: Path, sha256: str) -> None:
        """Put the file at `path`, whose digest (hex) is given, at the target. It stays where it is."""
        for wait_s in (*WAITS_S, None):
            try:
                system = open_system(self._url, fresh=wait_s != WAITS_S[0])
                with told(self._url, "written"):
                    if self._scheme in _OBJECT_STORES:
                        _put_object(system, path, self._metadata(sha256))
                    else:
                        _put_beside(system, path, sha256)
            except StorageError as error:
                if wait_s is None or not error.passing:
                    raise
                threading.Event().wait(wait_s)
            else:
                return

    def _metadata(self, sha256: str) -> Mapping[str, Any]:
        match self._scheme:
            case "s3" | "s3a":
                return {"Metadata": {_NOTED: sha256}}
            case "gs" | "gcs":
                return {"metadata": {_NOTED: sha256}}
            case _:  # adlfs sets metadata of its own
                return {}

    def _is_known(self, system: System, info: Mapping[str, Any], known_sha256: Collection[str]) -> bool:
        if not known_sha256:
            return False
        noted = self._noted(system, info)
        return noted in known_sha256 or self._digest() in known_sha256

    def _noted(self, system: System, info: Mapping[str, Any]) -> str | None:
        match self._scheme:
            case "s3" | "s3a":
                metadata = system.fs.metadata(system.path, refresh=True)
            case "gs" | "gcs":
                metadata = info.get("metadata") or {}
            case _:
                return None
        found = metadata.get(_NOTED) or metadata.get(_NOTED.replace("-", "_"))  # s3fs writes _ for -
        return None if found is None else str(found)

    def _digest(self) -> str:
        digest = hashlib.sha256()
        with self.open() as stream:
            while data := stream.read(_READ_AT_ONCE):
                digest.update(data)
        return digest.hexdigest()

    def _check_container(self, system: System) -> None:
        """A bucket that is not there is told before anything is paid. Who may not list it may still write to it."""
        if self._scheme not in _OBJECT_STORES:
            return
        container = system.path.lstrip("/").partition("/")[0]
        try:
            there = system.fs.exists(container)
        except PermissionError:
            return
        if not there:
            hint = "make it, or name another one"
            raise DeliveryError(f"{self.name} cannot be made: there is no {container!r}", hint=hint, code="bad-target")


def _put_object(system: System, path: Path, metadata: Mapping[str, Any]) -> None:
    system.fs.put_file(os.fspath(path), system.path, **metadata)
    _check_size(system, system.path, path)


def _put_beside(system: System, path: Path, sha256: str) -> None:
    folder, _, name = system.path.rpartition("/")
    beside = f"{folder}/.{name}.{sha256[:12]}.part"  # what a killed process left of it is written over
    system.fs.makedirs(folder or "/", exist_ok=True)
    try:
        system.fs.put_file(os.fspath(path), beside)
        _check_size(system, beside, path)
        system.fs.mv(beside, system.path)
    except BaseException:
        _remove(system, beside)
        raise


def _check_size(system: System, target: str, path: Path) -> None:
    found, expected = system.fs.info(target)["size"], path.stat().st_size
    if found != expected:
        raise ConnectionError(f"{found:,} of {expected:,} bytes have arrived")


def _remove(system: System, path: str) -> None:
    with suppress(Exception):  # the connection may be gone; what is left is hidden, and named for what it is
        system.fs.rm_file(path)


def _info(system: System) -> Mapping[str, Any] | None:
    try:
        info: Mapping[str, Any] = system.fs.info(system.path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info
