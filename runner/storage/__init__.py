"""Storage: files by URL, read over a bad network and published whole. This module is the package's contract.

Owns   which paths are URLs, the file systems behind them (fsspec's, and a reader of http of our own), how a file is
       read from them and how one is put there.
Knows  bytes and names. Nothing of rows, records or jobs: datasets, sinks and blocks say what they want.

    files = find("s3://bucket/2026-*.csv", root)   one RemoteFile or several, in bytewise order
    with files[0].open() as stream: …              a BufferedReader: seekable, resumed where a connection is lost
    target = RemoteTarget("s3://bucket/out.csv")
    target.check(overwrite=False, known_sha256=…)  whether what is there may be replaced
    target.publish(path, sha256)                   a reader sees the old file or the new one, never half

Addresses and credentials of the stores come from the environment, as their libraries read it. What is shown of a URL
(`shown`) has neither a user's name and password nor a query: either may be a secret. What goes wrong outside is raised
as `StorageError`, with the file and the cure. No library is imported before a file is asked for.

The folder, in the order to read it in:

    addresses       which paths are URLs, and what of one may be shown
    systems         the file systems behind them, and what they say when something goes wrong
      known_hosts     which SSH servers are known
      web             files of the web, in one stream
    reading         a file is read
    publishing      a file is put in its place
"""

from __future__ import annotations

from runner.storage.addresses import as_path, file_name, is_url, shown
from runner.storage.publishing import RemoteTarget, check_writable
from runner.storage.reading import RemoteFile, find, locate, read_small
from runner.storage.systems import StorageError, missing_for

__all__ = [
    "RemoteFile",
    "RemoteTarget",
    "StorageError",
    "as_path",
    "check_writable",
    "file_name",
    "find",
    "is_url",
    "locate",
    "missing_for",
    "read_small",
    "shown",
]
