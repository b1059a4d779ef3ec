"""From what a job says of a block to the blocks of a row's request."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.errors import PlanError
from runner.media.tokens import HIGH, page_tokens
from runner.planning.compile import compile_job
from runner.planning.content import BYTES_OF_A_TOKEN
from runner.planning.identity import request_identity
from runner.planning.requests import CompiledJob
from runner.spec.loaded import LoadedJob
from runner.types import Failure, Request, Row
from support.job_project import load_job
from support.media import noise, pdf, picture

JOB = """\
name: reviews
model: claude-haiku-5-5
params: {max_tokens: 100}
prompt:
%s
dataset: {path: data.csv, key: id}
"""
END = "  - What is it?"


def loaded(folder: Path, *blocks: str, end: str = END, more: str = "") -> LoadedJob:
    lines = [f"  - {block}" for block in blocks]
    return load_job(folder, JOB % "\n".join([*lines, end] if end else lines) + more)


def compiled(folder: Path, *blocks: str, end: str = END, more: str = "") -> CompiledJob:
    return compile_job(loaded(folder, *blocks, end=end, more=more), mode="parallel")


def made(job: CompiledJob, **values: Any) -> Request:
    request = job.request(Row("r1", 0, values))
    assert isinstance(request, Request), request
    return request


def content(job: CompiledJob, **values: Any) -> list[dict[str, Any]]:
    """The blocks of the one message, which holds the laws of all requests."""
    request = made(job, **values)
    body = json.loads(request.body)
    assert request.hash == request_identity(body)
    assert json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() == request.body
    blocks: list[dict[str, Any]] = body["messages"][0]["content"]
    return blocks[:-1]


def texts(job: CompiledJob, **values: Any) -> list[str]:
    return [block["text"] for block in content(job, **values)]


def failure(job: CompiledJob, **values: Any) -> Failure:
    failed = job.request(Row("r1", 0, values))
    assert isinstance(failed, Failure)
    assert "'r1'" in failed.message
    return failed


def write(folder: Path, name: str, data: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def test_a_path_of_a_row_becomes_its_content(tmp_path: Path) -> None:
    write(tmp_path, "photos/a.bin", picture(40, 30, "WEBP"))
    source = {"type": "base64", "media_type": "image/webp", "data": b64encode(picture(40, 30, "WEBP")).decode()}
    job = compiled(tmp_path, '{image: "photos/{{ row.name }}.bin"}')
    assert content(job, name="a") == [{"type": "image", "source": source}]


def test_bytes_of_a_column_stay_bytes(tmp_path: Path) -> None:
    job = compiled(tmp_path, '{document: "{{ row.pdf }}"}')
    for value in (pdf(2), bytearray(pdf(2)), memoryview(pdf(2))):
        assert b64decode(content(job, pdf=value)[0]["source"]["data"]) == pdf(2)


def test_a_list_makes_a_block_of_each(tmp_path: Path) -> None:
    job = compiled(tmp_path, '{image: "{{ row.photos }}"}')
    photos = ["https://example.org/a.png", "file_abc", picture(4, 4)]
    assert [block["source"]["type"] for block in content(job, photos=photos)] == ["url", "file", "base64"]
    assert content(job, photos=[]) == []


def test_text_is_told_by_its_bytes_too(tmp_path: Path) -> None:
    write(tmp_path, "note.pdf", "\ufeffgröße".encode())
    job = compiled(tmp_path, '{document: "{{ row.note }}", title: "{{ row.id }}", context: a note, citations: true}')
    source = {"type": "text", "media_type": "text/plain", "data": "größe"}
    told = {"type": "document", "source": source, "title": "7", "context": "a note", "citations": {"enabled": True}}
    assert content(job, note="note.pdf", id="7") == [told]
    assert "title" not in content(job, note="note.pdf", id=None)[0], "an empty title is left out"


def test_a_document_may_be_text_of_the_row(tmp_path: Path) -> None:
    job = compiled(tmp_path, '{document: {text: "About {{ row.about }}"}, title: T}')
    source = {"type": "text", "media_type": "text/plain", "data": "About it"}
    assert content(job, about="it") == [{"type": "document", "source": source, "title": "T"}]


def test_a_search_result_has_passages(tmp_path: Path) -> None:
    job = compiled(tmp_path, '{search_result: "{{ row.url }}", title: T, content: ["{{ row.parts }}", "{{ row.n }}!"]}')
    passages = [{"type": "text", "text": text} for text in ("a", "b", "3!")]
    told = {"type": "search_result", "source": "https://example.org", "title": "T", "content": passages}
    assert content(job, url="https://example.org", parts=["a", None, "b"], n=3) == [told]


@pytest.mark.parametrize(("stars", "kept"), [(1, ["low", "always"]), (5, ["high", "always"]), (3, ["always"])])
def test_blocks_come_and_go_with_the_row(tmp_path: Path, stars: int, kept: Sequence[str]) -> None:
    job = compiled(
        tmp_path,
        "{text: low, if: row.stars < 3}",
        '{text: high, if: "{{ row.stars > 3 }}"}',
        "always",
        "{text: never, if: row.stars > 9}",
    )
    assert texts(job, stars=stars) == kept


def test_each_makes_a_block_for_each_item_and_if_sees_it(tmp_path: Path) -> None:
    job = compiled(tmp_path, '{each: row.parts, if: item.n > 1, text: "{{ item.name }} of {{ row.id }}"}')
    parts = [{"name": "a", "n": 1}, {"name": "b", "n": 2}, {"name": "c", "n": 3}]
    assert texts(job, parts=parts, id=7) == ["b of 7", "c of 7"]
    assert texts(job, parts=None, id=7) == texts(job, parts=[], id=7) == []


@pytest.mark.parametrize("nothing", [None, "", "  ", "none.png", [], [None], b""], ids=repr)
def test_what_is_optional_is_left_out(tmp_path: Path, nothing: Any) -> None:
    assert content(compiled(tmp_path, '{image: "{{ row.photo }}", optional: true}'), photo=nothing) == []


def test_an_optional_text_is_left_out_where_it_is_empty(tmp_path: Path) -> None:
    job = compiled(
        tmp_path,
        '{text: "{{ row.a }}", optional: true}',
        '{document: {text: "{{ row.a }}"}, optional: true}',
        '{search_result: s, title: t, content: "{{ row.a }}", optional: true}',
    )
    assert content(job, a=None) == []
    assert [block["type"] for block in content(job, a="x")] == ["text", "document", "search_result"]


@pytest.mark.parametrize(
    ("block", "value", "told"),
    [
        ('{image: "{{ row.x }}"}', None, "messages.0.content.0 is null (give it a value, or write `optional: true`"),
        ('{image: "{{ row.x }}"}', "", "is an empty text"),
        ('{image: "{{ row.x }}"}', 7, "is the number 7 (give a path, an `https://` address"),
        ('{image: "{{ row.x }}"}', {"a": 1}, "is a mapping"),
        ('{image: "{{ row.x }}"}', "none.png", "there is no file 'none.png'"),
        ('{image: "{{ row.x }}"}', "../../etc/passwd", "lies outside of the project"),
        ('{image: "{{ row.x }}"}', "sftp://host/a.png", "`sftp:` is no address that the API fetches"),
        ('{image: "{{ row.x }}"}', b"%PDF-1.4 /Type /Page", "send it as a document: `document:`"),
        ('{image: "{{ row.x }}"}', b"II*\x00\xff", "is a TIFF image, and an image block takes PNG, JPEG, GIF and WebP"),
        ('{document: "{{ row.x }}"}', b"PK\x03\x04\x00", "is a ZIP archive, as Word, Excel and PowerPoint files are"),
        ('{document: "{{ row.x }}"}', picture(4, 4), "send it as an image: `image:` instead of `document:`"),
        ('{each: row.x, text: "{{ item }}"}', "abc", "`each` of messages.0.content.0 gives a text, not a list"),
        ("{text: hello, if: row.x}", "yes", "`if` of messages.0.content.0 gives a text, not true or false"),
        ('{search_result: s, title: t, content: "{{ row.x }}"}', 3.5, "is the number 3.5"),
        (
            '{search_result: "{{ row.x }}", title: t, content: c}',
            None,
            "messages.0.content.0 is an empty text",
        ),
    ],
)
def test_what_makes_no_block_is_the_fault_of_its_row(tmp_path: Path, block: str, value: Any, told: str) -> None:
    failed = failure(compiled(tmp_path, block), x=value)
    assert (failed.kind, told in failed.message) == ("input_error", True), failed.message


@pytest.mark.parametrize(
    "block",
    [
        '{text: "{{ row.x }}", if: true == true}',
        '{document: {text: "{{ row.x }}"}}',
        '{search_result: s, title: t, content: "{{ row.x }}"}',
    ],
)
def test_an_empty_text_that_is_not_optional_is_a_render_error(tmp_path: Path, block: str) -> None:
    failed = failure(compiled(tmp_path, block), x="  ")
    assert (failed.kind, "the text is empty" in failed.message) == ("render_error", True)


def test_a_message_without_a_block_is_a_render_error(tmp_path: Path) -> None:
    job = compiled(tmp_path, '{image: "{{ row.a }}", optional: true}', "{text: x, if: row.b}", end="")
    assert "a message has no block" in failure(job, a=None, b=False).message
    assert "a message has no block" not in made(job, a=None, b=True).body.decode()


def test_the_breakpoint_goes_behind_the_last_block_that_is_made(tmp_path: Path) -> None:
    job = compiled(
        tmp_path, '{image: "{{ row.photos }}", cache: 1h}', '{each: row.parts, text: "{{ item }}", cache: 5m}'
    )
    photos = ["https://example.org/a", "https://example.org/b"]
    blocks = content(job, photos=photos, parts=["x", "y", "z"])
    assert [block.get("cache_control", {}).get("ttl") for block in blocks] == [None, "1h", None, None, "5m"]
    request = made(job, photos=photos, parts=["x"])
    assert [prefix.ttl for prefix in request.prefixes] == ["1h", "5m"]
    assert made(job, photos=[], parts=[]).prefixes == ()
    assert job.prefixes(Row("r1", 0, {"photos": photos, "parts": ["x"]})) == request.prefixes


def test_rows_of_one_document_share_its_prefix(tmp_path: Path) -> None:
    write(tmp_path, "a.pdf", pdf(2))
    write(tmp_path, "copy of a", pdf(2))
    job = compiled(tmp_path, '{document: "{{ row.pdf }}", cache: true}', '"{{ row.q }}"')
    one, two, other = (made(job, pdf=path, q=q) for path, q in (("a.pdf", "1"), ("copy of a", "2"), (pdf(3), "1")))
    assert one.prefix == two.prefix != other.prefix
    pages = 2 * page_tokens(HIGH)
    assert abs(one.prefixes[0].size_bytes / BYTES_OF_A_TOKEN - pages) < 100, "tokens count, and not base64"


def test_a_file_has_one_identity_however_it_is_called(tmp_path: Path) -> None:
    write(tmp_path, "a.png", picture(9, 9))
    write(tmp_path, "b.png", picture(9, 9))
    job = compiled(tmp_path, '{image: "{{ row.x }}"}')
    one, two, three = (made(job, x=x).hash for x in ("a.png", "b.png", picture(9, 9)))
    assert one == two == three != made(job, x=picture(9, 8)).hash


def test_content_that_no_row_changes_is_read_once_and_kept(tmp_path: Path) -> None:
    write(tmp_path, "docs/rules.pdf", pdf(3))
    write(tmp_path, "pics/a.png", picture(9, 9))
    job = loaded(
        tmp_path, "{document: docs/rules.pdf}", '{each: vars.pics, image: "pics/{{ item }}.png"}', "again",
        more="vars: {pics: [a, a]}\n",
    )  # fmt: skip
    assert sorted(job.media) == ["docs/rules.pdf", "pics/a.png"]
    job.store(tmp_path / "inputs")
    before = made(compile_job(job, mode="parallel"), id=1)
    for name in job.media:
        (tmp_path / name).unlink()
    restored = compile_job(type(job).restore(tmp_path / "inputs", job.settings), mode="parallel")
    assert made(restored, id=1).body == before.body
    assert restored.row_templates == ()
    assert len(before.body) - before.shared_bytes <= 2, "no more than brackets"


def test_what_is_wrong_with_fixed_blocks_is_wrong_with_the_job(tmp_path: Path) -> None:
    for block, code in (
        ('{each: vars.n, text: "{{ item }}"}', "not-a-list"),
        ("{text: x, if: vars.n}", "not-true-or-false"),
        ('{text: "{{ vars.e }}", if: vars.n == 1}', "empty-text"),
    ):
        job = loaded(tmp_path, block, more='vars: {n: 1, e: ""}\n')
        with pytest.raises(PlanError) as raised:
            compile_job(job, mode="parallel")
        assert (raised.value.code, raised.value.where and raised.value.where.line) == (code, 5)
    with pytest.raises(PlanError, match="no block"):
        compiled(tmp_path, "{text: x, if: vars.n == 2}", end="", more="vars: {n: 1}\n")


def test_a_system_prompt_may_have_parts_that_depend_on_the_job(tmp_path: Path) -> None:
    rules = '{each: vars.rules, text: "Rule: {{ item }}", cache: 1h}'
    system = f'system: ["Be kind.", {rules}, {{text: x, if: vars.rules == 1}}]\n'
    job = compiled(tmp_path, more=f"vars: {{rules: [a, b]}}\n{system}")
    body = json.loads(made(job).body)
    assert [block["text"] for block in body["system"]] == ["Be kind.", "Rule: a", "Rule: b"]
    assert ["cache_control" in block for block in body["system"]] == [False, False, True]


def test_images_over_the_limits_are_scaled_or_refused(tmp_path: Path) -> None:
    wide = picture(8_100, 90)
    job = compiled(tmp_path, '{image: "{{ row.x }}"}')
    scaled = made(job, x=wide)
    assert scaled.media_tokens <= 92 * 2
    refusing = failure(compiled(tmp_path, '{image: "{{ row.x }}", resize: refuse}'), x=wide)
    assert (
        "8,100 by 90 pixels, and the API takes 8,000 an edge (make it smaller, or write `resize: fit`)"
        in refusing.message
    )


def test_in_a_request_of_many_images_edges_are_shorter(tmp_path: Path) -> None:
    job = compiled(tmp_path, '{image: "{{ row.x }}"}')
    few, many = (made(job, x=[picture(2_100, 30)] * count) for count in (20, 21))
    assert few.media_tokens == 20 * 75 * 2
    assert many.media_tokens == 21 * 72 * 2
    failed = failure(compiled(tmp_path, '{image: "{{ row.x }}", resize: refuse}'), x=[picture(2_100, 30)] * 21)
    assert "2,000 an edge in a request with 21 images" in failed.message


def test_too_many_bytes_are_made_fewer(tmp_path: Path) -> None:
    request = made(compiled(tmp_path, '{image: "{{ row.x }}"}'), x=noise(1_900, 1_500))
    assert request.silent_bytes <= 5_000_000


def test_a_request_that_is_too_large_is_told_before_it_fills_the_memory(tmp_path: Path) -> None:
    job = compiled(tmp_path, '{document: "{{ row.x }}"}')
    assert failure(job, x=[b"%PDF- /Type /Page" + b"\xff" * 20_000_000] * 3).kind == "too_large"
    assert failure(job, x=[b"%PDF- /Type /Page" + b"\xff" * 25_000_000]).kind == "too_large"


def test_too_many_pages_and_images_are_told(tmp_path: Path) -> None:
    job = compiled(tmp_path, '{document: "{{ row.x }}"}')
    assert "601 pages, and the API takes 600" in failure(job, x=pdf(601, lines=0)).message
    assert "602 pages of PDFs, and the API takes 600" in failure(job, x=[pdf(301, lines=0)] * 2).message
    images = compiled(tmp_path, '{image: "{{ row.x }}"}')
    assert "601 images" in failure(images, x=["https://example.org/a"] * 601).message


def test_the_bound_is_that_of_content_and_not_of_its_bytes(tmp_path: Path) -> None:
    job = compiled(tmp_path, '{image: "{{ row.x }}"}')
    bound = made(job, x=picture(280, 280)).input_bound
    text = made(compiled(tmp_path), x=1).input_bound
    assert bound is not None
    assert text is not None
    assert 0 < bound - text - 100 < 200, "the patches of the image, and the JSON around it"


@pytest.mark.parametrize("value", ["https://example.org/a.pdf", "file_abc", b"%PDF-1.7 no page to be seen"])
def test_what_only_the_api_sees_is_bounded_by_the_model(tmp_path: Path, value: Any) -> None:
    assert made(compiled(tmp_path, '{document: "{{ row.x }}"}'), x=value).input_bound == 1_000_000


def test_half_of_a_surrogate_pair_is_an_input_error(tmp_path: Path) -> None:
    for block in (
        '{text: "{{ row.x }}", if: 1 == 1}',
        '{document: {text: "{{ row.x }}"}}',
        '{image: "https://a/{{ row.x }}"}',
    ):
        assert "half of a surrogate pair" in failure(compiled(tmp_path, block), x="\ud83d").message
