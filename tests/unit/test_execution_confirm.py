"""The bill before it is run up: when a person is asked, what is asked, and what the estimate is made from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import BudgetError
from runner.execution.confirm import EXACT_ROWS
from runner.execution.summary import Summary
from support.execution_fakes import ADDRESS, JOB, Bench, OwnApi, folder_in_memory

WITHOUT_CAP = JOB.replace(", max_cost_usd: 5", "")
USD = 10**12


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with folder_in_memory(tmp_path) as folder:
        bench = Bench(folder / "project", rows=4, job=WITHOUT_CAP)
        threshold(bench, 0.000001)
        yield bench


def threshold(bench: Bench, dollars: float) -> None:
    bench.write("runner.toml", f"confirm_above_usd = {dollars:.9f}\n")


class Person:
    """Answers questions, and remembers them."""

    def __init__(self, *, says: bool) -> None:
        self.says = says
        self.asked: list[str] = []

    def __call__(self, question: str) -> bool:
        self.asked.append(question)
        return self.says


def test_a_person_is_asked_above_the_threshold_and_the_run_goes_on(bench: Bench) -> None:
    person = Person(says=True)
    assert bench.run(confirm=person).exit_status == 0
    (question,) = person.asked
    assert "no cap is set" in question
    assert "$" in question


def test_a_run_that_is_not_confirmed_sends_nothing_and_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(BudgetError) as caught:
        bench.run(confirm=Person(says=False))
    assert caught.value.code == "not-confirmed"
    assert not bench.provider.received
    assert list(bench.state.runs_path.iterdir()) == []


def test_without_a_person_a_run_needs_a_cap_or_a_yes(bench: Bench) -> None:
    with pytest.raises(BudgetError) as caught:
        bench.run()
    assert caught.value.code == "needs-confirmation"
    assert caught.value.exit_status == 4
    assert "--yes" in (caught.value.hint or "")
    assert bench.run(yes=True).exit_status == 0


def test_nobody_is_asked_below_the_threshold(bench: Bench) -> None:
    threshold(bench, 10)
    person = Person(says=False)
    assert bench.run(confirm=person).exit_status == 0
    assert not person.asked


def test_nobody_is_asked_with_a_cap(bench: Bench) -> None:
    person = Person(says=False)
    assert bench.run("limits.max_cost_usd=1", confirm=person).exit_status == 0
    assert not person.asked


def test_nobody_is_asked_about_money_that_is_not_spent(bench: Bench) -> None:
    bench.api = lambda: OwnApi(ADDRESS, simulated=True, environ={}, provider=bench.provider)  # type: ignore[method-assign]
    assert bench.run().exit_status == 0


def test_a_run_that_goes_on_was_confirmed_when_it_began(bench: Bench) -> None:
    bench.begin()
    person = Person(says=False)
    assert bench.run(confirm=person).exit_status == 0
    assert not person.asked


def test_a_price_that_nobody_knows_is_asked_about(bench: Bench) -> None:
    bench.write("jobs/x.yaml", WITHOUT_CAP.replace("claude-haiku-5-5", "somebody-else-1"))
    threshold(bench, 1_000)
    person = Person(says=True)
    assert bench.run(confirm=person).exit_status == 0
    (question,) = person.asked
    assert "an unknown amount" in question


# -- the estimate --------------------------------------------------------------------------------------------------


def upper(summary: Summary) -> int:
    value = summary.meta["upper_cost_pico"]
    assert isinstance(value, int)
    return value


def test_the_estimate_bounds_the_bill_and_is_noted(bench: Bench) -> None:
    summary = bench.run(yes=True)
    assert summary.estimated_cost_pico is not None
    assert 0 < summary.money.spent <= upper(summary)
    assert summary.estimated_cost_pico <= upper(summary)


def test_what_was_paid_for_is_not_in_the_estimate(bench: Bench) -> None:
    bench.run(yes=True)
    bench.rows(f"text {number}" for number in range(5))
    person = Person(says=True)
    one = bench.run(yes=True)
    all_rows = bench.run(yes=True, reuse=False)
    assert upper(one) * 4 < upper(all_rows) <= upper(one) * 6
    assert not person.asked


def test_of_many_rows_an_even_sample_is_scaled(tmp_path: Path) -> None:
    """Short texts first, long ones last: a sample of the first rows would be far off."""
    small, large = Bench(tmp_path / "small", rows=0), Bench(tmp_path / "large", rows=0)
    small.rows(["x"] * 100 + ["y" * 2_000] * 100)
    times = EXACT_ROWS // 200 * 2
    large.rows(["x"] * 100 * times + ["y" * 2_000] * 100 * times)
    bounds = [upper(bench.run("limits.max_cost_usd=0.000000001")) for bench in (small, large)]
    assert bounds[1] == bounds[0] * times
