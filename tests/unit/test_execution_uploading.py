"""One content and its id: found, sent once, found again after a lost reply, renewed, healed; over the stand-in."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from runner.clock import SystemClock
from runner.engines.retry import RetryPolicy
from runner.events import FileUploaded
from runner.execution.uploading import Uploader, UploadPlan
from runner.ledger.uploads import Content, Upload, UploadIndex
from runner.providers import wire
from runner.types import Failure, Mode, PendingFile
from support.api import SimulatedApi
from support.engine_fakes import Listener

T = TypeVar("T")
DAY_S = 24 * 3_600
RETRY = RetryPolicy(3, 0.001, 2.0, 0.002)
DATA = b"%PDF-1.4 a small one"


def pending(data: bytes = DATA) -> PendingFile:
    return PendingFile(hashlib.sha256(data).digest(), "application/pdf", len(data), lambda: data)


class Bench:
    """Uploaders over one index, each as another process or run would have it."""

    def __init__(self, api: SimulatedApi, folder: Path) -> None:
        self.api = api
        self.path = folder / "uploads.db"
        self.events = Listener()

    def with_uploader(
        self,
        act: Callable[[Uploader], Awaitable[T]],
        *,
        run_id: str = "run-1",
        mode: Mode = "parallel",
        days: float = 30,
    ) -> T:
        async def go() -> T:
            provider = wire.connect(self.api.environ, max_concurrency=4)
            plan = UploadPlan(self.path, b"owner", run_id, int(days * DAY_S), mode, RETRY)
            uploader = Uploader(plan, provider, clock=SystemClock(), observer=self.events)
            try:
                return await act(uploader)
            finally:
                await uploader.aclose()
                await provider.aclose()

        return asyncio.run(go())

    def upload(self, data: bytes = DATA, *, doubted: bool = False, mode: Mode = "parallel", days: float = 30) -> Upload:
        answer = self.answer(data, doubted=doubted, mode=mode, days=days)
        assert isinstance(answer, Upload), answer
        return answer

    def answer(
        self, data: bytes = DATA, *, doubted: bool = False, mode: Mode = "parallel", days: float = 30
    ) -> Upload | Failure:
        return self.with_uploader(
            lambda uploader: uploader.found_or_sent(pending(data), doubted=doubted), mode=mode, days=days
        )

    def change(self, act: Callable[[UploadIndex], object]) -> None:
        with UploadIndex(self.path) as index:
            act(index)

    @property
    def sent(self) -> int:
        return len(self.api.uploads())


@pytest.fixture
def bench(api: SimulatedApi, tmp_path: Path) -> Bench:
    return Bench(api, tmp_path)


def delete_at_api(bench: Bench, file_id: str) -> None:
    async def go() -> None:
        provider = wire.connect(bench.api.environ, max_concurrency=1)
        assert await provider.delete_file(file_id) == file_id
        await provider.aclose()

    asyncio.run(go())


def test_a_content_is_sent_once_for_all_runs(bench: Bench) -> None:
    first = bench.upload()
    assert bench.upload().file_id == first.file_id
    assert bench.sent == 1
    assert bench.api.uploads()[0]["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert [event for event in bench.events.events if isinstance(event, FileUploaded)] == [
        FileUploaded(first.file_id, len(DATA))
    ]


def test_files_expire_so_that_none_stays_for_ever(bench: Bench) -> None:
    upload = bench.upload(days=7)
    assert upload.expires_at is not None
    assert upload.expires_at - upload.uploaded_at == timedelta(days=7)


def test_two_at_once_send_one(bench: Bench, tmp_path: Path) -> None:
    async def both() -> list[Upload | Failure]:
        provider = wire.connect(bench.api.environ, max_concurrency=4)
        plan = UploadPlan(bench.path, b"owner", "r", 30 * DAY_S, "parallel", RETRY)
        uploaders = [Uploader(plan, provider, clock=SystemClock(), observer=bench.events) for _ in range(3)]
        try:
            return await asyncio.gather(*(uploader.found_or_sent(pending(), doubted=False) for uploader in uploaders))
        finally:
            for uploader in uploaders:
                await uploader.aclose()
            await provider.aclose()

    bench.api.fault("slow", path="file_upload", seconds=0.5)
    answers = asyncio.run(both())
    assert len({answer.file_id for answer in answers if isinstance(answer, Upload)}) == 1
    assert bench.sent == 1


@pytest.mark.parametrize("kind", ["reply_lost", "truncated", "reply_html", "reply_500", "reply_529"])
def test_a_file_whose_reply_was_lost_is_found_and_not_sent_again(bench: Bench, kind: str) -> None:
    bench.api.fault(kind, path="file_upload", times=1)
    upload = bench.upload()
    assert bench.sent == 1
    assert upload.file_id == bench.api.uploads()[0]["id"]


def test_an_intent_of_a_killed_process_is_looked_for_before_anything_is_sent(bench: Bench) -> None:
    bench.upload()
    content = Content(hashlib.sha256(DATA).digest(), "application/pdf")

    def as_if_killed(index: UploadIndex) -> None:
        (known,) = index.all()
        index.forget(known.scope, known.file_id)
        index.intend(known.scope, content)

    bench.change(as_if_killed)
    assert bench.upload().file_id == bench.api.uploads()[0]["id"]
    assert bench.sent == 1


def test_files_of_another_index_are_not_taken_for_ours(bench: Bench, tmp_path: Path) -> None:
    Bench(bench.api, tmp_path / "other").upload()
    bench.api.fault("reset", path="file_upload", times=1)
    bench.upload()
    assert bench.sent == 2


@pytest.mark.parametrize("kind", ["429", "500", "503", "529", "reset"])
def test_what_passes_is_tried_again(bench: Bench, kind: str) -> None:
    bench.api.fault(kind, path="file_upload", times=2, **({"retry_after": "0"} if kind == "429" else {}))
    bench.upload()
    assert bench.sent == 1


def test_tries_end(bench: Bench) -> None:
    bench.api.fault("500", path="file_upload")
    failure = bench.answer()
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.retryable, failure.scope) == ("api_error", False, "row")
    assert failure.message.startswith("upload of a file: ")
    assert bench.api.traffic()["by_status"]["500"] == RETRY.max_attempts


@pytest.mark.parametrize(("kind", "scope"), [("413", "row"), ("400", "row"), ("401", "job"), ("on_hold", "job")])
def test_a_refusal_is_not_tried_again_and_leaves_no_doubt(bench: Bench, kind: str, scope: str) -> None:
    bench.api.fault(kind, path="file_upload", times=1)
    failure = bench.answer()
    assert isinstance(failure, Failure)
    assert failure.scope == scope
    assert bench.sent == 0
    bench.change(_check_no_doubt)
    bench.upload()
    assert bench.sent == 1


def _check_no_doubt(index: UploadIndex) -> None:
    content = Content(hashlib.sha256(DATA).digest(), "application/pdf")
    assert not index.is_doubtful(index.scope_of(b"owner"), content)


def test_a_file_that_soon_expires_is_renewed(bench: Bench) -> None:
    first = bench.upload(days=1)
    assert bench.upload(days=1).file_id == first.file_id, "for a request in parallel it lasts"
    renewed = bench.upload(mode="batch")
    assert renewed.file_id != first.file_id, "a batch may take longer"
    assert bench.upload().file_id == renewed.file_id
    assert bench.sent == 2


def test_a_file_that_is_kept_for_a_short_time_is_renewed_at_half_of_it(bench: Bench) -> None:
    first = bench.upload(mode="batch", days=1)
    assert bench.upload(mode="batch", days=1).file_id == first.file_id
    assert bench.sent == 1


def test_a_doubted_file_is_sent_again_where_it_is_gone(bench: Bench) -> None:
    first = bench.upload()
    assert bench.upload(doubted=True).file_id == first.file_id, "it is there, as the API says"
    delete_at_api(bench, first.file_id)
    assert bench.upload().file_id == first.file_id, "nobody has asked"
    second = bench.upload(doubted=True)
    assert second.file_id != first.file_id
    assert bench.upload().file_id == second.file_id
    assert bench.sent == 2


def test_an_expired_file_is_sent_again_when_it_is_doubted(bench: Bench) -> None:
    first = bench.upload(days=7)
    bench.api.advance(8 * DAY_S)
    assert bench.upload(doubted=True).file_id != first.file_id


def test_a_batch_does_not_rely_on_a_file_that_was_not_seen_for_long(bench: Bench) -> None:
    first = bench.upload()
    delete_at_api(bench, first.file_id)
    assert bench.upload(mode="batch").file_id == first.file_id, "it was seen just now"

    def long_ago(index: UploadIndex) -> None:
        (known,) = index.all()
        index.saw(known.scope, known.file_id, known.seen_at - timedelta(hours=2))

    bench.change(long_ago)
    assert bench.upload(mode="batch").file_id != first.file_id


def test_a_doubted_file_of_which_nothing_can_be_heard_is_used(bench: Bench) -> None:
    first = bench.upload()
    bench.api.fault("500", path="file_retrieve")
    assert bench.upload(doubted=True).file_id == first.file_id


def test_which_run_names_a_file_is_noted_before_it_does(bench: Bench) -> None:
    upload = bench.upload()
    bench.with_uploader(lambda uploader: uploader.found_or_sent(pending(), doubted=False), run_id="run-2")
    with UploadIndex(bench.path) as index:
        assert index.runs_using(upload.scope, upload.file_id) == ["run-1", "run-2"]


def test_a_file_that_is_deleted_when_it_was_just_found_is_sent_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.upload()
    use = UploadIndex.use

    def deleted_before(index: UploadIndex, scope: str, file_id: str, run_id: str) -> bool:
        if file_id == first.file_id:
            assert index.take_out(scope, file_id, lambda _: False) == []
        return use(index, scope, file_id, run_id)

    monkeypatch.setattr(UploadIndex, "use", deleted_before)
    again = bench.upload()
    assert again.file_id != first.file_id
    assert bench.sent == 2


def test_an_upload_that_is_given_up_holds_no_claim(bench: Bench) -> None:
    async def canceled(uploader: Uploader) -> None:
        task = asyncio.create_task(uploader.found_or_sent(pending(), doubted=False))
        while not bench.sent:  # noqa: ASYNC110 - the stand-in is another process
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    bench.api.fault("reply_hangs", path="file_upload", times=1)
    bench.with_uploader(canceled)
    upload = bench.upload()
    assert bench.sent == 1, "what had arrived was found"
    assert upload.file_id == bench.api.uploads()[0]["id"]
