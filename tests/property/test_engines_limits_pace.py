"""Whatever the limit, its windows, the latency and the others who use the key: the limit is used, and few are refused.

The API is the stand-in's own buckets in virtual time (`support.limit_world`). Rates are measured once the burst that a
full bucket admits is used up or, where there is none to speak of, from the first replies on.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.engines.limits import Ceilings
from runner.engines.pacing import Pool
from runner.engines.pool_file import Scope
from runner.engines.shared_pool import open_pool
from runner.types import Usage
from support.limit_world import Run, World, run_in, world

LATENCIES = st.sampled_from([0.02, 0.2, 1.0, 2.0, 5.0])
SPREADS = st.sampled_from([0.0, 0.5])


def drained(made: World, rows: int, most: int = 1_000, *, ceilings: Pool | None = None) -> Run:
    run = run_in(made, rows, most, ceilings=ceilings)
    made.go(run, until=20_000.0)
    assert run.done == rows, "every row is answered in the end"
    return run


# -- one run -----------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    rpm=st.sampled_from([600, 1_000, 3_000, 4_000]),
    burst_s=st.sampled_from([1.0, 5.0, 20.0, 60.0]),
    latency_s=LATENCIES,
    spread=SPREADS,
)
def test_a_limit_of_requests_is_used_from_the_first_minute_on(
    rpm: int, burst_s: float, latency_s: float, spread: float
) -> None:
    rows = 2 * rpm
    run = drained(world(rpm=rpm, burst_s=burst_s, latency_s=latency_s, spread=spread), rows)
    # What it takes to hear of the limit is a reply's time, and the second that the first refusal asks for.
    assert rows / (run.ended_at - 2 * latency_s - 1.0) >= 0.97 * rpm / 60
    assert run.refused <= 0.005 * max(rows, 20_000), "what the opening finds out, and hardly anything after that"


@settings(max_examples=10, deadline=None)
@given(
    itpm=st.sampled_from([100_000, 400_000]),
    burst_s=st.sampled_from([5.0, 60.0]),
    latency_s=LATENCIES,
    seed=st.integers(0, 9),
)
def test_a_limit_of_input_tokens_is_used_though_rows_differ(
    itpm: int, burst_s: float, latency_s: float, seed: int
) -> None:
    draw = random.Random(seed)
    rows = 3 * itpm // 420
    sizes: list[int] = []

    def row() -> tuple[int, Usage]:
        tokens = draw.randint(20, 820)
        sizes.append(tokens)
        return tokens * 3 + draw.randint(0, 200), Usage(tokens, 30, cache_read_input_tokens=1_000)

    run = drained(world(itpm=itpm, burst_s=burst_s, latency_s=latency_s, usage=row), rows)
    assert sum(sizes) / (run.ended_at - 2 * latency_s - 1.0) >= 0.97 * itpm / 60
    assert run.refused <= 0.005 * max(rows, 20_000)


@settings(max_examples=10, deadline=None)
@given(otpm=st.sampled_from([80_000, 160_000]), burst_s=st.sampled_from([5.0, 60.0]), latency_s=LATENCIES)
def test_a_limit_of_output_tokens_is_used_though_replies_differ(otpm: int, burst_s: float, latency_s: float) -> None:
    draw = random.Random(3)
    rows = 3 * otpm // 52
    run = drained(
        world(otpm=otpm, burst_s=burst_s, latency_s=latency_s, usage=lambda: (300, Usage(100, draw.randint(5, 100)))),
        rows,
    )
    assert 52.5 * rows / (run.ended_at - 2 * latency_s - 1.0) >= 0.97 * otpm / 60
    assert run.refused <= 0.005 * max(rows, 20_000)


@pytest.mark.parametrize("latency_s", [0.05, 2.0])
@pytest.mark.parametrize("retry_after", [True, False])
def test_a_window_that_no_header_tells_of_is_found_and_kept(latency_s: float, retry_after: bool) -> None:
    run = drained(world(rpm=3_000, window_s=1.0, latency_s=latency_s, retry_after=retry_after), 12_000)
    assert run.rate(60, run.ended_at) >= 0.95 * 50
    assert run.share_refused <= 0.01


@pytest.mark.parametrize(("latency_s", "most", "share"), [(0.2, 400, 0.97), (2.0, 800, 0.95)])
def test_without_a_limit_the_slots_are_full_slow_start_included(latency_s: float, most: int, share: float) -> None:
    made = world(latency_s=latency_s)
    drained(made, 20_000, most)
    assert 20_000 / made.clock.time >= share * most / latency_s


def test_a_bound_on_connections_is_found_and_kept() -> None:
    made = world(max_concurrency=100, latency_s=1.0)
    run = drained(made, 10_000, 400)
    assert run.rate(30, run.ended_at) >= 0.95 * 100
    assert run.refused <= 400, "the slow start's, once, and a few probes"


def test_a_ramp_is_kept() -> None:
    run = drained(world(ramp=50, latency_s=1.0), 10_000, 400)
    assert run.share_refused <= 0.02
    assert max(run.rate(second, second + 1.0) for second in range(20, int(run.ended_at))) >= 300


def test_an_api_that_tells_nothing_is_felt_out() -> None:
    run = drained(world(rpm=3_000, latency_s=1.0, headers=False), 12_000, 200)
    assert run.rate(70, run.ended_at) >= 0.9 * 50
    assert run.share_refused <= 0.05


@settings(max_examples=10, deadline=None)
@given(own=st.sampled_from([300, 900, 2_400]), latency_s=LATENCIES)
def test_a_ceiling_of_the_job_is_never_passed(own: int, latency_s: float) -> None:
    made = world(rpm=3_000, latency_s=latency_s)
    run = drained(made, 3 * own, ceilings=Ceilings(requests=own).pool())
    assert 0.97 * own / 60 <= 3 * own / run.ended_at <= 1.02 * own / 60
    assert run.refused == 0


# -- with others -------------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(share=st.sampled_from([0.25, 0.5, 0.75]), latency_s=LATENCIES, spread=SPREADS)
def test_what_others_leave_is_used(share: float, latency_s: float, spread: float) -> None:
    made = world(rpm=3_000, latency_s=latency_s, spread=spread)
    made.others(share * 50)
    run = drained(made, 9_000)
    start = 120.0
    left = (1 - share) * 50
    assert run.rate(start, run.ended_at) >= 0.93 * left
    assert run.share_refused <= 0.005


def test_others_who_take_all_do_not_make_a_run_hammer() -> None:
    made = world(rpm=3_000, latency_s=1.0)
    made.others(60.0)
    run = run_in(made, 100_000, 400)
    made.go(run, until=900.0)
    assert run.rate(120, 900) >= 0.5, "it still gets something"
    assert run.refused <= 0.3 * run.sent


def test_when_others_go_away_their_part_is_taken() -> None:
    made = world(rpm=3_000, latency_s=1.0)
    made.others(25.0, end=150.0)
    run = drained(made, 14_000)
    assert run.rate(200, 260) >= 0.97 * 50


def test_two_who_know_nothing_of_each_other_share_without_refusals() -> None:
    made = world(rpm=3_000, latency_s=1.0)
    one, other = run_in(made, 9_000, 400), run_in(made, 9_000, 400)
    made.go(one, other)
    assert one.refused + other.refused <= 0.005 * 18_000
    assert sum(run.rate(60, 240) for run in (one, other)) >= 0.97 * 50


@settings(max_examples=4, deadline=None)
@given(count=st.integers(2, 5), burst_s=st.sampled_from([1.0, 60.0]), latency_s=st.sampled_from([0.2, 2.0]))
def test_several_processes_use_one_limit_evenly(
    tmp_path_factory: pytest.TempPathFactory, count: int, burst_s: float, latency_s: float
) -> None:
    folder = tmp_path_factory.mktemp("limits") / "shared"
    made = world(rpm=3_000, burst_s=burst_s, latency_s=latency_s)
    pools = [open_pool(folder, Scope(("key",)), made.clock, pytest.fail) for _ in range(count)]
    runs = [run_in(made, 4_000 // count, 400, pool=pool) for pool in pools]
    made.go(*runs)
    end = min(run.ended_at for run in runs)
    rates = [run.rate(20, end) for run in runs]
    assert sum(rates) >= 0.97 * 50
    assert min(rates) >= 0.8 * max(rates)
    assert sum(run.refused for run in runs) <= 60 * count, "each opens by itself, once"


def test_the_next_run_starts_at_the_limit_that_the_last_one_learned(tmp_path: Path) -> None:
    made = world(rpm=3_000, burst_s=1.0, latency_s=1.0)
    first = run_in(made, 1_000, 400, pool=open_pool(tmp_path, Scope(("key",)), made.clock, pytest.fail))
    made.go(first)
    first.limits.close()
    start = made.clock.time + 30.0
    pool = open_pool(tmp_path, Scope(("key",)), made.clock, pytest.fail)
    second = run_in(made, 2_000, 400, pool=pool, starts_at=start)
    made.go(first, second)
    assert second.refused == 0
    assert second.rate(start + 1.0, start + 21.0) >= 0.97 * 50


def test_one_that_dies_owes_nothing(tmp_path: Path) -> None:
    made = world(rpm=3_000, burst_s=1.0, latency_s=1.0)
    pools: list[Pool] = [open_pool(tmp_path, Scope(("key",)), made.clock, pytest.fail) for _ in range(2)]
    dying, living = (run_in(made, rows, 400, pool=pool) for rows, pool in zip((1_000, 4_000), pools, strict=True))
    made.go(dying, living)  # the first ends without a word after a thousand rows
    assert living.rate(60, living.ended_at) >= 0.97 * 50
