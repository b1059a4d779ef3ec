"""Batches over the life of the stand-in: what is due is done, nothing before its time, and each request once."""

from __future__ import annotations

import json
import os
import signal
import time  # noqa: TID251 - waits for another process
import urllib.error
import urllib.request
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from runner.clock import SystemClock
from support.api import SimulatedApi, simulated_api

HEADERS = {"anthropic-version": "2026-10-21"}
TRIES = 5
"""To do something while it works, which it may be done with whenever this process has to wait for its turn."""


def call(api: SimulatedApi, path: str = "", method: str = "GET", body: Any = None) -> bytes:
    headers = {**HEADERS, "x-api-key": api.api_key}
    data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
    url = f"{api.base_url}/v1/messages/batches{path}"
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=60) as response:
        content: bytes = response.read()
        return content


def create(api: SimulatedApi, count: int, **params: Any) -> str:
    requests = [
        {
            "custom_id": f"r{index}",
            "params": {
                "model": "claude-haiku-5-5",
                "max_tokens": 300,
                "messages": [{"role": "user", "content": f"row {index}"}],
                **params,
            },
        }
        for index in range(count)
    ]
    created: str = json.loads(call(api, method="POST", body={"requests": requests}))["id"]
    return created


def status(api: SimulatedApi, batch_id: str) -> str:
    found: str = json.loads(call(api, f"/{batch_id}"))["processing_status"]
    return found


def wait(api: SimulatedApi, batch_id: str) -> dict[str, Any]:
    for _ in range(2_000):
        batch: dict[str, Any] = json.loads(call(api, f"/{batch_id}"))
        if batch["processing_status"] == "ended":
            return batch
        time.sleep(0.01)
    raise AssertionError(f"{batch_id} has not ended")


def ids(api: SimulatedApi, batch_id: str) -> list[str]:
    return [json.loads(line)["custom_id"] for line in call(api, f"/{batch_id}/results").splitlines()]


def files(api: SimulatedApi) -> set[str]:
    return {path.suffix for path in (api.state / "batches").iterdir()}


def test_nothing_is_done_before_its_time(tmp_path: Path) -> None:
    with simulated_api(tmp_path, batch_latency="1h") as api:
        batch = create(api, 10)
        time.sleep(0.1)
        assert (status(api, batch), api.accounts()["requests"]) == ("in_progress", 0)
        assert files(api) == {".requests", ".shapes"}
        api.advance(3_590)
        assert (status(api, batch), api.accounts()["requests"]) == ("in_progress", 0)
        api.advance(11)
        assert wait(api, batch)["request_counts"]["succeeded"] == 10
        assert files(api) == {".results"}


def test_the_order_of_results_depends_on_the_batch_alone(tmp_path: Path) -> None:
    with simulated_api(tmp_path, batch_latency="0s") as api:
        batch = create(api, 200)
        wait(api, batch)
        order = ids(api, batch)
        assert order == ids(api, batch)
        pair = create(api, 2)
        wait(api, pair)
        assert ids(api, pair) == ["r1", "r0"]
    assert sorted(order) == sorted(f"r{index}" for index in range(200))
    assert order != [f"r{index}" for index in range(200)]


def test_a_batch_survives_a_kill_in_the_middle_and_is_billed_once(tmp_path: Path) -> None:
    rows = 1_500
    system = "A rule that everybody has to follow. " * 20
    for attempt in range(TRIES):
        folder = tmp_path / str(attempt)
        with simulated_api(folder, batch_latency="0s") as api:
            done = create(api, 3)
            wait(api, done)
            batch = create(api, rows, system=system)
            while api.accounts()["requests"] < 200:
                time.sleep(0.01)
            os.kill(api.running.pid, signal.SIGKILL)
        partial = api.state / "batches" / f"{batch}.partial"
        if partial.exists():
            break
    else:
        raise AssertionError("it is always done before it is killed")
    with partial.open("ab") as file:
        file.write(b'{"custom_id":"torn')
    (api.state / "batches" / "abc.incoming").write_bytes(b"{}")
    with simulated_api(folder, batch_latency="0s") as api:
        assert wait(api, batch)["request_counts"]["succeeded"] == rows
        assert sorted(ids(api, batch)) == sorted(f"r{index}" for index in range(rows))
        assert ids(api, done) == ids(api, done)
        totals = api.accounts()
        assert (totals["requests"], totals["most_repeated"], totals["batches"]) == (rows + 3, 1, 2)
        assert (totals["modes"]["batch"]["delivered"], files(api)) == (rows + 3, {".results"})


def test_an_advanced_clock_stays_so_after_a_restart(tmp_path: Path) -> None:
    with simulated_api(tmp_path, batch_latency="2h") as api:
        batch = create(api, 2)
        api.advance(3_600)
        url = urllib.request.Request(f"{api.base_url}/v1/models", headers=HEADERS | {"x-api-key": api.api_key})
        with urllib.request.urlopen(url, timeout=60) as response:
            told = parsedate_to_datetime(response.headers["date"])
        ahead = told - SystemClock().now()
        assert timedelta(seconds=3_500) < ahead < timedelta(seconds=3_601)
    with simulated_api(tmp_path, batch_latency="2h") as api:
        assert status(api, batch) == "in_progress"
        api.advance(3_601)
        assert wait(api, batch)["request_counts"]["succeeded"] == 2


def test_a_reset_in_the_middle_of_work_forgets_the_batch_and_nothing_else(tmp_path: Path) -> None:
    with simulated_api(tmp_path, batch_latency="0s") as api:
        for _ in range(5):
            create(api, 500)
            time.sleep(0.05)
            api.reset()
            assert (api.batches(), api.accounts()["requests"]) == ([], 0)
        batch = create(api, 5)
        assert len(ids(api, wait(api, batch)["id"])) == 5


def test_the_server_answers_while_it_works(tmp_path: Path) -> None:
    with simulated_api(tmp_path, batch_latency="0s") as api:
        for _ in range(TRIES):
            batch = create(api, 3_000)
            polls = 0
            while status(api, batch) != "ended":
                polls += 1
            if polls > 1:
                return
        raise AssertionError("it is always done before it answers")
