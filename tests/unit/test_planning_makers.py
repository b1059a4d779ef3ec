"""Makers of blocks with `upload: once`: what stands in a request until the id is known, how often a file is read."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from runner.planning.compile import compile_job
from runner.planning.requests import CompiledJob
from runner.spec.load import load
from runner.types import Failure, Request, Row
from support.media import pdf, picture

JOB = """\
model: claude-haiku-5-5
params: {{max_tokens: 1024}}
messages:
  - role: user
    content:
{blocks}
      - "{{{{ row.question }}}}"
dataset: data/rows.jsonl
"""
ROW: dict[str, Any] = {"question": "Why?", "pdf": "pdf/a.pdf", "photo": "photo.png", "note": "note.txt", "bytes": b""}


def compiled(root: Path, *blocks: str) -> CompiledJob:
    for folder in ("jobs", "data", "pdf"):
        (root / folder).mkdir(exist_ok=True)
    (root / "runner.toml").touch()
    (root / "data" / "rows.jsonl").write_text(json.dumps({**ROW, "bytes": None}) + "\n")
    (root / "pdf" / "a.pdf").write_bytes(pdf(3))
    (root / "photo.png").write_bytes(picture(900, 700))
    (root / "note.txt").write_bytes(b"\xef\xbb\xbfA short note.\n")
    (root / "jobs" / "x.yaml").write_text(JOB.format(blocks="\n".join(f"      - {block}" for block in blocks)))
    return compile_job(load(root / "jobs" / "x.yaml", environ={}), mode="parallel")


def request(job: CompiledJob, **values: Any) -> Request:
    made = job.request(Row("k", 0, {**ROW, **values}))
    assert isinstance(made, Request), made
    return made


def blocks_of(made: Request) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = orjson.loads(made.body)["messages"][0]["content"]
    return content


BLOCKS = {
    "of a row": '{document: "{{ row.pdf }}", title: t, upload: once}',
    "of all rows": "{document: pdf/a.pdf, title: t, cache: true, upload: once}",
    "an image": '{image: "{{ row.photo }}", upload: once}',
    "a text": '{document: "{{ row.note }}", upload: once}',
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())
def test_an_uploaded_file_means_and_costs_what_it_does_within_the_request(tmp_path: Path, block: str) -> None:
    within = request(compiled(tmp_path, block.replace(", upload: once", "")))
    made = request(compiled(tmp_path, block))
    assert made.hash == within.hash
    assert made.prefix == within.prefix
    assert [prefix.digest for prefix in made.prefixes] == [prefix.digest for prefix in within.prefixes]
    (file,) = made.pending
    data = file.load()
    assert (hashlib.sha256(data).digest(), len(data)) == (file.sha256, file.size_bytes)
    source = blocks_of(made)[0]["source"]
    assert source == {"type": "file", "file_id": file.placeholder}
    assert made.silent_bytes == 0
    assert made.input_bound is not None
    assert within.input_bound is not None
    assert made.input_bound >= within.input_bound - len(within.body), "its content is bounded as well"
    final = made.with_ids({file.sha256: "file_1"})
    assert blocks_of(final)[0]["source"]["file_id"] == "file_1"
    assert final.body[: final.shared_bytes] == made.body[: made.shared_bytes].replace(
        file.placeholder.encode(), b"file_1"
    )
    assert final.hash == made.hash


def test_a_text_is_sent_without_its_byte_order_mark(tmp_path: Path) -> None:
    (file,) = request(compiled(tmp_path, BLOCKS["a text"])).pending
    assert (file.media_type, file.load()) == ("text/plain", b"A short note.\n")


def test_bytes_of_a_column_are_uploaded_too(tmp_path: Path) -> None:
    made = request(compiled(tmp_path, '{document: "{{ row.bytes }}", upload: once}'), bytes=pdf(2))
    assert [file.load() for file in made.pending] == [pdf(2)]


@pytest.mark.parametrize("value", ["https://example.com/a.pdf", "file_011CNha8iCJcU1wXNR6q4V8w"])
def test_a_row_with_an_address_or_an_id_needs_no_upload(tmp_path: Path, value: str) -> None:
    made = request(compiled(tmp_path, BLOCKS["of a row"]), pdf=value)
    assert made.pending == ()
    assert value in made.body.decode()


def test_a_file_that_is_named_twice_is_uploaded_once(tmp_path: Path) -> None:
    made = request(compiled(tmp_path, BLOCKS["of a row"], BLOCKS["of all rows"], BLOCKS["an image"]))
    assert len(made.pending) == 2
    final = made.with_ids({file.sha256: f"file_{number}" for number, file in enumerate(made.pending)})
    assert b"file_pending_" not in final.body


def test_an_image_that_is_made_smaller_is_uploaded_as_that(tmp_path: Path) -> None:
    job = compiled(tmp_path, BLOCKS["an image"])
    (tmp_path / "photo.png").write_bytes(picture(9_000, 100))
    (file,) = request(job).pending
    assert file.load() != (tmp_path / "photo.png").read_bytes()
    assert hashlib.sha256(file.load()).digest() == file.sha256


def test_a_document_of_many_rows_is_read_once_until_it_changes(tmp_path: Path) -> None:
    job = compiled(tmp_path, BLOCKS["of a row"])
    first = request(job)
    again = request(job, question="Who?")
    assert again.pending[0] is first.pending[0], "it was not looked at a second time"
    assert again.input_bound == first.input_bound
    path = tmp_path / "pdf" / "a.pdf"
    path.write_bytes(pdf(4))
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    changed = request(job)
    assert changed.pending != first.pending
    assert changed.hash != first.hash
    path.unlink()
    assert isinstance(job.request(Row("k", 0, ROW)), Failure)


def test_bytes_that_cannot_be_read_once_more_say_so(tmp_path: Path) -> None:
    (file,) = request(compiled(tmp_path, BLOCKS["of a row"])).pending
    (tmp_path / "pdf" / "a.pdf").unlink()
    with pytest.raises(ValueError, match="there is no file"):
        file.load()
