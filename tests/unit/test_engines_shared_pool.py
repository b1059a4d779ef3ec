"""One file for each key, shared by processes that come and go."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.clock import SystemClock
from runner.engines.limit_headers import Told
from runner.engines.limits import Ceilings
from runner.engines.pacing import Pool
from runner.engines.pool_file import PROCESSES, Scope
from runner.engines.shared_pool import Remembered, SharedPool, open_pool, remembered
from support.engine_fakes import HandClock
from support.harness import ROOT

SECRET = "sk-ant-very-secret"
SCOPE = Scope(("opus", "https://api.example", "api_key", SECRET))
COSTS = (1.0, 100.0, 40.0)
NOTHING = (0.0,) * 6


@pytest.fixture
def clock() -> HandClock:
    clock = HandClock()
    clock.time = 1_000.0
    return clock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "limits"


def joined(folder: Path, clock: HandClock, scope: Scope = SCOPE) -> SharedPool:
    return SharedPool(folder, scope, clock, pytest.fail)


def learn(pool: Pool, clock: HandClock, limit: float = 600, remaining: float = 100) -> None:
    pool.observe((Told(limit, remaining), None, None), pool.mark(clock.time), NOTHING, clock.time)


def the_file(folder: Path) -> Path:
    (found,) = folder.glob("*.limits")
    return found


# -- sharing -----------------------------------------------------------------------------------------------------------


def test_what_one_learns_all_know(folder: Path, clock: HandClock) -> None:
    one, other = joined(folder, clock), joined(folder, clock)
    learn(one, clock)
    other.take(1, COSTS, NOTHING, clock.time)
    assert other.gauges[0].limit == 600
    assert other.is_limited


def test_permits_are_taken_from_one_pace(folder: Path, clock: HandClock) -> None:
    pools = [joined(folder, clock) for _ in range(3)]
    learn(pools[0], clock)
    taken = [0, 0, 0]
    for _ in range(10_000):
        clock.time += 0.001
        for index, pool in enumerate(pools):
            taken[index] += pool.take(1, COSTS, NOTHING, clock.time).permits
    assert sum(taken) == pytest.approx(100, abs=3), "ten a second in all"
    assert max(taken) <= min(taken) + 3, "and evenly"


def test_one_that_waited_long_and_was_killed_holds_the_others_up_for_a_moment_only(
    folder: Path, clock: HandClock
) -> None:
    killed, other = joined(folder, clock), joined(folder, clock)
    learn(killed, clock, 600, 600)
    learn(killed, clock, 600, 20)
    other.take(1, COSTS, NOTHING, clock.time)
    clock.time += 1.0
    waits = killed.take(1, (500.0, 100.0, 40.0), NOTHING, clock.time)
    assert waits.ask_at > clock.time + 30, "it needs more than is left"
    clock.time += 1.5
    assert other.take(1, COSTS, NOTHING, clock.time).permits == 1


def test_other_keys_models_and_addresses_share_nothing(folder: Path, clock: HandClock) -> None:
    learn(joined(folder, clock), clock)
    for parts in (
        ("sonnet", *SCOPE.parts[1:]),
        ("opus", "http://127.0.0.1:8000", *SCOPE.parts[2:]),
        (*SCOPE.parts[:3], "another"),
    ):
        assert not joined(folder, clock, Scope(parts)).is_limited


def test_no_file_name_or_byte_shows_the_key(folder: Path, clock: HandClock) -> None:
    pool = joined(folder, clock)
    learn(pool, clock)
    pool.close(10)
    for path in folder.iterdir():
        assert SECRET not in path.name
        assert SECRET.encode() not in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert SECRET not in repr(SCOPE)


def test_the_digest_differs_from_folder_to_folder(tmp_path: Path, clock: HandClock) -> None:
    for name in ("a", "b"):
        joined(tmp_path / name, clock)
    assert the_file(tmp_path / "a").name != the_file(tmp_path / "b").name


def test_more_processes_than_places_share_all_the_same(folder: Path, clock: HandClock) -> None:
    pools = [joined(folder, clock) for _ in range(PROCESSES + 2)]
    learn(pools[-1], clock)
    pools[0].take(1, COSTS, NOTHING, clock.time)
    assert pools[0].is_limited


# -- remembering -------------------------------------------------------------------------------------------------------


def test_limits_and_width_are_remembered_with_their_age(folder: Path, clock: HandClock) -> None:
    assert remembered(folder, SCOPE, clock) is None
    pool = joined(folder, clock)
    learn(pool, clock)
    pool.close(240)
    clock.time += 600
    assert remembered(folder, SCOPE, clock) == Remembered((600, 0, 0), 240, 0, 600.0)
    again = joined(folder, clock)
    assert again.is_limited
    assert again.healthy_width() == 240
    clock.time += 3_600
    assert again.healthy_width() is None, "an hour later the width says nothing any more"


def test_a_day_later_nothing_is_remembered(folder: Path, clock: HandClock) -> None:
    pool = joined(folder, clock)
    learn(pool, clock)
    pool.close(240)
    clock.time += 90_000
    assert remembered(folder, SCOPE, clock) is None
    assert not joined(folder, clock).is_limited


def test_processes_that_run_side_by_side_start_with_a_part_of_the_width(folder: Path, clock: HandClock) -> None:
    pool = joined(folder, clock)
    pool.close(240)
    first = joined(folder, clock)
    assert first.healthy_width() == 240
    assert joined(folder, clock).healthy_width() == 120


def test_a_server_on_this_machine_is_forgotten_with_the_last_run(folder: Path, clock: HandClock) -> None:
    here = Scope(("opus", "http://127.0.0.1:8000", "k"), is_lasting=False)
    one = joined(folder, clock, here)
    learn(one, clock)
    other = joined(folder, clock, here)
    assert other.is_limited, "while one is at it, the other knows"
    one.close(10)
    other.close(10)
    assert not joined(folder, clock, here).is_limited


def test_the_last_to_leave_deletes_what_is_of_no_use_to_later_runs(folder: Path, clock: HandClock) -> None:
    pools = [joined(folder, clock, Scope(("run", "1"), is_lasting=False)) for _ in range(PROCESSES + 1)]
    for pool in pools[:-1]:
        pool.close(1)
    learn(pools[-1], clock)
    pools[-1].close(1)
    assert list(folder.glob("*.limits")) == []


def test_the_first_to_leave_deletes_nothing(folder: Path, clock: HandClock) -> None:
    here = Scope(("run", "1"), is_lasting=False)
    one, other = joined(folder, clock, here), joined(folder, clock, here)
    one.close(1)
    learn(other, clock)
    assert joined(folder, clock, here).is_limited


def test_a_file_that_was_deleted_before_it_was_locked_is_made_again(
    folder: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined(folder, clock).close(1)
    deleted: list[Path] = []

    def lock(file: int, operation: int, flock: Callable[[int, int], None] = fcntl.flock) -> None:
        if not deleted:
            deleted.append(the_file(folder))
            deleted[0].unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    learn(joined(folder, clock), clock)
    assert joined(folder, clock).is_limited, "both have the file that is there"


def test_after_a_boot_limits_stay_and_moments_go(folder: Path, clock: HandClock) -> None:
    pool = joined(folder, clock)
    learn(pool, clock)
    pool.pause(clock.time + 50)
    pool.close(10)

    class Rebooted(HandClock):
        def monotonic(self) -> float:
            return self.time - 990

    later = Rebooted()
    later.time = clock.time + 10
    again = joined(folder, later)
    assert again.is_limited
    assert again.take(1, COSTS, NOTHING, later.monotonic()).permits == 1


# -- trouble -----------------------------------------------------------------------------------------------------------


def alone(folder: Path, clock: HandClock) -> list[str]:
    """What is said when sharing does not work; the pool does all the same."""
    told: list[str] = []
    pool = open_pool(folder, SCOPE, clock, told.append)
    learn(pool, clock)
    assert pool.take(1, COSTS, NOTHING, clock.time).permits == 1
    pool.close(5)
    return told


def test_a_file_of_another_format_switches_sharing_off_with_a_warning(folder: Path, clock: HandClock) -> None:
    joined(folder, clock).close(1)
    the_file(folder).write_bytes(b"something else entirely")
    (message,) = alone(folder, clock)
    assert "not shared" in message
    assert the_file(folder).read_bytes() == b"something else entirely"


@pytest.mark.parametrize("cut", [0, 4, 100])
def test_a_file_that_a_kill_cut_off_begins_anew(folder: Path, clock: HandClock, cut: int) -> None:
    pool = joined(folder, clock)
    learn(pool, clock)
    pool.close(1)
    path = the_file(folder)
    data = path.read_bytes()
    path.write_bytes(data[:-cut] if cut else data[:200] + b"\1" + data[201:])
    assert alone(folder, clock) == []


def test_a_folder_that_cannot_be_made_switches_sharing_off(tmp_path: Path, clock: HandClock) -> None:
    (tmp_path / "file").touch()
    (message,) = alone(tmp_path / "file" / "limits", clock)
    assert "cannot be used" in message


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path, clock: HandClock) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "limits").symlink_to(tmp_path / "elsewhere")
    (message,) = alone(tmp_path / "limits", clock)
    assert "own folder" in message
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("mode", [0o755, 0o775])
def test_a_folder_that_is_there_keeps_its_permissions(folder: Path, clock: HandClock, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    pool = joined(folder, clock)
    learn(pool, clock)
    assert stat.S_IMODE(folder.stat().st_mode) == mode
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_folder_among_everybodys_that_others_may_write_to_switches_sharing_off(
    tmp_path: Path, clock: HandClock
) -> None:
    for_all = tmp_path / "tmp"
    for path, mode in ((for_all, 0o1777), (for_all / "limits", 0o777)):
        path.mkdir()
        path.chmod(mode)
    (message,) = alone(for_all / "limits", clock)
    assert "others may write to it" in message
    assert list((for_all / "limits").iterdir()) == []


def test_a_holder_that_does_not_move_is_not_waited_for(folder: Path, clock: HandClock) -> None:
    told: list[str] = []
    pool = SharedPool(folder, SCOPE, clock, told.append)
    learn(pool, clock)
    holder = os.open(the_file(folder), os.O_RDWR)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        clock.time += 5
        grant = pool.take(1, COSTS, (1.0, *NOTHING[1:]), clock.time)
        assert (grant.permits, told) == (0, [])
        assert grant.ask_at == pytest.approx(clock.time + 0.002)
        clock.time += 3
        assert pool.take(1, COSTS, NOTHING, clock.time).permits == 1, "it goes on alone"
        assert len(told) == 1
    finally:
        os.close(holder)


def test_what_could_not_be_settled_at_once_is_settled_later(folder: Path, clock: HandClock) -> None:
    pool = joined(folder, clock)
    learn(pool, clock)
    holder = os.open(the_file(folder), os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    pool.settle((5.0, *NOTHING[1:]), clock.time)
    os.close(holder)
    pool.settle((1.0, *NOTHING[1:]), clock.time)
    assert pool.gauges[0].total == 6.0


def test_a_pause_that_could_not_be_told_at_once_is_told_later(folder: Path, clock: HandClock) -> None:
    one, other = joined(folder, clock), joined(folder, clock)
    learn(one, clock)
    holder = os.open(the_file(folder), os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert one.pause(clock.time + 30)
    os.close(holder)
    for pool in (one, other):
        assert pool.take(1, COSTS, NOTHING, clock.time + 1).permits == 0
    assert other.take(1, COSTS, NOTHING, clock.time + 31).permits == 1


def test_a_file_that_is_deleted_under_a_run_disturbs_nobody(folder: Path, clock: HandClock) -> None:
    pool = joined(folder, clock)
    the_file(folder).unlink()
    learn(pool, clock)
    assert pool.take(1, COSTS, NOTHING, clock.time).permits == 1


@pytest.mark.parametrize("whole_folder", [False, True])
def test_those_whose_file_was_deleted_share_again_within_a_minute(
    folder: Path, clock: HandClock, whole_folder: bool
) -> None:
    one, other = joined(folder, clock), joined(folder, clock)
    learn(one, clock)
    if whole_folder:
        shutil.rmtree(folder)
    else:
        the_file(folder).unlink()
    clock.time += 61
    for pool in (one, other):
        pool.take(1, COSTS, NOTHING, clock.time)
    assert one.gauges[0].limit == other.gauges[0].limit == 600, "nothing is forgotten"
    one.pause(clock.time + 30)
    assert other.take(1, COSTS, NOTHING, clock.time + 1).permits == 0
    assert the_file(folder).exists()


def test_a_ceiling_whose_file_was_deleted_is_still_kept(folder: Path, clock: HandClock) -> None:
    scope, ceilings = Scope(("run", "1"), is_lasting=False), Ceilings(requests=600)
    pools = [SharedPool(folder, scope, clock, pytest.fail, prepare=ceilings.apply) for _ in range(2)]
    the_file(folder).unlink()
    clock.time += 61
    taken, end = 0, clock.time + 10
    while clock.time < end:
        taken += sum(pool.take(1, COSTS, NOTHING, clock.time).permits for pool in pools)
        clock.time += 0.001
    assert taken == pytest.approx(100, abs=13)


# -- processes ---------------------------------------------------------------------------------------------------------

TAKER = """
import sys, time
from pathlib import Path
from runner.clock import SystemClock
from runner.engines.pool_file import Scope
from runner.engines.shared_pool import SharedPool
clock = SystemClock()
pool = SharedPool(Path(sys.argv[1]), Scope(("k",)), clock, print)
taken = 0
print("ready", flush=True)
end = clock.monotonic() + float(sys.stdin.readline())
while clock.monotonic() < end or not taken:
    grant = pool.take(1, (1.0, 1.0, 1.0), (0.0,) * 6, clock.monotonic())
    if grant.permits and not taken:
        print("taking", flush=True)
    taken += grant.permits
    if not grant.permits:
        time.sleep(max(0.0, grant.ask_at - clock.monotonic()))
print(taken, flush=True)
"""


def test_processes_share_and_a_killed_one_gives_its_place_back(folder: Path) -> None:
    clock = SystemClock()
    pool = SharedPool(folder, Scope(("k",)), clock, pytest.fail)
    now = clock.monotonic()
    pool.observe((Told(6_000, 600), None, None), pool.mark(now), NOTHING, now)

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", TAKER, str(folder)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(child: subprocess.Popen[str], seconds: float) -> None:
        assert child.stdin is not None
        child.stdin.write(f"{seconds}\n")
        child.stdin.flush()

    def line(child: subprocess.Popen[str]) -> str:
        assert child.stdout is not None
        return child.stdout.readline().strip()

    doomed = start()
    others = [start() for _ in range(2)]
    assert [line(child) for child in (doomed, *others)] == ["ready"] * 3
    begin(doomed, 60)
    assert line(doomed) == "taking"
    doomed.kill()
    doomed.wait()
    known = remembered(folder, Scope(("k",)), clock)
    assert known is not None
    assert known.processes == 3, "the dead one is not counted"
    began = clock.monotonic()
    for child in others:
        begin(child, 2.0)
    assert [line(child) for child in others] == ["taking"] * 2
    taken = [int(line(child)) for child in others]
    took_s = clock.monotonic() - began
    for child in others:
        child.communicate()
    assert sum(taken) <= 100 * took_s + 110, "never more than the limit, a moment's catching up aside"
    assert min(taken) > 0
    doomed.communicate()
