"""The file systems behind URLs, and what they say when something goes wrong.

Owns   which library and which extra a scheme needs, how a file system is opened, and `StorageError`: whatever a library
       raises, told once, with the cure.
Knows  fsspec, which is imported when the first URL needs it.

Names and passwords are taken by the libraries from where they always look (environment, profiles, instance roles), and
what fsspec itself reads (`FSSPEC_SFTP_PASSWORD`). No option of a file system is ever a job's.

A host that an SFTP client has not seen before is refused, as OpenSSH does where nobody can be asked: fsspec's default
would take whichever key comes first.

Source: fsspec 2026.9 ("Configuration"), paramiko 5.1, sshd(8) "SSH_KNOWN_HOSTS FILE FORMAT".
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from runner.errors import RunnerError, SetupError
from runner.extras import EXTRAS, missing_library
from runner.storage.addresses import CHAIN, as_path, is_url, is_web, scheme_of, shown, without_secrets

_MODULES: Mapping[str, str] = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
}
"""The module that a scheme needs beside fsspec."""

_SILENCE = logging.NullHandler()
TIMEOUT_S = 60.0
"""Without a byte for so long, a connection is given up. The SDK's own bound of a read is 600 s; a socket that only
moves a file need not think."""

_KEYS: Mapping[str, str] = {
    "s3fs": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL for a server of another",
    "gcsfs": "set GOOGLE_APPLICATION_CREDENTIALS, or log in: gcloud auth application-default login",
    "adlfs": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING",
    "paramiko": "add a key to the SSH agent or to ~/.ssh, or set FSSPEC_SFTP_PASSWORD; the user stands in the URL",
    "https": "is it public? A user and a password may stand in ~/.netrc or in the URL, or a signature in its query",
    "http": "is it public? A user and a password may stand in the URL",
}

_MISSING = frozenset({"FileNotFoundError", "NotADirectoryError", "ResourceNotFoundError"})
_DENIED = frozenset(
    {
        "PermissionError", "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
        "ProfileNotFound", "TokenRetrievalError", "UnauthorizedSSOTokenError", "AuthenticationException",
        "DefaultCredentialsError", "RefreshError", "ClientAuthenticationError",
    }
)  # fmt: skip
"""Names of exceptions, of Python, botocore, paramiko, google-auth and azure-core, that say: not with these
credentials. By name, since no library is imported that a job does not need."""
_DAMAGED = frozenset({"BadZipFile", "BadGzipFile", "ReadError", "RuntimeError"})
_BUGS = (AttributeError, NameError, AssertionError, MemoryError, NotImplementedError)


class StorageError(RunnerError):
    """A file could not be read from where it lies, or put there. `missing`: there is none. `passing`: the same might go
    well at the next try."""

    exit_status = 4
    default_code = "storage-failed"
    missing = False
    passing = False


class System(Struct, frozen=True):
    """A file system, and the path in it that a URL means."""

    fs: Any
    path: str
    prefix: str
    """What stands before the path of a file of this system in its URL, as it may be shown."""
    suffix: str = ""
    """What stands behind it: the rest of a chain."""
    archive: Any = None
    """The stream of the archive that it is in."""

    def close(self) -> None:
        """End what is this one's alone; connections are kept for others."""
        if self.archive is not None:
            self.fs.close()
            self.archive.close()

    def shown(self, path: str) -> str:
        return f"{self.prefix}{path}{self.suffix}"


def open_system(url: str, *, fresh: bool = False) -> System:
    """The file system of a URL; `fresh` makes new connections. Raises StorageError, SetupError."""
    fsspec = library("fsspec", url)
    scheme = scheme_of(url)
    if scheme in _MODULES:
        library(_MODULES[scheme], url)
    with told(url, "reached"):
        options: dict[str, Any] = {}
        if fresh:  # the ones that fsspec keeps may be those that broke, and the next file would be given them
            fsspec.get_filesystem_class(scheme).clear_instance_cache()
        if scheme in ("sftp", "ssh"):
            options |= _ssh_options(fsspec)
        elif scheme in _MODULES:
            options["use_listings_cache"] = False  # what another program has put there meanwhile is seen
        fs, path = fsspec.url_to_fs(url, **options)
        if scheme in ("sftp", "ssh"):
            fs.ftp.get_channel().settimeout(TIMEOUT_S)
    return _system(fs, path, url)


def open_archive(url: str, archive: Any) -> System:
    """The file system inside of an archive, whose stream is given."""
    fsspec = library("fsspec", url)
    inside, _, rest = url.partition(CHAIN)
    try:
        with told(url):
            fs = fsspec.filesystem(scheme_of(inside), fo=archive, skip_instance_cache=True)
            path = fs._strip_protocol(inside)  # noqa: SLF001  # fsspec has no public name for it
    except BaseException:
        archive.close()
        raise
    return replace(_system(fs, path, f"{inside}{CHAIN}{rest}"), archive=archive)


def library(name: str, url: str) -> Any:
    """Import a library. Raises SetupError with the command that installs it."""
    try:
        # What it logs is for whoever asks for logs: without a handler Python would print it in the middle of a display.
        logging.getLogger(name).addHandler(_SILENCE)
        return importlib.import_module(name)
    except ImportError as error:
        raise _not_installed(name, url) from error


def missing_for(url: str) -> SetupError | None:
    """What would have to be installed to use a URL; loads nothing."""
    needed = [] if is_web(url) else ["fsspec", *(_MODULES[scheme] for scheme in _schemes(url) if scheme in _MODULES)]
    missing = next((name for name in needed if importlib.util.find_spec(name) is None), None)
    return None if missing is None else _not_installed(missing, url)


def _schemes(url: str) -> tuple[str, ...]:
    return tuple(scheme_of(link) for link in url.split(CHAIN))


def _not_installed(name: str, url: str) -> SetupError:
    own = [EXTRAS[_MODULES[scheme]] for scheme in _schemes(url) if scheme in _MODULES]
    return missing_library(name, shown(url), extra=",".join(dict.fromkeys(own)) or None)


@contextmanager
def told(url: str, doing: str = "read") -> Iterator[None]:
    """Turn what a library raises into a StorageError of this URL."""
    try:
        yield
    except RunnerError:
        raise
    except _BUGS:
        raise
    except Exception as error:  # the libraries of a dozen stores have no exception in common
        raise failure(url, error, doing) from error


def failure(url: str, error: BaseException, doing: str = "read") -> StorageError:
    """What an exception of a library means for a user."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _MISSING:
        return missing(url)
    said = without_secrets(str(error)) or type(error).__name__
    if names & _DENIED:
        return denied(url, said)
    if scheme_of(url) in ("zip", "tar") and names & _DAMAGED:
        return StorageError(
            f"{shown(url)} cannot be read: {said}", hint="make or fetch the archive again", code="damaged-file"
        )
    if "UnknownHost" in names:
        return _made(
            StorageError(said, hint=f"compare and note its key: ssh-keyscan {_host(url)} >> ~/.ssh/known_hosts")
        )
    if isinstance(error, ValueError | ImportError) and "protocol" in said.lower():
        hint = "s3, gs, az, sftp, https, zip, and what fsspec knows besides"
        return StorageError(f"{shown(url)}: {said}", hint=hint, code="unknown-scheme")
    if isinstance(error, ValueError) and scheme_of(url) in ("az", "abfs", "abfss"):  # adlfs, without credentials
        return denied(url, said)
    made = StorageError(
        f"{shown(url)} cannot be {doing}: {said}",
        hint="look at the address and at the network, then run again: nothing that was paid for is lost",
    )
    made.passing = True
    return made


def missing(url: str) -> StorageError:
    found = StorageError(f"there is no file {shown(url)}", hint="look at its name", code="file-not-found")
    found.missing = True
    return found


def denied(url: str, said: str) -> StorageError:
    scheme = scheme_of(url)
    hint = _KEYS.get(_MODULES.get(scheme, scheme), "look at the credentials in the environment")
    return StorageError(f"{shown(url)} is not ours to use: {said}", hint=hint, code="storage-denied")


def archive_of(url: str, root: Path) -> str | None:
    """What lies behind `zip://…::`: the archive's URL, or its path; None for a URL that names no archive."""
    if scheme_of(url) not in ("zip", "tar") or CHAIN not in url:
        return None
    behind = as_path(url.partition(CHAIN)[2])
    return behind if is_url(behind) else str(root / behind)


def _system(fs: Any, path: str, url: str) -> System:
    link, chain, rest = url.partition(CHAIN)
    plain_link = shown(link)
    prefix = plain_link.removesuffix(path) if plain_link.endswith(path) else f"{scheme_of(url)}://"
    return System(fs, path, prefix, shown(f"{chain}{rest}") if rest else "")


def _ssh_options(fsspec: Any) -> dict[str, Any]:
    from runner.storage.known_hosts import POLICY  # imports paramiko

    said = {**fsspec.config.conf.get("sftp", {}), **fsspec.config.conf.get("ssh", {})}
    return {"host_key_policy": POLICY, "timeout": TIMEOUT_S} | {
        name: said[name] for name in ("host_key_policy", "timeout") if name in said
    }


def _host(url: str) -> str:
    host, _, port = shown(url).partition("://")[2].partition("/")[0].partition(":")
    return f"-p {port} {host}" if port else host


def _made(error: StorageError) -> StorageError:
    error.code = "unknown-host"
    return error
