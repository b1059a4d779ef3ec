"""Identity: which requests are the same request, and which jobs the same job.

Owns   the hash under which replies are found again, and the fingerprint that tells whether a job has changed.

A request's identity is SHA-256 over
    the header   {"format", "api_version", "betas"} as canonical JSON, and a newline
    the entries  each top-level key in sorted order, a NUL byte, and the SHA-256 of its value's canonical JSON.
What all rows share is digested once (`SharedIdentity`); a row only adds its messages.

Left out, because the model does not see them: `cache_control` (of the request, and on any block of system, tools and
messages), `stream`, `metadata`, `service_tier`, and `speed` (fast mode runs the same model). So batch and parallel mode
share answers, and a new time-to-live re-pays nothing. `inference_geo` stays in: who keeps data in one place does not
want an answer from another. Known content stands as its SHA-256: a block's source in base64 or text, and a file id
whose content is given. So one file has one identity, however it is called and sent. Kept as written: the order of
mappings inside content, tools and schemas; integers exactly, floats by their repr.

A job's fingerprint covers the resolved job and the content of every file it names, without what changes no answer.

Changing anything here makes every stored reply unfindable: golden identities in the tests hold it still, and a
deliberate change raises `IDENTITY_FORMAT`.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from runner.catalog.api import API_VERSION
from runner.encoding import encode
from runner.spec.loaded import LoadedJob

IDENTITY_FORMAT = 1

FINGERPRINT_FORMAT = 1

_NOT_SEEN_BY_THE_MODEL = frozenset({"cache_control", "stream", "metadata", "service_tier", "speed"})


Contents = Mapping[str, bytes]
"""File ids of the API, and the SHA-256 of what each holds."""
_NO_CONTENTS: Contents = MappingProxyType({})


def request_identity(
    body: Mapping[str, Any],
    betas: Iterable[str] = (),
    *,
    api_version: str = API_VERSION,
    contents: Contents = _NO_CONTENTS,
) -> bytes:
    """Hash one whole request body: 32 bytes, equal for requests that ask the model for the same thing."""
    return _combine(_value_digests(body, contents), betas, api_version)


class SharedIdentity:
    """The identity of many requests that differ in their messages only.

    Takes the body without `messages`; `with_messages` adds the digest of one row's messages (see `messages_digest`
    for its definition) and gives what `request_identity` gives for the whole body.
    """

    def __init__(self, body: Mapping[str, Any], betas: Iterable[str] = (), *, api_version: str = API_VERSION) -> None:
        digests = _value_digests(body)
        before = {key: digest for key, digest in digests.items() if key < "messages"}
        after = {key: digest for key, digest in digests.items() if key > "messages"}
        self._before = _header(betas, api_version) + _entries(before) + b"messages\0"
        self._after = _entries(after)

    def with_messages(self, digest: bytes) -> bytes:
        return hashlib.sha256(self._before + digest + self._after).digest()


def unmarked(blocks: Any, contents: Contents = _NO_CONTENTS) -> Any:
    """Content blocks (or tools) without their cache breakpoints, known content as its digest; plain strings pass as
    they are.

    A breakpoint stands on a block, on a block inside a block's `content`, or inside a document's `source.content`.
    Other mappings are left alone: a tool's schema may well have a property that is called `cache_control`.
    """
    if not isinstance(blocks, list):
        return blocks
    return [_unmarked_block(block, contents) for block in blocks]


def _unmarked_block(block: Any, contents: Contents) -> Any:
    if not isinstance(block, Mapping):
        return block
    kept = {key: value for key, value in block.items() if key != "cache_control"}
    if "content" in kept:
        kept["content"] = unmarked(kept["content"], contents)
    source = kept.get("source")
    if isinstance(source, Mapping):
        kept["source"] = _seen_source(source, contents)
    return kept


def _seen_source(source: Mapping[str, Any], contents: Contents) -> Mapping[str, Any]:
    """A source whose content is known as the digest of it."""
    match source:
        case {"type": "base64", "data": str(data)}:
            try:
                return {"sha256": hashlib.sha256(b64decode(data, validate=True)).hexdigest()}
            except (NotBase64, ValueError):
                return source
        case {"type": "text", "data": str(text)}:
            return {"sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()}
        case {"type": "file", "file_id": str(file_id)} if file_id in contents:
            return {"sha256": contents[file_id].hex()}
        case {"content": content}:
            return {**source, "content": unmarked(content, contents)}
    return source


def _value_digests(body: Mapping[str, Any], contents: Contents = _NO_CONTENTS) -> dict[str, bytes]:
    return {
        key: hashlib.sha256(encode(_as_seen(key, value, contents))).digest()
        for key, value in body.items()
        if key not in _NOT_SEEN_BY_THE_MODEL
    }


def _as_seen(key: str, value: Any, contents: Contents) -> Any:
    if key in ("system", "tools", "messages"):
        return unmarked(value, contents)
    return value


def _combine(digests: Mapping[str, bytes], betas: Iterable[str], api_version: str) -> bytes:
    return hashlib.sha256(_header(betas, api_version) + _entries(digests)).digest()


def _header(betas: Iterable[str], api_version: str) -> bytes:
    # The API takes betas as a set: neither order nor repetition means anything.
    return encode({"format": IDENTITY_FORMAT, "api_version": api_version, "betas": sorted(set(betas))}) + b"\n"


def _entries(digests: Mapping[str, bytes]) -> bytes:
    return b"".join(key.encode() + b"\0" + digests[key] for key in sorted(digests))


_CHANGES_NO_ANSWER = frozenset({"description", "limits", "retry"})
"""Top-level keys that an unfinished run may take on: what is asked, and of which rows, stays the same."""
_ORDER_MATTERS = frozenset({"output", "vars", "sinks"})
"""Keys under which the order of a mapping shows: in the schema that is sent, in a template's loop, in a table."""


def job_fingerprint(loaded: LoadedJob) -> str:
    """SHA-256 (hex) of all that decides a job's requests, rows and records; layout and comments are no part of it."""
    return hashlib.sha256(encode({"format": FINGERPRINT_FORMAT, "parts": _parts(loaded)})).hexdigest()


def fingerprint_changes(old: LoadedJob, new: LoadedJob) -> list[str]:
    """Names of what differs between two jobs, sorted: dotted keys of the job, and the files it names."""
    before, after = _parts(old), _parts(new)
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    if "output" in names:
        # The schema follows from it.
        names.discard("output schema")
    return sorted(names)


def _parts(loaded: LoadedJob) -> dict[str, str]:
    """Everything that a fingerprint covers, by name, each as a digest of its canonical JSON."""
    parts: dict[str, Any] = {"output schema": loaded.schema}
    for key, value in loaded.resolved.items():
        if key in _ORDER_MATTERS:
            parts[key] = value
        elif key not in _CHANGES_NO_ANSWER and not key.startswith("x-"):
            parts |= _leaves(key, value)
    # Texts inside the job are among its keys already.
    parts |= {f"template {name}": text for name, text in loaded.templates.sources.items() if "#" not in name}
    parts |= {f"file {name}": text for name, text in loaded.files.items()}
    parts |= {f"file {name}": hashlib.sha256(data).hexdigest() for name, data in loaded.media.items()}
    parts |= {f"asset {name}": value for name, value in loaded.assets.items()}
    # What a function says of itself is part of every request; what it does is not known.
    parts |= {f"tool {tool.name}": tool.definition for tool in loaded.tools if tool.python is not None}
    return {name: hashlib.sha256(encode(parts[name])).hexdigest() for name in sorted(parts)}


def _leaves(path: str, value: Any) -> dict[str, Any]:
    """A mapping's values by dotted key; lists and empty mappings stay whole, mappings in them in one order."""
    if not (isinstance(value, Mapping) and value):
        return {path: _sorted(value)}
    leaves: dict[str, Any] = {}
    for key, item in value.items():
        leaves |= _leaves(f"{path}.{key}", item)
    return leaves


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value
