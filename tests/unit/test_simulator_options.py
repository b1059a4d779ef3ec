from __future__ import annotations

from pathlib import Path

import pytest

from runner.simulator.options import Latency, Options, from_arguments, parse_fault


@pytest.mark.parametrize(
    ("text", "latency"),
    [
        ("0", Latency()),
        ("200ms", Latency(0.2)),
        ("1.5s", Latency(1.5)),
        ("10min", Latency(600.0)),
        ("2h", Latency(7200.0)),
        ("lognormal:800ms", Latency(0.8, 0.5)),
        ("lognormal:2s,0.7", Latency(2.0, 0.7)),
    ],
)
def test_latency_is_read_and_written(text: str, latency: Latency) -> None:
    assert Latency.parse(text) == latency == Latency.parse(str(latency))


@pytest.mark.parametrize("text", ["", "fast", "200m", "normal:1s", "1s,2"])
def test_a_wrong_latency_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"no latency|no duration|second number"):
        Latency.parse(text)


def test_a_lognormal_latency_has_its_median_in_the_middle() -> None:
    latency = Latency(0.8, 0.5)
    assert latency.draw(-1) < latency.draw(0) == 0.8 < latency.draw(1)
    assert Latency(0.8).draw(3) == 0.8


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("529=0.05", ("529", 0.05)),
        ("reply_lost=1%", ("reply_lost", 0.01)),
        ("batch_row:529=5%", ("batch_row:529", 0.05)),
        ("results_missing=1", ("results_missing", 1.0)),
    ],
)
def test_a_fault_rate_is_a_share_or_a_percentage(text: str, fault: tuple[str, float]) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["529", "=1", "529=2", "529=x", "nowhere:529=1", ":529=1", "batch_row:=1"])
def test_a_wrong_fault_rate_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_fault(text)


def test_options_survive_the_command_line(tmp_path: Path) -> None:
    plain = Options(state=tmp_path)
    full = Options(
        state=tmp_path,
        port=1,
        key="*",
        latency=Latency(0.8, 0.5),
        reply_tokens=7,
        rpm=1,
        itpm=2,
        otpm=3,
        burst_s=4.5,
        window_s=1.5,
        ramp=6,
        retry_after=False,
        max_concurrency=5,
        faults=(("529", 0.1), ("batch_create:reply_lost", 0.01)),
        batch_latency=Latency(60.0, 0.3),
        batch_cancel_s=1.5,
        batch_start="at_once",
        batch_hit_rate=0.3,
        batch_queue=7,
        seed=9,
        control_token="t",
        die_with_stdin=True,
    )
    for options in (plain, full):
        assert from_arguments(options.to_arguments()) == options
