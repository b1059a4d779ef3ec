"""Tables whose server goes away, processes that are stopped or killed on the way: each record is there once (P1)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from runner.connections import Connection
from runner.errors import DeliveryError
from runner.sinks import DeliveryId, Part
from runner.sinks.sql.reach import WAITS_S
from support.cutting_proxy import cutting_proxy
from support.harness import TIMEOUT_S, Project
from support.kill_moments import KillMoments
from support.servers import OwnServer, own_mariadb, own_postgresql
from support.sql_delivery import deliver_all, record
from support.tables import DATABASES, Place, place_in

pytestmark = pytest.mark.fault

TESTS = Path(__file__).parents[1]
WORKER = TESTS / "support" / "sql_delivery.py"
WRITES = ("append", "merge", "replace")
COLUMNS = {"key": "key", "answer": "output"}
SEED = int(os.environ.get("SEED", "20261129"))
KILLS = int(os.environ.get("KILLS", "5"))
"""For each database and each way to write."""
IMPATIENT = """\
from runner.cli import main
from runner.sinks.sql import reach
reach.WAITS_S = tuple(wait_s / 20 for wait_s in reach.WAITS_S)
main()
"""
"""`runner` whose databases are waited for as often, and for a second and a half instead of half a minute."""
TABLE = "answers"
RECORDS, PART = 400, 10


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{TESTS.parent}")


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place_in(request.param, tmp_path) as found:
        yield found


@pytest.fixture(scope="module", params=[own_postgresql, own_mariadb], ids=["postgresql", "mariadb"])
def running(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    with request.param() as server:
        yield server


@pytest.fixture
def server(running: OwnServer) -> Iterator[OwnServer]:
    """A server that a test may stop; it runs again for the next one, without the tables of this one."""
    yield running
    if not running.is_running:
        running.start()
    place_at(running, Path()).run(f"DROP TABLE IF EXISTS {TABLE}", "DROP TABLE IF EXISTS runner_deliveries")


def place_at(server: OwnServer, root: Path) -> Place:
    kind = "postgresql" if server.url.startswith("postgresql") else "mariadb"
    return Place(kind, server.url, None, root)


def keys(place: Place) -> list[str]:
    return [key for (key,) in place.rows(f"SELECT {place.dialect.quoted('key')} FROM {{}}{TABLE}")]


def part(number: int, size: int = 10) -> Part:
    return Part(number, f"d.{number}", [record(index) for index in range((number - 1) * size, number * size)])


# -- a server that goes away


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("how", [signal.SIGKILL, None], ids=["killed", "stopped"])
def test_a_server_that_comes_back_is_waited_for(
    server: OwnServer, write: str, how: signal.Signals | None, tmp_path: Path
) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        if len(waited) == 2:
            server.start()
        return True

    place = place_at(server, tmp_path)
    options = place.options(write=write, unique_key=["key"] if write == "merge" else None, columns=COLUMNS)
    sink = place.sink(options, waits=wait)
    sink.begin(DeliveryId("d", "run", "owner"))
    sink.deliver(part(1))
    server.stop(how=how)
    assert not sink.deliver(part(2))
    assert waited == list(WAITS_S[:2])
    waited.clear()
    server.stop(how=how)
    sink.finish()
    sink.close()
    assert sorted(keys(place)) == sorted(f"k-{number}" for number in range(20))


def test_a_server_that_stays_away_is_told_and_what_it_has_is_not_sent_again(server: OwnServer, tmp_path: Path) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return True

    place = place_at(server, tmp_path)
    options = place.options(columns=COLUMNS)
    sink = place.sink(options, waits=wait)
    sink.begin(DeliveryId("d", "run", "owner"))
    sink.deliver(part(1))
    server.stop()
    with pytest.raises(DeliveryError) as told:
        sink.deliver(part(2))
    assert waited == list(WAITS_S)
    assert "runner export run, which goes on from there" in str(told.value.hint)
    with pytest.raises(DeliveryError, match="cannot be reached"):
        place.sink(options).check()
    server.start()
    later = place.sink(options)
    assert later.begin(DeliveryId("d", "run", "later")) == 1
    later.deliver(part(2))
    later.finish()
    later.close()
    assert sorted(keys(place)) == sorted(f"k-{number}" for number in range(20))


def test_nobody_waits_for_a_server_when_the_run_is_given_up(tmp_path: Path) -> None:
    place = Place("postgresql", "postgresql://nobody@127.0.0.1:1/db", None, tmp_path)
    sink = place.sink(place.options(columns=COLUMNS), waits=lambda _: False)
    with pytest.raises(DeliveryError):
        sink.begin(DeliveryId("d", "run", "owner"))


def test_a_server_restarted_at_random_moments_has_each_record_once(server: OwnServer, tmp_path: Path) -> None:
    generator = random.Random(SEED)
    stop = threading.Event()

    def restart() -> None:
        for _ in range(3):
            if stop.wait(generator.uniform(0.02, 0.4)):
                return
            server.stop(how=generator.choice([signal.SIGKILL, None]))
            server.start()

    restarting = threading.Thread(target=restart)
    place = place_at(server, tmp_path)
    place.run("SELECT 1")
    restarting.start()
    try:
        for _ in range(4):  # a server that is away for longer than a delivery waits ends it, and the next one goes on
            error = deliver_all(tmp_path, server.url, TABLE, "append", 4_000, PART)
            if error is None:
                break
        assert error is None
    finally:
        stop.set()
        restarting.join()
    assert sorted(keys(place)) == sorted(f"k-{number}" for number in range(4_000))


@pytest.mark.slow
def test_a_run_whose_server_goes_away_ends_with_4_and_its_export_goes_on(server: OwnServer, tmp_path: Path) -> None:
    """A lock on the table holds the delivery up until the server is gone."""
    place = place_at(server, tmp_path)
    project = Project.make(tmp_path / "project", DATABASE_URL=server.url)
    project.job(replaced={"sinks: [out/x.jsonl]": f"""sinks:
  - {{url: "${{DATABASE_URL}}", table: {TABLE}, columns: {{key: key, answer: output.label}}, batch_size: 5}}
  - out/x.jsonl"""})  # fmt: skip
    place.run(f"CREATE TABLE {TABLE} ({place.dialect.quoted('key')} VARCHAR(99), answer VARCHAR(99))")
    lock = f"LOCK TABLE {TABLE} IN SHARE MODE" if place.kind == "postgresql" else f"LOCK TABLES {TABLE} READ"
    with place.session() as session:
        session.run(lock)
        run = project.start(
            "run", "jobs/x.yaml", "--simulate", "--deliver", "--format", "json", program=("-c", IMPATIENT)
        )
        _wait_for_the_lock(place)
        server.stop(how=signal.SIGKILL)
    stdout, stderr = run.communicate(timeout=300)
    assert run.returncode == 4, stderr
    table, file = json.loads(stdout)["sinks"]
    assert (table["status"], file["status"]) == ("failed", "delivered")
    assert "which goes on from there" in table["error"]
    server.start()
    assert project.runner("export", "latest").status == 0
    assert sorted(keys(place)) == sorted(f"k{number}" for number in range(12))


def _wait_for_the_lock(place: Place) -> None:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'" if place.kind == "postgresql"
        else "SELECT count(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table%lock'"
    )  # fmt: skip
    for _ in range(600):
        if place.rows(waiting) != [(0,)]:
            return
        time.sleep(0.1)
    raise AssertionError("nobody waits for the table")


# -- a commit of which nobody knows


@pytest.mark.parametrize("write", WRITES)
def test_a_commit_whose_answer_was_lost_is_not_made_twice(server: OwnServer, write: str, tmp_path: Path) -> None:
    url = make_url(server.url)
    assert url.port is not None
    with cutting_proxy(url.port) as proxy:
        place = place_at(server, tmp_path)
        through = url.set(port=proxy.port).render_as_string()
        options = place.options(write=write, unique_key=["key"] if write == "merge" else None, columns=COLUMNS)
        sink = place.sink(options, waits=lambda _: True, connection=Connection(through))
        sink.begin(DeliveryId("d", "run", "owner"))
        for number in (1, 2, 3):
            proxy.cut_after = b"COMMIT"
            assert not sink.deliver(part(number))
        proxy.cut_after = b"COMMIT"
        sink.finish()
        sink.close()
        assert proxy.cuts == 4
    assert sorted(keys(place)) == sorted(f"k-{number}" for number in range(30))


# -- processes


def command(place: Place, write: str, *more: int) -> list[str]:
    table = place.named(TABLE)
    return [
        sys.executable,
        str(WORKER),
        str(place.root),
        place.url,
        table,
        write,
        str(RECORDS),
        str(PART),
        *map(str, more),
    ]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_a_process_that_wakes_up_writes_nothing_once_another_has_taken_over(
    kind: str, write: str, tmp_path: Path
) -> None:
    with place_in(kind, tmp_path) as place:
        sleeper = subprocess.Popen(command(place, write, 5), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            _, status = os.waitpid(sleeper.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            # Another copy of the folder's journal would be on another machine; here the sink alone is another.
            (name,) = place.rows("SELECT delivery FROM {}runner_deliveries")
            place.run(f"UPDATE {{}}runner_deliveries SET owner = 'another' WHERE delivery = '{name[0]}'")
            before = place.rows("SELECT part, state FROM {}runner_deliveries")
            os.kill(sleeper.pid, signal.SIGCONT)
            _, errors = sleeper.communicate(timeout=60)
        finally:
            sleeper.kill()
            sleeper.wait()
        assert "another process has taken this delivery over" in errors
        assert place.rows("SELECT part, state FROM {}runner_deliveries") == before
        assert len(keys(place)) == (0 if write == "replace" else 40)


@pytest.mark.parametrize("write", WRITES)
def test_processes_killed_at_random_moments_leave_each_record_once(place: Place, write: str) -> None:
    moments = KillMoments(random.Random(f"{SEED} {place.kind} {write}"), _seconds_of_one(place, write) / 3)
    kills = starts = 0
    while kills < KILLS:
        starts += 1
        assert starts < 4 * KILLS + 8, "the kills no longer hit the delivery"
        process = subprocess.Popen(command(place, write), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()  # its first part: what is before that is the start of the program
        try:
            process.wait(moments.next_s())
        except subprocess.TimeoutExpired:
            process.kill()
        kills += moments.note(process.wait() == -signal.SIGKILL)
        process.stdout.close()
        if process.returncode == 0:
            _clear(place)
    done = subprocess.run(command(place, write), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.stdout.endswith("delivered\n"), done.stderr
    found = place.rows(f"SELECT {place.dialect.quoted('key')}, answer FROM {{}}{TABLE}")
    assert sorted(found) == sorted((each.key, each.output) for each in map(record, range(RECORDS)))


def _seconds_of_one(place: Place, write: str) -> float:
    """How long a delivery takes here from its first part on; leaves nothing of it."""
    process = subprocess.Popen(command(place, write), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    began = time.monotonic()
    process.stdout.read()
    assert process.wait(100) == 0
    process.stdout.close()
    _clear(place)
    return time.monotonic() - began


def _clear(place: Place) -> None:
    place.run(f"DROP TABLE {{}}{TABLE}", "DROP TABLE {}runner_deliveries")
    for journal in (place.root / "deliveries").iterdir():
        journal.unlink()
