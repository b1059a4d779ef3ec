"""Blocks and tools that a model or a provider does not take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from runner.catalog.models import ModelFacts, snapshot_facts
from runner.planning.capable import Served, block_problems, tool_problems
from runner.planning.compile import compile_job
from support.job_project import JOB, load_job

ANY = Served()


def facts_with(**changes: Any) -> ModelFacts:
    known = snapshot_facts("claude-haiku-5-5")
    assert known is not None
    return replace(known, **changes)


def told(folder: Path, block: str, facts: ModelFacts | None, served: Served = ANY) -> list[tuple[str, str, int | None]]:
    job = JOB.replace('prompt: "Review: {{ row.text }}"', f'prompt:\n  - {block}\n  - "{{{{ row.text }}}}"\n')
    loaded = load_job(folder, job, {"a.pdf": "%PDF-1.7\n", "a.png": "x"})
    found = block_problems(loaded.job, facts, served, loaded.locate)
    return [(problem.code, problem.severity, problem.where.line if problem.where else None) for problem in found]


IMAGE, PDF, ROW = '{image: "{{ row.id }}.png"}', "{document: a.pdf}", '{document: "{{ row.text }}"}'


@pytest.mark.parametrize(
    ("block", "lacks", "expected"),
    [
        (IMAGE, {"image_input": False}, [("no-images", "error", 5)]),
        (IMAGE, {"image_input": True, "pdf_input": False}, []),
        (PDF, {"pdf_input": False}, [("no-pdf", "error", 5)]),
        (ROW, {"pdf_input": False}, [("no-pdf", "warning", 5)]),
        (ROW, {"pdf_input": None}, []),
        (
            "{document: {text: A text.}, citations: true}",
            {"citations": False, "pdf_input": False},
            [("no-citations", "error", 5)],
        ),
    ],
)
def test_what_the_model_does_not_take_is_told_at_its_block(
    tmp_path: Path, block: str, lacks: dict[str, Any], expected: list[tuple[str, str, int]]
) -> None:
    assert told(tmp_path, block, facts_with(**lacks)) == expected


def test_nothing_is_said_of_a_model_that_nobody_knows(tmp_path: Path) -> None:
    assert told(tmp_path, IMAGE, None) == []


def test_addresses_and_file_ids_need_a_provider_that_takes_them(tmp_path: Path) -> None:
    bare = Served("Amazon Bedrock", urls=False, files=False)
    address, file_id = "{image: 'https://example.com/a.png'}", "{document: file_abc}"
    assert told(tmp_path, address, None, bare) == [("no-urls", "error", 5)]
    assert told(tmp_path, file_id, None, bare) == [("no-files", "error", 5)]
    assert told(tmp_path, "{document: a.pdf, upload: once}", None, bare) == [("no-files", "error", 5)]
    assert told(tmp_path, address, None) == told(tmp_path, file_id, None) == []
    assert told(tmp_path, IMAGE, None, bare) == [], "what a row holds is for the row"


def test_a_server_tool_that_the_model_has_not_is_told(tmp_path: Path) -> None:
    job = JOB + "mode: parallel\ntools: [{type: web_search_20250305, name: web_search, max_uses: 1}]\n"
    loaded = load_job(tmp_path, job)
    compiled = compile_job(loaded, mode="parallel")
    (problem,) = tool_problems(compiled, facts_with(web_search=False), loaded.locate)
    assert (problem.code, problem.where.line if problem.where else None) == ("no-server-tool", 7)
    assert list(tool_problems(compiled, facts_with(web_search=True), loaded.locate)) == []
