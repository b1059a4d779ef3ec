"""From a job file to the first request: what is shared is settled once, and what is wrong with it is found here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.errors import PlanError, SpecError
from runner.planning.compile import compile_job, settled_ttl
from runner.planning.requests import CompiledJob
from runner.types import Mode, Request, Row
from support.job_project import JOB, load_job

FILES = {
    "templates/rubric.md.j2": "Rubric, {{ vars.tone }}, of {{ job.name }}: {{ assets.examples[0].text }}",
    "templates/review.md.j2": "Review: {{ row.text }}",
    "docs/book.md": "A {{ raw }} book.\n",
    "examples.jsonl": '{"text": "fine"}\n',
}
CACHED = """\
name: reviews
model: claude-haiku-5-5
params: {max_tokens: 1024, output_config: {effort: low}, betas: [some-beta]}
vars: {tone: strict}
assets: {examples: examples.jsonl}
system:
  - You label.
  - {template: rubric.md.j2, cache: true}
messages:
  - role: user
    content: [{file: docs/book.md}, review.md.j2]
dataset: {path: data.csv, key: id}
output: {fields: {label: [good, bad], score: {type: integer, minimum: 1}}}
"""


def body_of(compiled: CompiledJob, **values: Any) -> dict[str, Any]:
    request = compiled.request(Row("1", 0, {"id": "1", "text": "good", **values}))
    assert isinstance(request, Request)
    body: dict[str, Any] = json.loads(request.body)
    return body


def test_a_job_becomes_the_request_that_its_author_means(tmp_path: Path) -> None:
    compiled = compile_job(load_job(tmp_path, CACHED, FILES), mode="parallel")
    label = {"type": "string", "enum": ["good", "bad"]}
    score = {"type": "integer", "description": "(minimum: 1)"}
    assert body_of(compiled) == {
        "model": "claude-haiku-5-5",
        "max_tokens": 1024,
        "output_config": {
            "effort": "low",
            "format": {
                "type": "json_schema",
                "schema": {
                    "type": "object",
                    "properties": {"label": label, "score": score},
                    "required": ["label", "score"],
                    "additionalProperties": False,
                },
            },
        },
        "system": [
            {"type": "text", "text": "You label."},
            {
                "type": "text",
                "text": "Rubric, strict, of reviews: fine",
                "cache_control": {"type": "ephemeral", "ttl": "5m"},
            },
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "A {{ raw }} book.\n"},
                    {"type": "text", "text": "Review: good"},
                ],
            }
        ],
    }
    assert compiled.betas == ("some-beta",)
    assert (compiled.name, compiled.model, compiled.max_tokens) == ("reviews", "claude-haiku-5-5", 1024)


def test_the_schema_is_kept_as_the_user_means_it(tmp_path: Path) -> None:
    compiled = compile_job(load_job(tmp_path, CACHED, FILES), mode="parallel")
    assert compiled.schema is not None
    assert compiled.schema["properties"]["score"] == {"type": "integer", "minimum": 1}


def test_a_restored_job_makes_the_same_requests(tmp_path: Path) -> None:
    loaded = load_job(tmp_path, CACHED, FILES)
    loaded.store(tmp_path / "inputs")
    for path in ("templates/rubric.md.j2", "docs/book.md", "examples.jsonl"):
        (tmp_path / path).unlink()
    restored = type(loaded).restore(tmp_path / "inputs", loaded.settings)
    assert body_of(compile_job(restored, mode="parallel")) == body_of(compile_job(loaded, mode="parallel"))


def test_the_order_of_params_in_the_file_changes_no_byte(tmp_path: Path) -> None:
    turned = CACHED.replace(
        "{max_tokens: 1024, output_config: {effort: low}, betas: [some-beta]}",
        "{betas: [some-beta], output_config: {effort: low}, max_tokens: 1024}",
    )
    row = Row("1", 0, {"id": "1", "text": "good"})
    one = compile_job(load_job(tmp_path / "a", CACHED, FILES), mode="parallel")
    two = compile_job(load_job(tmp_path / "b", turned, FILES), mode="parallel")
    assert one.request(row) == two.request(row)


def test_both_modes_ask_for_the_same_and_cache_for_their_own_time(tmp_path: Path) -> None:
    loaded = load_job(tmp_path, CACHED, FILES)
    row = Row("1", 0, {"id": "1", "text": "good"})
    parallel, batch = (compile_job(loaded, mode=mode).request(row) for mode in ("parallel", "batch"))
    assert isinstance(parallel, Request)
    assert isinstance(batch, Request)
    assert parallel.hash == batch.hash
    assert (parallel.cache_ttl, batch.cache_ttl) == ("5m", "1h")


@pytest.mark.parametrize(
    ("cache", "mode", "ttl"),
    [
        (True, "parallel", "5m"),
        (True, "batch", "1h"),
        ("5m", "batch", "5m"),
        ("1h", "parallel", "1h"),
        (False, "parallel", None),
        (None, "batch", None),
    ],
)
def test_true_lets_the_mode_pick_the_time_to_live(cache: Any, mode: Mode, ttl: str | None) -> None:
    assert settled_ttl(cache, mode) == ttl


def test_what_rows_share_up_to_a_breakpoint_is_measured(tmp_path: Path) -> None:
    compiled = compile_job(load_job(tmp_path, CACHED, FILES), mode="parallel")
    assert compiled.cache.shared_prefix_bytes == len("You label.Rubric, strict, of reviews: fine")
    assert not compiled.cache.row_breakpoint


def test_a_breakpoint_behind_shared_text_of_a_message_counts_what_stands_before_it(tmp_path: Path) -> None:
    job = CACHED.replace("[{file: docs/book.md}, review.md.j2]", "[{file: docs/book.md, cache: 1h}, review.md.j2]")
    compiled = compile_job(load_job(tmp_path, job.replace(", cache: true", ", cache: 1h"), FILES), mode="parallel")
    assert compiled.cache.shared_prefix_bytes == len("You label.Rubric, strict, of reviews: fineA {{ raw }} book.\n")
    assert compiled.cache.ttl == {"parallel": "1h", "batch": "1h"}


def test_a_breakpoint_behind_a_rows_text_is_told_apart(tmp_path: Path) -> None:
    job = CACHED.replace("review.md.j2]", "{template: review.md.j2, cache: true}, Why?]")
    compiled = compile_job(load_job(tmp_path, job, FILES), mode="parallel")
    assert compiled.cache.row_breakpoint
    assert compiled.cache.shared_prefix_bytes == len("You label.Rubric, strict, of reviews: fine")


def test_shared_text_in_messages_is_rendered_once_and_fails_before_any_row(tmp_path: Path) -> None:
    job = (
        JOB.replace("vars", "").replace('"Review: {{ row.text }}"', "[share.md.j2, '{{ row.text }}']")
        + "vars: {n: 0}\n"
    )
    loaded = load_job(tmp_path, job, {"templates/share.md.j2": "fine\n{{ 1 / vars.n }}"})
    with pytest.raises(PlanError) as caught:
        compile_job(loaded, mode="parallel")
    where = caught.value.where
    assert where is not None
    assert (Path(where.file).name, where.line) == ("share.md.j2", 2)
    assert "zero" in caught.value.message


def test_shared_text_that_comes_out_empty_is_found_at_its_block(tmp_path: Path) -> None:
    job = JOB + 'vars: {intro: ""}\nsystem: ["{{ vars.intro }}"]\n'
    with pytest.raises(PlanError) as caught:
        compile_job(load_job(tmp_path, job), mode="parallel")
    assert caught.value.code == "empty-text"
    assert caught.value.where is not None
    assert caught.value.where.line == len(job.splitlines())


def test_shared_text_without_a_utf8_form_is_found(tmp_path: Path) -> None:
    job = JOB + 'assets: {bad: bad.json}\nsystem: "{{ assets.bad.text }}"\n'
    with pytest.raises(PlanError) as caught:
        compile_job(load_job(tmp_path, job, {"bad.json": '{"text": "\\ud83d"}'}), mode="parallel")
    assert caught.value.code == "not-utf8"


def test_what_structured_outputs_do_not_take_is_told_all_at_once(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"any": {"description": "Anything."}, "map": {"type": "object"}, "ok": {"type": "string"}},
    }
    job = JOB + "output: {schema: out.json}\n"
    with pytest.raises(SpecError) as caught:
        load_job(tmp_path, job, {"out.json": json.dumps(schema, indent=1)})
    assert [problem.code for problem in caught.value.problems] == ["schema-outside-subset"] * 2
    places = [problem.where for problem in caught.value.problems]
    assert [(where.line, where.source) for where in places if where] == [(4, '  "any": {'), (7, '  "map": {')]
    extracted = load_job(tmp_path, job.replace("out.json}", "out.json, extract: {json: true}}"))
    assert "output_config" not in compile_job(extracted, mode="parallel").shared


def test_an_extra_body_is_laid_into_the_body_and_counts_for_the_identity(tmp_path: Path) -> None:
    plain = compile_job(load_job(tmp_path, JOB), mode="parallel")
    extended = JOB.replace("max_tokens: 1024", "max_tokens: 1024, extra_body: {brand_new: {a: 1}}")
    compiled = compile_job(load_job(tmp_path, extended), mode="parallel")
    assert body_of(compiled) == {**body_of(plain), "brand_new": {"a": 1}}
    row = Row("1", 0, {"id": "1", "text": "good"})
    one, other = plain.request(row), compiled.request(row)
    assert isinstance(one, Request)
    assert isinstance(other, Request)
    assert one.hash != other.hash
