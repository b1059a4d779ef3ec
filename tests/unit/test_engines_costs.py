from __future__ import annotations

import pytest
from msgspec.structs import replace

from runner.engines.costs import Costs, counted_input
from runner.types import Request, Usage


def request(size: int, shared: int = 0) -> Request:
    return Request(b"", b"p" if shared else b"", b"x" * size, "m", 100, None, shared_bytes=shared)


def test_cache_writes_count_and_cache_reads_do_not() -> None:
    usage = Usage(
        input_tokens=1, cache_read_input_tokens=10, ephemeral_5m_input_tokens=100, ephemeral_1h_input_tokens=1_000
    )
    assert counted_input(usage) == 1_101


def test_tokens_a_byte_are_learned() -> None:
    costs = Costs()
    for _ in range(20):
        costs.learn(request(400), Usage(input_tokens=100, output_tokens=7))
    assert costs.expect(request(800)) == pytest.approx(200)
    assert costs.output == pytest.approx(7)


def test_where_the_shared_part_is_read_from_the_cache_only_the_rows_own_bytes_count() -> None:
    costs = Costs()
    costs.learn(request(10_000, shared=9_000), Usage(input_tokens=250, ephemeral_5m_input_tokens=2_500))
    for _ in range(100):
        costs.learn(request(10_000, shared=9_000), Usage(input_tokens=250, cache_read_input_tokens=2_500))
    assert costs.expect(request(9_400, shared=9_000)) == pytest.approx(100, rel=0.01)


def test_the_mean_follows_what_leaves() -> None:
    costs = Costs()
    costs.learn(request(100), Usage(input_tokens=100))
    for _ in range(200):
        costs.expect(request(300))
    assert costs.input == pytest.approx(300, rel=0.01)


def test_a_warm_up_takes_what_it_writes_and_says_nothing_of_the_rows() -> None:
    costs = Costs()
    costs.learn(request(400), Usage(input_tokens=100, output_tokens=7))
    warm_up = replace(request(8_000), max_tokens=0)
    assert costs.expect(warm_up) == pytest.approx(2_000)
    costs.learn(warm_up, Usage(input_tokens=5, ephemeral_5m_input_tokens=2_000))
    assert costs.expect(request(400)) == pytest.approx(100)
    assert costs.output == pytest.approx(7)
    assert costs.input == pytest.approx(100)
