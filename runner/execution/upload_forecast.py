"""What a run would upload: the contents of its requests that the API does not have yet, as far as the index knows.

Owns   the count for `runner plan`. It sends nothing and changes nothing.
Knows  the index of uploads and requests. A content that is named by many rows is counted once; of more than
       `MOST_COUNTED` contents the rest is not told apart, so that memory does not grow with the rows.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Self

from msgspec import Struct

from runner.clock import Clock
from runner.errors import SetupError
from runner.execution.api import Api
from runner.execution.folders import StateFolder
from runner.execution.uploading import LASTS
from runner.ledger.uploads import Content, UploadIndex
from runner.types import Mode, PendingFile, Request

MOST_COUNTED = 200_000
"""Contents whose digests are remembered: some 20 MB."""


class Forecast(Struct, frozen=True):
    """`files` and `size_bytes` would be uploaded, `known` are at the API. `at_least`: there are more."""

    files: int
    size_bytes: int
    known: int
    at_least: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {"files": self.files, "size_bytes": self.size_bytes, "known": self.known, "at_least": self.at_least}


class UploadForecast:
    """Counts while a plan goes through its rows. A context manager."""

    def __init__(self, state: StateFolder, api: Api, mode: Mode, clock: Clock) -> None:
        self._soon = clock.now() + LASTS[mode]
        self._undo = ExitStack()
        self._index: UploadIndex | None = None
        self._scope = ""
        self._seen: set[bytes] = set()
        self._files = self._bytes = self._known = 0
        self._at_least = False
        if not state.uploads_path.exists():
            return
        try:
            owner = api.files_owner
        except SetupError:
            return  # without a credential nobody knows whose files these would be
        self._index = self._undo.enter_context(UploadIndex(state.uploads_path))
        self._scope = self._index.scope_of(owner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def add(self, request: Request) -> None:
        for file in request.pending:
            if file.sha256[:16] in self._seen:
                continue
            if len(self._seen) >= MOST_COUNTED:
                self._at_least = True
                continue
            self._seen.add(file.sha256[:16])
            if self._is_there(file):
                self._known += 1
            else:
                self._files += 1
                self._bytes += file.size_bytes

    def result(self) -> Forecast:
        return Forecast(self._files, self._bytes, self._known, self._at_least)

    def _is_there(self, file: PendingFile) -> bool:
        if self._index is None:
            return False
        found = self._index.find(self._scope, Content(file.sha256, file.media_type))
        return found is not None and (found.expires_at is None or found.expires_at > self._soon)
