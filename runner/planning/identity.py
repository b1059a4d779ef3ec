"""Identity: which requests are the same request, and which jobs the same job.

Owns   the hash under which replies are found again, and the fingerprint that tells whether a job has changed.

A request's identity is SHA-256 over
    the header   {"format", "api_version", "betas"} as canonical JSON, and a newline
    the entries  each top-level key in sorted order, a NUL byte, and the SHA-256 of its value's canonical JSON.
What all rows share is digested once (`SharedIdentity`); a row only adds its messages.

Left out, because the model does not see them: `cache_control` (of the request, and on any block of system, tools and
messages), `stream`, `metadata`, `service_tier`. So batch and parallel mode share answers, and a new time-to-live
re-pays nothing. Kept as written: the order of mappings inside content, tools and schemas; integers exactly, floats by
their repr.

A job's fingerprint covers the resolved job and the content of every file it names, without what changes no answer.

Changing anything here makes every stored reply unfindable: golden identities in the tests hold it still, and a
deliberate change raises `IDENTITY_FORMAT`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from runner.catalog.api import API_VERSION
from runner.encoding import encode
from runner.spec.load import LoadedJob

IDENTITY_FORMAT = 1

FINGERPRINT_FORMAT = 1

_NOT_SEEN_BY_THE_MODEL = frozenset({"cache_control", "stream", "metadata", "service_tier"})


def request_identity(body: Mapping[str, Any], betas: Iterable[str] = (), *, api_version: str = API_VERSION) -> bytes:
    """Hash one whole request body: 32 bytes, equal for requests that ask the model for the same thing."""
    return _combine(_value_digests(body), betas, api_version)


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


def unmarked(blocks: Any) -> Any:
    """Content blocks (or tools) without their cache breakpoints; plain strings pass as they are.

    A breakpoint stands on a block, on a block inside a block's `content`, or inside a document's `source.content`.
    Other mappings are left alone: a tool's schema may well have a property that is called `cache_control`.
    """
    if not isinstance(blocks, list):
        return blocks
    return [_unmarked_block(block) for block in blocks]


def _unmarked_block(block: Any) -> Any:
    if not isinstance(block, Mapping):
        return block
    kept = {key: value for key, value in block.items() if key != "cache_control"}
    if "content" in kept:
        kept["content"] = unmarked(kept["content"])
    source = kept.get("source")
    if isinstance(source, Mapping) and "content" in source:
        kept["source"] = {**source, "content": unmarked(source["content"])}
    return kept


def _value_digests(body: Mapping[str, Any]) -> dict[str, bytes]:
    return {
        key: hashlib.sha256(encode(_as_seen(key, value))).digest()
        for key, value in body.items()
        if key not in _NOT_SEEN_BY_THE_MODEL
    }


def _as_seen(key: str, value: Any) -> Any:
    if key in ("system", "tools", "messages"):
        return unmarked(value)
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
"""Keys under which the order of mappings shows: in the schema that is sent, in a template's loop, in a table's
columns."""


def job_fingerprint(loaded: LoadedJob) -> str:
    """SHA-256 (hex) of all that decides a job's requests, rows and records; equal for the same job in another
    layout."""
    return hashlib.sha256(encode({"format": FINGERPRINT_FORMAT, **_facets(loaded)})).hexdigest()


def fingerprint_changes(old: LoadedJob, new: LoadedJob) -> list[str]:
    """What differs between two jobs of different fingerprints, in words: dotted keys of the job, names of files."""
    before, after = _facets(old), _facets(new)
    changes = _differences(before["job"], after["job"])
    for part, noun in (("templates", "template"), ("files", "file"), ("assets", "asset")):
        names = before[part].keys() | after[part].keys()
        # A text inside the job is told as the job's key already.
        named = (name for name in sorted(names) if "#" not in name)
        changes += [f"{noun} {name}" for name in named if before[part].get(name) != after[part].get(name)]
    if before["schema"] != after["schema"] and not any(change.startswith("output") for change in changes):
        changes.append("output schema")
    return changes


def _facets(loaded: LoadedJob) -> dict[str, Any]:
    job = {
        key: value if key in _ORDER_MATTERS else _sorted(value)
        for key, value in sorted(loaded.resolved.items())
        if key not in _CHANGES_NO_ANSWER and not key.startswith("x-")
    }
    return {
        "job": job,
        "templates": _digests(loaded.templates.sources),
        "files": _digests(loaded.files),
        "assets": _digests(loaded.assets),
        "schema": hashlib.sha256(encode(loaded.schema)).hexdigest(),
    }


def _digests(contents: Mapping[str, Any]) -> dict[str, str]:
    return {name: hashlib.sha256(encode(contents[name])).hexdigest() for name in sorted(contents)}


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Dotted keys whose values differ; the nearest mapping above a list is as deep as it goes."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        changes = []
        for key in [*old, *(key for key in new if key not in old)]:
            place = f"{path}.{key}" if path else str(key)
            changes += _differences(old[key], new[key], place) if key in old and key in new else [place]
        # Only the order of the keys differs.
        return changes or ([] if encode(old) == encode(new) else [path])
    return [] if encode(old) == encode(new) else [path]
