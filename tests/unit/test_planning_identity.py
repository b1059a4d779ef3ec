"""What makes two requests one, and two jobs the same job.

The golden identities are a promise to users: a release that changes them makes every reply
that they have paid for unfindable.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from runner.planning.identity import SharedIdentity, fingerprint_changes, job_fingerprint, request_identity
from support.job_project import JOB, load_job

BODY: dict[str, Any] = {
    "model": "claude-haiku-5-5",
    "max_tokens": 1024,
    "output_config": {"effort": "low"},
    "system": [{"type": "text", "text": "You label reviews."}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Très bien – 好"}]}],
}


def test_identities_are_golden() -> None:
    assert request_identity(BODY).hex() == "c8c3ad2dcc41ef0b5d206d16f162093271c2dd4615011254716a2b7f014e6e19"
    assert (
        request_identity(BODY, ["b", "a"]).hex() == "7ec66bdb9a05a765a892c09a38e7982abbc52a7c88c3da10a3212550eba067e7"
    )
    assert (
        request_identity({**BODY, "thinking": {"type": "adaptive"}, "stop_sequences": []}).hex()
        == "3a95b830ab2fa085fc55adf79eed84d6a6f254bed57f3034ba0419d8d3116e36"
    )


CONTENT = b"%PDF-1.7 bytes"


def asking(source: dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "document", "source": source, "title": "T"}]
    return {"model": "claude-haiku-5-5", "max_tokens": 1024, "messages": [{"role": "user", "content": content}]}


def test_known_content_has_one_identity_however_it_travels() -> None:
    within = asking({"type": "base64", "media_type": "application/pdf", "data": b64encode(CONTENT).decode()})
    by_name = asking({"type": "file", "file_id": "file_1"})
    known = {"file_1": hashlib.sha256(CONTENT).digest()}
    assert request_identity(within) == request_identity(by_name, contents=known)
    assert request_identity(within).hex() == "8108084bc973b222cf651ee1041ca45168d90d4a8817d9d747b5ea5f64f66a96"
    as_text = asking({"type": "text", "media_type": "text/plain", "data": CONTENT.decode()})
    assert request_identity(as_text) == request_identity(within), "the block says what is made of it, bytes are bytes"


def test_what_is_not_known_stands_as_it_is_written() -> None:
    sources = [
        {"type": "file", "file_id": "file_1"},
        {"type": "file", "file_id": "file_2"},
        {"type": "url", "url": "https://example.org/a.pdf"},
        {"type": "base64", "media_type": "application/pdf", "data": "no base64!"},
    ]
    assert len({request_identity(asking(source)) for source in sources}) == len(sources)


def test_content_inside_a_result_or_a_document_is_known_too() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
    by_name = {"type": "image", "source": {"type": "file", "file_id": "f"}}
    known = {"f": hashlib.sha256(b"ABC").digest()}
    for around in (
        lambda inner: {"type": "tool_result", "tool_use_id": "t", "content": [inner]},
        lambda inner: {"type": "document", "source": {"type": "content", "content": [inner]}},
    ):
        one, two = ({**BODY, "messages": [{"role": "user", "content": [around(each)]}]} for each in (image, by_name))
        assert request_identity(one) == request_identity(two, contents=known)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "claude-sonnet-5-5"},
        {"max_tokens": 1025},
        {"max_tokens": 1024.0},
        {"output_config": {"effort": "high"}},
        {"output_config": {}},
        {"system": []},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Très bien – 好 "}]}]},
        {"thinking": {"type": "disabled"}},
        {"inference_geo": "us"},
        {"a_key_of_extra_body": True},
        {"tools": [{"name": "t", "input_schema": {"type": "object", "properties": {"cache_control": {}}}}]},
    ],
)
def test_what_the_model_sees_is_part_of_the_identity(change: dict[str, Any]) -> None:
    assert request_identity({**BODY, **change}) != request_identity(BODY)


@pytest.mark.parametrize(
    "change",
    [
        {"stream": True},
        {"metadata": {"user_id": "u"}},
        {"service_tier": "standard_only"},
        {"speed": "fast"},
        {"cache_control": {"type": "ephemeral"}},
        {
            "system": [
                {"type": "text", "text": "You label reviews.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
            ]
        },
    ],
)
def test_what_the_model_does_not_see_is_no_part_of_it(change: dict[str, Any]) -> None:
    assert request_identity({**BODY, **change}) == request_identity(BODY)


def test_cache_marks_inside_nested_content_are_left_out() -> None:
    def with_mark(mark: dict[str, Any]) -> dict[str, Any]:
        inner = [{"type": "text", "text": "page", **mark}]
        blocks = [
            {"type": "tool_result", "tool_use_id": "t", "content": inner, **mark},
            {"type": "document", "source": {"type": "content", "content": inner}, **mark},
        ]
        return {**BODY, "messages": [{"role": "user", "content": blocks}]}

    mark = {"cache_control": {"type": "ephemeral"}}
    assert request_identity(with_mark(mark)) == request_identity(with_mark({}))


def test_a_property_called_cache_control_is_not_a_mark() -> None:
    def with_property(name: str) -> dict[str, Any]:
        return {**BODY, "tools": [{"name": "t", "input_schema": {"properties": {name: {"type": "string"}}}}]}

    assert request_identity(with_property("cache_control")) != request_identity(with_property("other"))


def test_betas_count_as_a_set() -> None:
    assert request_identity(BODY, ["a", "b", "a"]) == request_identity(BODY, ["b", "a"]) != request_identity(BODY)


def test_the_api_version_counts() -> None:
    assert request_identity(BODY, api_version="2023-06-01") != request_identity(BODY)


def test_the_order_of_top_level_keys_does_not_count_but_that_inside_a_schema_does() -> None:
    assert request_identity(dict(reversed(BODY.items()))) == request_identity(BODY)

    def with_schema(names: list[str]) -> dict[str, Any]:
        schema = {"properties": {name: {"type": "string"} for name in names}}
        return {**BODY, "output_config": {"format": {"type": "json_schema", "schema": schema}}}

    assert request_identity(with_schema(["a", "b"])) != request_identity(with_schema(["b", "a"]))


def test_the_shared_identity_gives_the_same() -> None:
    shared = {key: value for key, value in BODY.items() if key != "messages"}
    identity = SharedIdentity(shared, ["a"])
    messages = json.dumps(BODY["messages"], ensure_ascii=False, separators=(",", ":")).encode()
    assert identity.with_messages(hashlib.sha256(messages).digest()) == request_identity(BODY, ["a"])


def changed(tmp_path: Path, job: str, files: dict[str, str] | None = None) -> list[str]:
    """What the fingerprint says of a job beside `JOB`; both from fresh folders."""
    old = load_job(tmp_path / "old", JOB, {"docs/book.md": "book", "templates/t.md.j2": "T {{ row.text }}"})
    new = load_job(
        tmp_path / "new", job, {"docs/book.md": "book", "templates/t.md.j2": "T {{ row.text }}", **(files or {})}
    )
    changes = fingerprint_changes(old, new)
    assert (job_fingerprint(old) == job_fingerprint(new)) == (changes == [])
    return changes


@pytest.mark.parametrize(
    "job",
    [
        "# a comment\n" + JOB,
        "\n".join(reversed(JOB.splitlines())) + "\n",
        JOB + "description: Label them.\nlimits: {max_concurrency: 3}\nretry: {max_attempts: 2}\nx-owner: me\n",
        JOB.replace("{path: data.csv, key: id}", "{key: [id], path: data.csv}"),
    ],
)
def test_layout_and_keys_that_change_no_answer_leave_a_job_the_same(tmp_path: Path, job: str) -> None:
    assert changed(tmp_path, job) == []


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("max_tokens: 1024", "max_tokens: 1025", ["params.max_tokens"]),
        ("claude-haiku-5-5", "claude-sonnet-5-5", ["model"]),
        ("Review:", "The review:", ["messages"]),
        ("key: id}", "key: id, limit: 5}", ["dataset.limit"]),
        ("prompt:", "vars: {a: 1}\nprompt:", ["vars"]),
        ("prompt:", "output: {labels: [a, b]}\nprompt:", ["output"]),
    ],
)
def test_a_change_is_told_by_its_key(tmp_path: Path, old: str, new: str, names: list[str]) -> None:
    assert changed(tmp_path, JOB.replace(old, new)) == names


def test_a_changed_template_or_file_is_told_by_its_name(tmp_path: Path) -> None:
    job = JOB.replace('"Review: {{ row.text }}"', "[t.md.j2, {file: docs/book.md}]")
    before = load_job(tmp_path / "a", job, {"docs/book.md": "book", "templates/t.md.j2": "T {{ row.text }}"})
    after = load_job(tmp_path / "b", job, {"docs/book.md": "books", "templates/t.md.j2": "T: {{ row.text }}"})
    assert fingerprint_changes(before, after) == ["file docs/book.md", "template t.md.j2"]


def test_a_changed_asset_or_schema_file_is_told(tmp_path: Path) -> None:
    job = JOB + "assets: {examples: ex.json}\noutput: {schema: out.json}\n"
    one = {"ex.json": "[1]", "out.json": '{"type": "object", "properties": {"a": {"type": "string"}}}'}
    two = {"ex.json": "[2]", "out.json": '{"type": "object", "properties": {"b": {"type": "string"}}}'}
    changes = fingerprint_changes(load_job(tmp_path / "a", job, one), load_job(tmp_path / "b", job, two))
    assert changes == ["asset examples", "output schema"]


def test_a_restored_job_has_the_same_fingerprint(tmp_path: Path) -> None:
    loaded = load_job(tmp_path, JOB + "output: {labels: [a, b]}\n")
    loaded.store(tmp_path / "inputs")
    assert job_fingerprint(type(loaded).restore(tmp_path / "inputs", loaded.settings)) == job_fingerprint(loaded)
