"""Files that `upload: once` has left at the API: which there are, who names them, and their deletion.

Owns   what `runner files` does: reading the index beside the runs that name its files, finding what arrived unheard,
       and deleting what is proven ours and named by nobody.
Knows  the index, the state folder and a provider's files.

Invariants
  * Only files of this index are deleted: those it has noted, and those whose name at the API holds its mark.
  * A file that an unfinished run names (a batch of it may be at the API), or that a run names which cannot be read, is
    never deleted; nor one that is just being uploaded. What is deleted was taken out of the index before, so that no
    run begins to name it meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

from msgspec import Struct

from runner.clock import Clock, to_rfc3339
from runner.errors import SetupError
from runner.execution.api import Api, address_of
from runner.execution.folders import StateFolder
from runner.execution.uploads import files_of
from runner.ledger.uploads import Upload, UploadIndex
from runner.providers import FileProvider, RemoteFile
from runner.settings import Settings
from runner.types import Failure

T = TypeVar("T")
_MAX_PAGES = 200
"""Of the API's list, a thousand files each."""

End = Literal["deleted", "gone", "in_use", "elsewhere", "unknown", "failed"]
"""What became of a deletion. `gone`: the API did not have the file any more. `elsewhere`: another API's, or another
credential's."""


class StoredFile(Struct, frozen=True):
    """A file of ours. `here`: it belongs to the API and the credential that are set now. `noted` False: it arrived, and
    nobody heard of it."""

    file_id: str
    media_type: str
    size_bytes: int
    uploaded_at: datetime
    expires_at: datetime | None
    here: bool
    named_by: Sequence[str] = ()
    """Unfinished runs, and such as cannot be read."""
    noted: bool = True
    name: str = ""
    """At the API; of one that nobody heard of."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "file_id": self.file_id,
            "media_type": self.media_type,
            "size_bytes": self.size_bytes,
            "uploaded_at": to_rfc3339(self.uploaded_at),
            "expires_at": None if self.expires_at is None else to_rfc3339(self.expires_at),
            "here": self.here,
            "named_by": list(self.named_by),
            "noted": self.noted,
        }


class Deletion(Struct, frozen=True):
    file_id: str
    end: End
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"file_id": self.file_id, "end": self.end, "message": self.message}


def list_files(state: StateFolder, settings: Settings, clock: Clock, *, ask_api: bool = False) -> list[StoredFile]:
    """What there is, oldest first, without what has expired; with `ask_api` also what arrived unheard.

    Raises SetupError where the API is to be asked and there is no credential, or it does not answer.
    """
    if not state.uploads_path.exists():
        return []
    api = _api(settings)
    listed = _with_provider(api, clock, _all_files) if ask_api else []
    # Read after the list, so that what arrives in between is known.
    with UploadIndex(state.uploads_path) as index:
        noted = [_stored(state, index, upload, _scope(index, api)) for upload in index.all()]
        now, known = clock.now(), {file.file_id for file in noted}
        return [
            *(file for file in noted if file.expires_at is None or file.expires_at > now),
            *(_unheard(file) for file in listed if index.is_ours(file.filename) and file.file_id not in known),
        ]


def delete_files(state: StateFolder, settings: Settings, clock: Clock, ids: Collection[str] = ()) -> list[Deletion]:
    """Delete these files, or all that nobody names; those too that arrived unheard. Raises SetupError as above."""
    if not state.uploads_path.exists():
        return [_unknown(file_id) for file_id in ids]
    files = {file.file_id: file for file in list_files(state, settings, clock, ask_api=True)}
    asked = list(dict.fromkeys(ids)) or [file.file_id for file in files.values() if file.here]
    known = [files[file_id] for file_id in asked if file_id in files]
    with UploadIndex(state.uploads_path) as index:
        scope = _scope(index, _api(settings))
        refused = {file.file_id: refusal for file in known if (refusal := _refusal(file, index, scope, state))}
        chosen = [file for file in known if file.file_id not in refused]

        async def delete(provider: FileProvider) -> dict[str, Deletion]:
            return {file.file_id: await _deleted(provider, file) for file in chosen}

        ends = dict(refused)
        try:
            if chosen:
                ends |= _with_provider(_api(settings), clock, delete)
        finally:
            for file in chosen:
                end = ends.get(file.file_id)
                if scope is not None and file.noted and (end is None or end.end == "failed"):
                    index.put_back(scope, file.file_id)
    return [ends.get(file_id) or _unknown(file_id) for file_id in asked]


def _api(settings: Settings) -> Api:
    return Api(address_of(settings.environment), False, settings.environment, settings.transport)


def _scope(index: UploadIndex, api: Api) -> str | None:
    """The scope of what is set now; None without a credential."""
    try:
        return index.scope_of(api.files_owner)
    except SetupError:
        return None


def _stored(state: StateFolder, index: UploadIndex, upload: Upload, scope: str | None) -> StoredFile:
    return StoredFile(
        upload.file_id,
        upload.content.media_type,
        upload.size_bytes,
        upload.uploaded_at,
        upload.expires_at,
        upload.scope == scope,
        [run_id for run_id in index.runs_using(upload.scope, upload.file_id) if state.may_be_going_on(run_id)],
    )


def _unheard(file: RemoteFile) -> StoredFile:
    return StoredFile(
        file.file_id, file.media_type, file.size_bytes, file.created_at, file.expires_at, here=True, noted=False,
        name=file.filename,
    )  # fmt: skip


def _refusal(file: StoredFile, index: UploadIndex, scope: str | None, state: StateFolder) -> Deletion | None:
    """Why a file is not deleted. Where there is no reason, nobody can begin to name it from here on."""
    if not file.here or scope is None:
        return Deletion(file.file_id, "elsewhere", "it belongs to another API or credential than is set now")
    if not file.noted:
        if index.claim_unheard(scope, file.name, file.file_id):
            return None
        return Deletion(file.file_id, "in_use", "it is just being uploaded")
    named_by = index.take_out(scope, file.file_id, state.may_be_going_on)
    if named_by:
        return Deletion(file.file_id, "in_use", f"unfinished runs name it: {', '.join(named_by)}")
    return None


def _unknown(file_id: str) -> Deletion:
    return Deletion(file_id, "unknown", "it was not uploaded from this project")


async def _deleted(provider: FileProvider, file: StoredFile) -> Deletion:
    answer = await provider.delete_file(file.file_id)
    if not isinstance(answer, Failure):
        return Deletion(file.file_id, "deleted")
    if answer.http_status == 404:
        return Deletion(file.file_id, "gone", answer.message)
    return Deletion(file.file_id, "failed", f"{answer.kind}: {answer.message}")


async def _all_files(provider: FileProvider) -> list[RemoteFile]:
    files: list[RemoteFile] = []
    page: str | None = None
    for _ in range(_MAX_PAGES):
        listed = await provider.list_files(page=page)
        if isinstance(listed, Failure):
            message = f"the API does not list its files ({listed.kind}: {listed.message})"
            raise SetupError(message, code="no-file-list", hint="try again later")
        files += listed.files
        page = listed.next_page
        if page is None:
            break
    return files


def _with_provider(api: Api, clock: Clock, act: Callable[[FileProvider], Awaitable[T]]) -> T:
    async def go() -> T:
        provider = api.connect(max_concurrency=1, clock=clock)
        try:
            return await act(files_of(provider))
        finally:
            await provider.aclose()

    return asyncio.run(go())
