"""`max_cost_usd` is never passed, whatever the job and however the API misbehaves.

Whole runs of drawn jobs against the stand-in, whose own account is the oracle: what it billed, delivered or not, stays
within the cap; what the runner has in its books, with what it holds in doubt, covers it; every row ends once; the exit
status is what the rows say. A run that its cap stopped is gone on with, first under the same cap and then, without
faults, under one that suffices.

An attempt's deadline is ten minutes and no job can shorten it, so jobs whose requests never end are drawn apart, and
run with a provider that waits less.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import runner
from runner.clock import Clock, SystemClock
from runner.execution.api import Api, address_of
from runner.execution.asked import RunOptions
from runner.execution.converge import converge
from runner.providers import Provider
from runner.providers.wire import connect
from runner.simulator.prompt import echo_of
from runner.spec.load import load
from support.api import SimulatedApi, simulated_api
from support.engine_fakes import Listener

pytestmark = pytest.mark.slow

JOBS = 50
AMPLE_USD = 1_000
DEADLINE_S = 0.2
PICO_PER_USD = 10**12

Fault = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Example:
    """A drawn job: its rows' texts, what differs from the plainest one, and how the API behaves."""

    texts: tuple[str, ...]
    job: Mapping[str, Any]
    cap_usd: float
    allow_failures: int | str
    faults: tuple[Fault, ...]

    @property
    def tolerated(self) -> int:
        return len(self.texts) if isinstance(self.allow_failures, str) else self.allow_failures

    def write(self, root: Path) -> Path:
        (root / "runner.toml").touch()
        data = root / "data" / "rows.jsonl"
        data.parent.mkdir()
        lines = (json.dumps({"id": f"k{index}", "text": text}) + "\n" for index, text in enumerate(self.texts))
        data.write_text("".join(lines), encoding="utf-8")
        path = root / "jobs" / "drawn.yaml"
        path.parent.mkdir()
        limits = {"max_cost_usd": self.cap_usd, "allow_failures": self.allow_failures}
        job = {**self.job, "limits": {**self.job["limits"], **limits}}
        path.write_text(yaml.safe_dump(job, allow_unicode=True), encoding="utf-8")
        return path


# -- jobs ----------------------------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=60)


def rows_of(some: list[str], count: int) -> tuple[str, ...]:
    """As many texts as rows, of a few words or many, some of them equal."""
    return tuple(some[index % len(some)] * (1 + index % 7 * 8) for index in range(count))


texts = st.builds(rows_of, st.lists(words, min_size=1, max_size=5), st.integers(1, 60))

MODELS = ("claude-haiku-5-5", "claude-sonnet-4-6", "claude-opus-5-5")
"""A cheap one whose input costs as much as its output, one that does not think by itself, and a dear one that does."""

RUBRIC = "Keep to the rules. " * 160
"""3,040 bytes: more than the models' 512 to 1,024 tokens, so that cache marks cost writes."""

FIELDS = {"label": ["good", "bad"], "why": "string"}

RARE, OFTEN = st.floats(0.02, 0.2), st.floats(0.2, 0.9)


max_tokens_of = st.one_of(st.integers(1, 60), st.integers(100, 1_000), st.just(30_000))
"""Replies that are cut off, that are not, and that are long enough to be streamed."""


@st.composite
def jobs(draw: st.DrawFn, max_tokens: st.SearchStrategy[int] = max_tokens_of) -> Mapping[str, Any]:
    cache = st.sampled_from([None, True, "5m", "1h"])
    system = draw(st.sampled_from([None, "Be brief.", RUBRIC]))
    row = marked({"text": "{{ row.text }}"}, draw(cache))
    job = {
        "name": "drawn",
        "mode": "parallel",
        "model": draw(st.sampled_from(MODELS)),
        "params": {"max_tokens": draw(max_tokens)},
        "messages": [{"role": "user", "content": [row]}],
        "dataset": {"path": "data/rows.jsonl", "key": "id"},
        "limits": {"max_concurrency": draw(st.integers(1, 32))},
        "retry": {
            "max_attempts": draw(st.integers(1, 5)),
            "initial_interval": "1ms",
            "maximum_interval": draw(st.sampled_from(["1ms", "20ms"])),
        },
    }
    if system is not None:
        longer = (
            "1h" if row.get("cache") == "1h" else draw(cache)
        )  # the API takes longer marks only before shorter ones
        job["system"] = [marked({"text": system}, longer)]
    if draw(st.booleans()):
        job["output"] = {"fields": FIELDS}
    return job


def marked(block: dict[str, Any], cache: object) -> dict[str, Any]:
    return block if cache is None else {**block, "cache": cache}


# -- faults --------------------------------------------------------------------------------------------------------

UNBILLED = ("500", "503", "reset", "html")
LOST = ("reply_lost", "truncated", "wrong_type", "stream_error", "stream_ends")
"""Billed, and the reply does not arrive: what a cap is most easily passed by."""
SPOILT = ("refusal", "max_tokens", "empty", "pause_turn", "not_json", "off_schema")
BUSY = ("429", "529")
FINAL = ("402", "403")
"""Of the whole job: these stop it."""

rates = st.one_of(RARE, OFTEN)


def at_random(kinds: tuple[str, ...], chances: st.SearchStrategy[float], **rule: Any) -> st.SearchStrategy[Fault]:
    return st.tuples(st.sampled_from(kinds), chances.map(lambda rate: {"rate": rate, **rule}))


lost_replies = st.one_of(
    st.just(()), st.tuples(at_random(LOST, rates)), st.tuples(at_random(LOST, RARE), at_random(LOST, RARE))
)
other_faults = st.one_of(
    st.just(()),
    st.tuples(at_random(UNBILLED + SPOILT, rates)),
    st.tuples(at_random(BUSY, rates, retry_after="0.01"), at_random(UNBILLED + SPOILT, RARE)),
    st.tuples(at_random(("slow",), RARE, seconds=0.1)),
    st.tuples(st.tuples(st.sampled_from(FINAL), st.integers(1, 30).map(lambda number: {"nth": [number]}))),
)

caps = st.floats(-3.5, 0.3).map(lambda exponent: round(10**exponent, 6))
examples = st.builds(
    Example,
    texts=texts,
    job=jobs(),
    cap_usd=caps,
    allow_failures=st.sampled_from([0, 3, "100%"]),
    faults=st.builds(lambda lost, other: (*lost, *other), lost_replies, other_faults),
)

examples_that_hang = st.builds(
    Example,
    texts=st.builds(rows_of, st.lists(words, min_size=1, max_size=5), st.integers(1, 20)),
    job=jobs(max_tokens=st.integers(1, 8)),
    cap_usd=caps,
    allow_failures=st.just(0),
    faults=st.tuples(at_random(("reply_hangs", "hang"), st.floats(0.05, 0.4))),
)
"""Few rows and short replies: a deadline grows with `max_tokens`."""


# -- the property --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path_factory.mktemp("api"), latency="lognormal:3ms,1.0") as api:
        yield api


held = settings(
    max_examples=JOBS,
    derandomize=True,
    report_multiple_bugs=False,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@held
@given(example=examples)
def test_no_drawn_job_is_billed_more_than_its_cap(api: SimulatedApi, example: Example) -> None:
    with project(example, api) as path:
        result = runner.run(path)
        check(example, result, api, example.cap_usd, path)
        if result.status == "finished":
            return
        again = runner.resume(result.run_id, folder=path.parent)
        check(example, again, api, example.cap_usd, path)
        if again.status == "finished":
            return
        api.clear_faults()
        last = runner.run(path, set={"limits.max_cost_usd": AMPLE_USD})
        assert (last.run_id, last.status) == (result.run_id, "finished")
        check(example, last, api, AMPLE_USD, path)


@settings(held, max_examples=JOBS // 5)
@given(example=examples_that_hang)
def test_replies_that_never_come_count_against_the_cap(api: SimulatedApi, example: Example) -> None:
    with project(example, api) as path:
        result = run_impatiently(path)
        check(example, result, api, example.cap_usd, path)
        if result.status != "finished":
            check(example, run_impatiently(path), api, example.cap_usd, path)


@contextmanager
def project(example: Example, api: SimulatedApi) -> Iterator[Path]:
    """A folder of its own for one job, and the environment that leads to a stand-in which misbehaves as drawn."""
    api.reset()
    for kind, rule in example.faults:
        api.fault(kind, **rule)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as environ:
        for name, value in api.environ.items():
            environ.setenv(name, value)
        yield example.write(Path(folder))


def run_impatiently(path: Path) -> runner.Result:
    """`runner.run` with the shortest deadline an attempt can have."""
    loaded = load(path)
    there = ImpatientApi(address_of(loaded.environ), False, loaded.environ)
    summary = converge(loaded, RunOptions(), there, observer=Listener(), confirm=None, clock=SystemClock())
    return runner.Result(summary, loaded.settings)


class ImpatientApi(Api):
    __slots__ = ()

    def connect(self, *, max_concurrency: int, clock: Clock) -> Provider:
        return connect(self.environ, max_concurrency=max_concurrency, clock=clock, deadline_s=DEADLINE_S)


def ending(result: runner.Result) -> str:
    stopped_by = result.summary.stopped_by
    doubt = "with replies" if result.summary.money.doubtful else "with nothing"
    return f"{result.status}{f' by {stopped_by.kind}' if stopped_by else ''}, {doubt} in doubt"


def check(example: Example, result: runner.Result, api: SimulatedApi, cap_usd: float, path: Path) -> None:
    event(ending(result))
    check_money(result, api, cap_usd)
    check_exit_status(example, result)
    check_rows(example, result, path.parents[1] / "out" / "drawn.jsonl")


def check_money(result: runner.Result, api: SimulatedApi, cap_usd: float) -> None:
    """The API's account is within the cap; what the runner knows, and what it fears, encloses that account."""
    billed, money = api.accounts()["cost_pico"], result.summary.money
    cap = round(cap_usd * PICO_PER_USD)
    assert billed <= cap
    assert money.spent + money.doubtful <= cap
    assert money.spent <= billed <= money.spent + money.doubtful
    assert money.reserved == 0, "nothing is under way any more"


def check_exit_status(example: Example, result: runner.Result) -> None:
    rows, status = result.rows, result.summary.exit_status
    assert rows.total == len(example.texts)
    assert rows.succeeded + rows.failed + rows.open == rows.total
    if result.status == "finished":
        assert rows.open == 0
        assert status == (5 if rows.failed > example.tolerated else 0)
    else:
        assert (result.status, status) == ("stopped", 4)
        assert rows.open > 0


def check_rows(example: Example, result: runner.Result, target: Path) -> None:
    """One record a row, in order, each with an answer to its own text; a file only once nothing is open."""
    records = list(result.records())
    assert [record.key for record in records] == [f"k{index}" for index in range(len(example.texts))]
    for record, text in zip(records, example.texts, strict=True):
        assert record.row["text"] == text
        if record.status == "succeeded":
            assert echo_of(text) in json.dumps(record.output)
    assert target.exists() == (result.status == "finished")
    if target.exists():
        lines = [json.loads(line) for line in target.read_bytes().splitlines()]
        assert [line["key"] for line in lines] == [record.key for record in records]
        assert [line["status"] for line in lines] == [record.status for record in records]
