"""What a worker is told: it can cross a pipe, and the parts of a limit add up."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.execution.api import Api
from runner.execution.assignment import part_of, portable, with_part_of_limits
from runner.settings import load_settings
from support.execution_fakes import Bench


@given(st.integers(0, 5000), st.integers(1, 64))
def test_the_parts_add_up_to_the_whole_and_differ_by_one_at_most(whole: int, of: int) -> None:
    parts = [part_of(whole, number, of) for number in range(of)]
    assert sum(parts) == whole
    assert max(parts) - min(parts) <= 1


def test_a_worker_s_job_has_its_part_of_the_requests_at_once_and_all_else_as_it_is(tmp_path: Path) -> None:
    job = Bench(tmp_path).load("limits.max_concurrency=7", "limits.requests_per_minute=100").job
    parts = [with_part_of_limits(job, number, 3) for number in range(3)]
    assert [part.limits.max_concurrency for part in parts] == [3, 2, 2]
    assert all(part.limits.requests_per_minute == 100 for part in parts), "kept to by all of them together"
    assert all(part.limits.max_cost_pico == job.limits.max_cost_pico for part in parts)
    assert job.limits.max_concurrency == 7


@pytest.mark.parametrize("toml", ["", "[defaults]\nmodel = 'm'\n[profiles.p.set]\n'limits.max_concurrency' = 3\n"])
def test_settings_and_api_cross_with_their_environment(tmp_path: Path, toml: str) -> None:
    (tmp_path / "runner.toml").write_text(toml)
    settings = load_settings(tmp_path, {"NAME": "value"})
    api = Api("https://api.example", False, settings.environment)
    crossed_settings, crossed_api = pickle.loads(pickle.dumps(portable(settings, api)))
    assert crossed_settings.environment == settings.environment
    assert crossed_settings.project == settings.project
    assert crossed_api.environ == {"NAME": "value"}
    assert "value" not in repr((settings, api))
