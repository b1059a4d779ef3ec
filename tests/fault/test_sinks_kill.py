"""SIGKILL at random moments of deliveries to a file, a webhook, a function and a database: each record counts once.

The oracle is what the targets hold at the end, held against a run that nobody disturbed. Some deliveries are those of a
run's end, some are live; all in a child process that is killed at a moment drawn over the time that the whole takes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.encoding import decode
from runner.execution.exporting import export_run
from runner.plugins import SINKS
from runner.providers import Sent
from runner.settings import load_settings
from runner.types import Request
from support.execution_fakes import Bench, Counted, EchoProvider, folder_in_memory, forked, killed, replied
from support.kill_moments import KillMoments
from support.webhook_server import Receiver, receiver

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1_800)]

KILLS = int(os.environ.get("KILLS", "10"))
ROWS = 120
PART = 7
SLOWLY_S = 0.003
"""For a part, at each of the targets that are ours: so that a kill hits the middle of a delivery."""

FUNCTION = f"""
import pathlib, sqlite3, time

def save(records, part_id):
    time.sleep({SLOWLY_S})
    connection = sqlite3.connect(pathlib.Path(__file__).with_name("saved.db"), timeout=30)
    with connection:
        connection.execute("CREATE TABLE IF NOT EXISTS parts (id TEXT PRIMARY KEY)")
        connection.execute("CREATE TABLE IF NOT EXISTS records (key TEXT, status TEXT)")
        if connection.execute("INSERT OR IGNORE INTO parts VALUES (?)", (part_id,)).rowcount:
            rows = [(record["key"], record["status"]) for record in records]
            connection.executemany("INSERT INTO records VALUES (?, ?)", rows)
    connection.close()
"""

JOB = """\
name: x
model: claude-haiku-5-5
params: {{max_tokens: 50}}
prompt: "{{{{ row.text }}}}"
dataset: {{path: data/rows.csv, key: id}}
limits: {{max_concurrency: 8, max_cost_usd: 5}}
sinks:
  - out/x.jsonl
  - {{url: "${{HOOK_URL}}", batch_size: {part}, when: {when}}}
  - {{python: "kept_sinks:save", batch_size: {part}, when: {when}}}
"""
TABLES = """\
  - {{url: "${{TABLE_URL}}", table: appended, write: append, rows: all, columns: {{key: key, status: status}},
     batch_size: {part}, when: {when}}}
  - {{url: "${{TABLE_URL}}", table: merged, write: merge, unique_key: [key], rows: all,
     columns: {{key: key, status: status}}, batch_size: {part}, when: {when}}}
"""


class SlowProvider(EchoProvider):
    """Takes its time, so that a live delivery has a middle."""

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        await asyncio.sleep(SLOWLY_S)
        return await super().send(request, on_begin=on_begin)


@dataclass
class Scene:
    """A project whose targets are all ours to look at."""

    bench: Bench
    hook: Receiver

    @classmethod
    def make(cls, root: Path, hook: Receiver, when: str) -> Scene:
        sinks = JOB + (TABLES if "sql" in SINKS else "")
        bench = Bench(root, rows=ROWS, job=sinks.format(part=PART, when=when))
        bench.write("kept_sinks.py", FUNCTION)
        bench.write(".env", f"HOOK_URL={hook.url}\nTABLE_URL=sqlite:///{root}/table.db\n")
        return cls(bench, hook)

    def provide(self) -> None:
        """Every tenth row is refused, each time anew."""
        refusal = replied("no", stop_reason="refusal")
        self.bench.provider = SlowProvider(always={f"text {number}": refusal for number in range(0, ROWS, 10)})

    def run(self) -> None:
        self.provide()
        summary = self.bench.run()
        assert (summary.exit_status, {sink.state for sink in summary.sinks}) == (5, {"delivered"}), summary.sinks

    def answer_all(self) -> None:
        """As a run that was killed before its delivery began."""
        info = self.bench.begin()
        self.provide()
        assert killed(lambda: self.bench.go_on(info, _kill_before_delivery))

    def held(self) -> dict[str, Counter[tuple[str, str]]]:
        """What each target holds: keys with what became of them, and how often each counts."""
        saved = self.bench.root / "saved.db"
        found = {"function": _rows(saved, "records")}
        if "sql" in SINKS:
            found |= {name: _rows(self.bench.root / "table.db", name) for name in ("appended", "merged")}
        posted = [record for post in self.hook.taken.values() for record in post.records]
        target = self.bench.root / "out" / "x.jsonl"
        written = [decode(line) for line in target.read_bytes().splitlines()] if target.exists() else []
        for name, records in (("webhook", posted), ("file", written)):
            found[name] = Counter((record["key"], record["status"]) for record in records)
        return found


def _rows(path: Path, table: str) -> Counter[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return Counter(connection.execute(f"SELECT key, status FROM {table}").fetchall())


def _kill_before_delivery(step: str) -> None:
    if step == "before open":
        Counted(1)(step)


EXPECTED = Counter((f"k{number}", "failed" if number % 10 == 0 else "succeeded") for number in range(ROWS))


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as received:
        received.delay_s = SLOWLY_S
        yield received


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with folder_in_memory(tmp_path) as folder:
        yield folder


@pytest.mark.parametrize("when", ["end", "live"])
def test_killed_at_random_moments_of_a_delivery_each_record_counts_once(
    folder: Path, hook: Receiver, when: str
) -> None:
    draw = random.Random(20261129)
    scene = Scene.make(folder / "undisturbed", hook, when)
    if when == "end":
        scene.answer_all()
    began = time.monotonic()
    scene.run()
    moments = KillMoments(draw, time.monotonic() - began)
    assert all(held == EXPECTED for held in scene.held().values()), {k: v - EXPECTED for k, v in scene.held().items()}

    kills = deliveries = 0
    while kills < KILLS:
        deliveries += 1
        assert deliveries < 4 * KILLS + 8, "the kills no longer hit the deliveries"
        hook.clear()
        scene = Scene.make(folder / f"killed {deliveries}", hook, when)
        if when == "end":
            scene.answer_all()
        while True:
            child = forked(scene.run)
            time.sleep(moments.next_s())
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            assert status in (0, signal.SIGKILL), f"the delivery ended with {status}"
            if not moments.note(status != 0) or draw.random() < 0.2:
                break
            kills += 1
        if status:
            kills += 1
            scene.run()
        assert scene.held() == dict.fromkeys(scene.held(), EXPECTED), f"after {kills} kills"
        shutil.rmtree(scene.bench.root)
    logging.getLogger(__name__).info("%d kills in %d deliveries (%s), %d records each", kills, deliveries, when, ROWS)


def test_an_export_goes_on_where_a_killed_delivery_was(folder: Path, hook: Receiver) -> None:
    """`runner export` does what the run itself would, and a second one nothing more."""
    scene = Scene.make(folder / "project", hook, "end")
    scene.answer_all()
    child = forked(scene.run)
    while len(hook.taken) < 3:
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (info,) = scene.bench.runs()
    for _ in range(2):
        deliveries = export_run(info, scene.bench.state, load_settings(scene.bench.root))
        assert {(delivery.state, delivery.records) for delivery in deliveries} == {("delivered", ROWS)}
        posts = len(hook.posts)
    assert scene.held() == dict.fromkeys(scene.held(), EXPECTED)
    export_run(info, scene.bench.state, load_settings(scene.bench.root))
    assert len(hook.posts) == posts
