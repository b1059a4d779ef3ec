"""A disk that is full while records are delivered: told, nothing lost, other sinks served; later each record is there
once."""

from __future__ import annotations

import resource
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from runner.errors import LedgerError
from runner.execution.exporting import export_run
from runner.execution.folders import RunInfo
from runner.settings import load_settings
from support.execution_fakes import Bench, EchoProvider
from support.webhook_server import Answer, Receiver, receiver

pytestmark = pytest.mark.fault

ROWS, TEXT = 40, "x" * 20_000
"""About 1.6 MB of records, as each has its row and its reply."""

JOB = """\
name: x
model: claude-haiku-5-5
params: {max_tokens: 50}
prompt: "{{ row.text }}"
dataset: {path: data/rows.csv, key: id}
limits: {max_concurrency: 4}
sinks: [out/x.jsonl, {url: "${HOOK_URL}", batch_size: 5}]
"""


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as received:
        yield received


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own, in memory, of so many bytes; skips where the system lets nobody mount one."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process may grow larger (Python ignores the signal, so that writing fails instead)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def made(root: Path, hook: Receiver) -> Bench:
    bench = Bench(root, job=JOB)
    bench.rows(f"{TEXT}{number}" for number in range(ROWS))
    bench.write(".env", f"HOOK_URL={hook.url}\n")
    bench.provider = EchoProvider()
    return bench


def fails_first(bench: Bench, hook: Receiver) -> None:
    """A run whose rows are answered and whose webhook refuses: what is left is to be exported."""
    hook.script = [Answer(400)]
    assert bench.run().exit_status == 4
    (bench.root / "out" / "x.jsonl").unlink(missing_ok=True)


def exported(bench: Bench, info: RunInfo | None = None) -> list[tuple[str, str]]:
    info = info or bench.runs()[0]
    deliveries = export_run(info, bench.state, load_settings(bench.root))
    return [(delivery.state, delivery.error or "") for delivery in deliveries]


def all_once(bench: Bench, hook: Receiver) -> bool:
    expected = Counter({f"k{number}": 1 for number in range(ROWS)})
    return Counter(hook.keys()) == Counter(record["key"] for record in bench.records()) == expected


def test_a_file_that_may_not_grow_is_told_and_the_webhook_served(tmp_path: Path, hook: Receiver) -> None:
    bench = made(tmp_path / "project", hook)
    fails_first(bench, hook)
    with files_of_at_most(500_000):
        (file, webhook) = exported(bench)
    assert (file[0], webhook) == ("failed", ("delivered", ""))
    assert "out/x.jsonl cannot be written: File too large" in file[1]
    assert not (bench.root / "out" / "x.jsonl").exists()
    posts = len(hook.posts)
    assert exported(bench) == [("delivered", "")] * 2
    assert (all_once(bench, hook), len(hook.posts)) == (True, posts)


def test_a_target_on_a_full_disk_keeps_what_it_had(tmp_path: Path, hook: Receiver) -> None:
    bench = made(tmp_path / "project", hook)
    with small_disk(bench.root / "out", "1m"):
        (bench.root / "out" / "y.txt").write_text("somebody else's")
        summary = bench.run()
        assert (summary.status, summary.exit_status) == ("finished", 4)
        file, webhook = summary.sinks
        assert (file.state, webhook.state) == ("failed", "delivered")
        assert "No space left on device" in (file.error or "")
        assert [path.name for path in (bench.root / "out").iterdir()] == ["y.txt"]
    assert [state for state, _ in exported(bench)] == ["delivered"] * 2
    assert all_once(bench, hook)


def test_a_state_folder_on_a_full_disk_stops_the_delivery_and_nothing_comes_twice(
    tmp_path: Path, hook: Receiver
) -> None:
    bench = made(tmp_path / "project", hook)
    with small_disk(bench.root / ".runner", "8m"):
        hook.script = [Answer(), Answer(), Answer(400)]
        assert bench.run().exit_status == 4
        (info,) = bench.runs()
        ballast = bench.root / ".runner" / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"0" * 4_096):
                pass
        with pytest.raises(LedgerError) as caught:
            exported(bench, info)
        assert caught.value.exit_status == 4
        assert len(hook.taken) == 2, "nothing leaves whose leaving cannot be noted"
        ballast.unlink()
        assert [state for state, _ in exported(bench)] == ["delivered"] * 2
        assert all_once(bench, hook)
