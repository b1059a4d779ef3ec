from __future__ import annotations

import pytest

from runner.engines.width import Width


def used(width: Width, replies: int, now: float = 0.0) -> None:
    for _ in range(replies):
        width.succeeded(width.slots - 1, now)


@pytest.mark.parametrize(("most", "slots"), [(1, 1), (8, 8), (50, 32), (400, 100), (1_000, 250)])
def test_a_run_starts_with_a_part_of_what_the_job_allows(most: int, slots: int) -> None:
    assert Width(most).slots == slots


def test_a_width_that_was_healthy_lately_is_where_the_next_run_starts() -> None:
    assert Width(400, healthy=300.0).slots == 300
    assert Width(400, healthy=20.0).slots == 100, "never narrower than without knowing"
    assert Width(400, healthy=5_000.0).slots == 400


def test_a_width_that_is_not_used_does_not_grow() -> None:
    width = Width(400)
    for _ in range(100):
        width.succeeded(10, 0.0)
    assert width.slots == 100


def test_after_a_cut_it_grows_by_a_tenth_a_round_trip() -> None:
    width = Width(400)
    width.cut()
    used(width, 50)
    assert width.slots == 55


def test_a_ceiling_is_probed_less_often_after_each_failure() -> None:
    width = Width(400)
    width.cut_to(60, 0.0, fresh=True)
    assert width.slots == 60
    used(width, 100, now=4.0)
    assert width.slots == 60
    used(width, 1, now=5.0)
    assert width.slots == 61
    width.cut_to(60, 6.0, fresh=True)
    used(width, 100, now=15.0)
    assert width.slots == 60, "ten seconds now"
    used(width, 1, now=16.0)
    assert width.slots == 61


def test_refusals_of_one_episode_lower_a_ceiling_to_half_at_most() -> None:
    width = Width(400)
    for left in range(90, 0, -1):
        width.cut_to(left, 0.0, fresh=left == 90)
    assert width.slots == 50
