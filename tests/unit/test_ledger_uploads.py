"""The index of uploaded files: what it knows after a crash, who may send, and whose files these are."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner.ledger.uploads import Content, Upload, UploadIndex

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
PDF = Content(b"\x01" * 32, "application/pdf")
PNG = Content(b"\x01" * 32, "image/png")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "uploads.db"


@pytest.fixture
def index(path: Path) -> Iterator[UploadIndex]:
    with UploadIndex(path) as opened:
        yield opened


def upload(file_id: str = "file_1", content: Content = PDF, *, scope: str = "s", days: int | None = 30) -> Upload:
    expires_at = None if days is None else NOW + timedelta(days=days)
    return Upload(scope, content, 7, file_id, NOW, expires_at, NOW)


def test_a_file_is_found_by_its_content_type_and_scope(index: UploadIndex) -> None:
    index.keep(upload())
    assert index.find("s", PDF) == upload()
    assert index.find("s", PNG) is None
    assert index.find("other", PDF) is None


def test_a_file_without_an_end_is_kept_as_such(index: UploadIndex) -> None:
    index.keep(upload(days=None))
    found = index.find("s", PDF)
    assert found is not None
    assert found.expires_at is None


def test_the_newest_file_of_a_content_counts_and_the_older_one_is_still_known(index: UploadIndex) -> None:
    index.keep(upload("file_1"))
    index.keep(upload("file_2"))
    found = index.find("s", PDF)
    assert found is not None
    assert found.file_id == "file_2"
    assert [file.file_id for file in index.all()] == ["file_1", "file_2"]


def test_a_file_that_is_gone_is_not_found(index: UploadIndex) -> None:
    index.keep(upload("file_1"))
    index.keep(upload("file_2"))
    index.forget("s", "file_2")
    found = index.find("s", PDF)
    assert found is not None
    assert found.file_id == "file_1"


def test_what_was_noted_is_there_for_the_next_process(path: Path) -> None:
    with UploadIndex(path) as index:
        index.keep(upload())
        index.saw("s", "file_1", NOW + timedelta(hours=3))
        mark = index.mark
    with UploadIndex(path) as index:
        found = index.find("s", PDF)
        assert found is not None
        assert found.seen_at == NOW + timedelta(hours=3)
        assert index.mark == mark


def test_an_intent_is_doubtful_until_its_file_is_noted_or_given_up(index: UploadIndex) -> None:
    assert not index.is_doubtful("s", PDF)
    index.intend("s", PDF)
    index.intend("s", PDF)
    assert index.is_doubtful("s", PDF)
    assert not index.is_doubtful("s", PNG)
    index.keep(upload())
    assert not index.is_doubtful("s", PDF)
    index.intend("s", PDF)
    index.give_up("s", PDF)
    assert not index.is_doubtful("s", PDF)


def test_runs_that_name_a_file_are_known(index: UploadIndex) -> None:
    index.keep(upload())
    for run in ("b", "a", "b"):
        index.use("s", "file_1", run)
    assert index.runs_using("s", "file_1") == ["a", "b"]
    assert index.runs_using("other", "file_1") == []


def test_a_name_says_what_it_holds_and_whose_it_is(tmp_path: Path) -> None:
    with UploadIndex(tmp_path / "a.db") as mine, UploadIndex(tmp_path / "b.db") as other:
        name = mine.name_of(PDF)
        assert name.endswith(".pdf")
        assert PDF.sha256.hex()[:32] in name
        assert mine.is_ours(name)
        assert not other.is_ours(name)


def test_a_scope_cannot_be_compared_with_that_of_another_folder(tmp_path: Path) -> None:
    with UploadIndex(tmp_path / "a.db") as mine, UploadIndex(tmp_path / "b.db") as other:
        assert mine.scope_of(b"key") == mine.scope_of(b"key")
        assert mine.scope_of(b"key") != mine.scope_of(b"another")
        assert mine.scope_of(b"key") != other.scope_of(b"key")


def test_a_content_is_claimed_by_one_at_a_time(path: Path) -> None:
    with UploadIndex(path) as first, UploadIndex(path) as second:
        assert first.claim("s", PDF)
        assert not second.claim("s", PDF)
        assert second.claim("s", PNG), "another content is not held up"
        assert second.claim("other", PDF)
        first.release("s", PDF)
        assert second.claim("s", PDF)
        assert not first.claim("s", PDF)


def test_closing_gives_up_what_was_claimed(path: Path) -> None:
    with UploadIndex(path) as first:
        assert first.claim("s", PDF)
    with UploadIndex(path) as second:
        assert second.claim("s", PDF)
    assert not list(path.with_suffix(".claims").iterdir()), "and leaves nothing behind"


def test_closing_removes_what_a_killed_process_left_and_nothing_that_is_held(path: Path) -> None:
    with UploadIndex(path) as first:
        assert first.claim("s", PDF)
        left = path.with_suffix(".claims") / ("0" * 32)
        left.touch()
        with UploadIndex(path):
            pass
        assert not left.exists()
        assert len(list(left.parent.iterdir())) == 1
        with UploadIndex(path) as second:
            assert not second.claim("s", PDF)


def _claim_and_wait(path: Path, ready: multiprocessing.synchronize.Event) -> None:
    index = UploadIndex(path)
    index.intend("s", PDF)
    assert index.claim("s", PDF)
    ready.set()
    multiprocessing.Event().wait()


def test_a_process_that_is_killed_leaves_no_claim_and_an_intent(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    child = context.Process(target=_claim_and_wait, args=(path, ready))
    child.start()
    try:
        assert ready.wait(60)
        with UploadIndex(path) as index:
            assert not index.claim("s", PDF), "it is alive, so the claim holds"
            child.kill()
            child.join(60)
            assert index.claim("s", PDF)
            assert index.is_doubtful("s", PDF)
    finally:
        child.kill()
        child.join(60)


def test_a_damaged_index_is_thrown_away(path: Path) -> None:
    with UploadIndex(path) as index:
        index.keep(upload())
    path.write_bytes(b"no database " * 1_000)
    with UploadIndex(path) as index:
        assert index.find("s", PDF) is None
        index.keep(upload())
        assert index.find("s", PDF) is not None


def test_an_index_of_another_format_is_thrown_away(path: Path) -> None:
    with UploadIndex(path) as index:
        index.keep(upload())
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    with UploadIndex(path) as index:
        assert index.find("s", PDF) is None


def test_nobody_else_can_read_the_index(path: Path) -> None:
    with UploadIndex(path) as index:
        index.claim("s", PDF)
        for file in (path, path.with_suffix(".lock"), *path.with_suffix(".claims").iterdir()):
            assert file.stat().st_mode & 0o077 == 0, file


def test_a_file_that_is_taken_out_is_named_by_nobody_any_more(index: UploadIndex) -> None:
    index.keep(upload())
    assert index.take_out("s", "file_1", lambda _: True) == []
    assert index.find("s", PDF) is None
    assert not index.use("s", "file_1", "run-1"), "who found it before is told"
    index.put_back("s", "file_1")
    assert index.find("s", PDF) is not None
    assert index.use("s", "file_1", "run-1")


def test_a_file_that_an_open_run_names_is_not_taken_out(index: UploadIndex) -> None:
    index.keep(upload())
    assert index.use("s", "file_1", "run-1")
    assert index.take_out("s", "file_1", lambda run_id: run_id == "run-1") == ["run-1"]
    assert index.find("s", PDF) is not None
    assert index.take_out("s", "file_1", lambda _: False) == []


def test_a_file_that_is_just_being_sent_is_not_unheard(index: UploadIndex, path: Path) -> None:
    name = index.name_of(PDF)
    assert index.claim("s", PDF)
    index.intend("s", PDF)
    with UploadIndex(path) as other:
        assert not other.claim_unheard("s", name, "file_1")
        index.keep(upload())
        index.release("s", PDF)
        assert not other.claim_unheard("s", name, "file_1"), "it has been noted since the list was read"


def test_a_file_that_nobody_sends_is_unheard_and_its_content_cannot_be_sent_meanwhile(
    index: UploadIndex, path: Path
) -> None:
    index.intend("s", PDF)
    with UploadIndex(path) as other:
        assert other.claim_unheard("s", index.name_of(PDF), "file_1")
        assert other.claim_unheard("s", index.name_of(PDF), "file_2"), "the same content, there twice"
        assert not index.claim("s", PDF)
    assert index.claim("s", PDF)
