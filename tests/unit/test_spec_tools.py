"""Tools of a job: both forms, what requests say of them, and what is kept with a run."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from runner.catalog.prices import Prices
from runner.planning.compile import compile_job
from runner.planning.requests import CompiledJob
from runner.spec.load import LoadedJob, load
from runner.spec.tool_schema import tool_schema
from runner.tools import Tool
from runner.types import Request, Row, Usage

JOB = """\
model: claude-haiku-5-5
params: {max_tokens: 100}
tools:
  - {type: web_search_20250305, max_uses: 3, cache: true}
  - {type: web_fetch_20250910}
system: {text: Be brief., cache: true}
prompt: "Who is {{ row.name }}?"
dataset: names.csv
"""


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedJob:
    return load(project(tmp_path, JOB))


def project(root: Path, job: str) -> Path:
    (root / "jobs").mkdir()
    (root / "names.csv").write_text("name\nAnn\n")
    (root / "runner.toml").write_text("")
    path = root / "jobs" / "names.yaml"
    path.write_text(job)
    return path


def request_of(compiled: CompiledJob) -> Request:
    request = compiled.request(Row("1", 0, {"name": "Ann"}))
    assert isinstance(request, Request)
    return request


def test_a_server_tool_gets_its_name_and_its_breakpoint(loaded: LoadedJob) -> None:
    assert orjson.loads(request_of(compile_job(loaded, mode="parallel")).body)["tools"] == [
        {
            "type": "web_search_20250305",
            "name": "web_search",
            "max_uses": 3,
            "cache_control": {"type": "ephemeral", "ttl": "5m"},
        },
        {"type": "web_fetch_20250910", "name": "web_fetch"},
    ]


def test_a_tool_is_a_prefix_of_its_own_before_the_system_prompt(loaded: LoadedJob) -> None:
    compiled = compile_job(loaded, mode="batch")
    request = request_of(compiled)
    assert len(request.prefixes) == 2
    assert request.prefixes[0].size_bytes < request.prefixes[1].size_bytes
    assert {prefix.ttl for prefix in request.prefixes} == {"1h"}
    assert compiled.cache.reaches(10)


def test_breakpoints_of_tools_are_no_part_of_the_identity(tmp_path: Path, loaded: LoadedJob) -> None:
    unmarked = tmp_path / "jobs" / "unmarked.yaml"
    unmarked.write_text(JOB.replace(", cache: true", ""))
    one, other = (request_of(compile_job(job, mode="parallel")) for job in (loaded, load(unmarked)))
    assert one.hash == other.hash
    changed = tmp_path / "jobs" / "changed.yaml"
    changed.write_text(JOB.replace("max_uses: 3", "max_uses: 4"))
    assert request_of(compile_job(load(changed), mode="parallel")).hash != one.hash


def test_nothing_bounds_what_a_tool_of_the_api_reads(loaded: LoadedJob) -> None:
    assert request_of(compile_job(loaded, mode="parallel")).input_bound is None


def test_searches_cost_a_cent_each_in_both_modes() -> None:
    prices = Prices.from_json(
        {
            "format": 1,
            "version": "test",
            "models": {"m": {mode: [_free_tier()] for mode in ("parallel", "batch")}},
        }
    )
    used = Usage(web_search_requests=3)
    assert prices.cost("m", used, "parallel") == prices.cost("m", used, "batch") == 3 * 10**10


def _free_tier() -> dict[str, int]:
    return {"above": 0, "input": 0, "output": 0, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0}


def test_tools_are_kept_with_a_run(tmp_path: Path, loaded: LoadedJob) -> None:
    loaded.store(tmp_path / "inputs")
    restored = LoadedJob.restore(tmp_path / "inputs", loaded.settings)
    assert restored.tools == loaded.tools
    (tmp_path / "inputs" / "tools.json").unlink()
    assert LoadedJob.restore(tmp_path / "inputs", loaded.settings).tools == ()


def test_a_tool_goes_through_json_unchanged() -> None:
    tool = Tool({"name": "find", "input_schema": {}}, "1h", "lookups:find", 3.5, 10)
    assert Tool.from_json(orjson.loads(orjson.dumps(tool.to_json()))) == tool


def test_a_container_without_a_tool_that_runs_code_is_a_warning(tmp_path: Path, loaded: LoadedJob) -> None:
    assert loaded.warnings == ()
    job = loaded.path
    job.write_text(JOB.replace("max_tokens: 100", "max_tokens: 100, container: c_1"))
    assert [(problem.code, problem.severity) for problem in load(job).warnings] == [("no-effect", "warning")]
    job.write_text(job.read_text().replace("type: web_fetch_20250910", "type: code_execution_20260521"))
    assert load(job).warnings == ()


def test_the_schema_of_a_tool_offers_every_type() -> None:
    text, function, *server = tool_schema()["anyOf"]
    assert text["type"] == "string"
    assert function["required"] == ["python"]
    assert {kind["properties"]["type"]["const"] for kind in server} >= {"web_search_20250305", "tool_search_tool_bm25"}
    assert all("cache" in kind["properties"] for kind in server)
