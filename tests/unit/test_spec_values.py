from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from pydantic import ValidationError

from runner.spec.content import TextSource
from runner.spec.job import Limits, Retry
from runner.spec.sink import SinkSpec
from runner.spec.values import Share


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("60s", 60.0), ("1.5m", 90.0), ("6h", 21600.0), ("2d", 172800.0)]
)
def test_durations_become_seconds(text: str, seconds: float) -> None:
    assert Retry.model_validate({"initial_interval": text}).initial_interval == seconds


@pytest.mark.parametrize("value", [5, "50", "-5s", "5 s", "5S", "", "s", None, True, "1e3s"])
def test_other_durations_are_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="duration with its unit"):
        Retry.model_validate({"initial_interval": value})


def test_a_share_is_a_part_or_a_number() -> None:
    limits = Limits.model_validate({"max_failures": "5%", "allow_failures": 3})
    assert limits.max_failures == Share(fraction=Fraction(1, 20))
    assert limits.allow_failures == Share(rows=3)
    assert (str(limits.max_failures), str(limits.allow_failures)) == ("5%", "3")


def test_a_share_is_exceeded_only_beyond_it() -> None:
    assert not Share(fraction=Fraction(1, 20)).exceeded_by(5, 100)
    assert Share(fraction=Fraction(1, 20)).exceeded_by(6, 100)
    assert not Share(rows=0).exceeded_by(0, 100)
    assert Share(rows=0).exceeded_by(1, 100)


@pytest.mark.parametrize("value", ["101%", "-1%", "five", -1, 2.5, True, "5 %"])
def test_other_shares_are_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="a share of the rows"):
        Limits.model_validate({"max_failures": value})


def test_money_is_exact() -> None:
    limits = Limits.model_validate({"max_cost_usd": 0.1})
    assert limits.max_cost_usd == Decimal("0.1")
    assert limits.max_cost_pico == 100_000_000_000


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", True, 1e-13])
def test_other_money_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="dollars greater than 0"):
        Limits.model_validate({"max_cost_usd": value})


def test_without_a_cap_there_is_none() -> None:
    assert Limits().max_cost_pico is None


@pytest.mark.parametrize("value", [True, False, "5m", "1h", None])
def test_cache_marks(value: Any) -> None:
    assert TextSource.model_validate({"text": "a", "cache": value}).cache == value


@pytest.mark.parametrize("value", ["2h", 1, "true", 5])
def test_other_cache_marks_are_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="true, 5m or 1h"):
        TextSource.model_validate({"text": "a", "cache": value})


def test_include_row_is_all_none_or_some() -> None:
    assert SinkSpec.model_validate({"path": "a.csv", "include_row": ["a", "b"]}).include_row == ("a", "b")
    assert SinkSpec.model_validate({"path": "a.csv", "include_row": False}).include_row is False
    with pytest.raises(ValidationError, match="list of columns"):
        SinkSpec.model_validate({"path": "a.csv", "include_row": "a"})


def test_a_share_is_exact() -> None:
    """0.7 % of 1,000 rows is 7 rows, which floats would call a little less."""
    limits = Limits.model_validate({"allow_failures": "0.7%"})
    assert not limits.allow_failures.exceeded_by(7, 1_000)
    assert limits.allow_failures.exceeded_by(8, 1_000)
