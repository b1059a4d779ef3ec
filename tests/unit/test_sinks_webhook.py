"""The webhook sink against a real receiver: what is sent, what is tried again, what is an error at once."""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runner.clock import SystemClock
from runner.encoding import decode
from runner.errors import DeliveryError
from runner.sinks import DeliveryId, Part, SinkContext
from runner.sinks import webhook as webhook_module
from runner.sinks.options import WebhookOptions
from runner.sinks.signing import signature
from runner.sinks.webhook import MAX_TRIES, WebhookSink
from runner.spec.sink import SinkSpec
from runner.testing.part_sinks import check_part_sink
from runner.testing.sinks import sample_record
from support.webhook_server import Answer, Receiver, receiver

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdefghijklmn").decode()
NOW = datetime(2026, 11, 29, 12, 0, 0, 500_000, UTC)


class FixedClock(SystemClock):
    def now(self) -> datetime:
        return NOW


@dataclass
class Pauses:
    """Waits for nothing, and keeps how long it was to wait; from `ends_at` on the run is being given up."""

    asked: list[float] = field(default_factory=list)
    ends_at: int = 1_000

    def __call__(self, seconds: float) -> bool:
        self.asked.append(seconds)
        return len(self.asked) < self.ends_at


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as received:
        yield received


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


def sink(hook: Receiver, pauses: Pauses, **options: Any) -> WebhookSink:
    made = WebhookOptions(**{"url": hook.url, **options})
    context = SinkContext(Path(), written={"url": "https://x.example/${HOOK}?a=b"}, pause=pauses, clock=FixedClock())
    return WebhookSink(made, context)


def deliver(made: WebhookSink, count: int = 2, number: int = 1) -> None:
    made.begin(DeliveryId("run.0.abc.1", "run", "owner"))
    try:
        made.deliver(Part(number, f"run.0.abc.1.{number}", [sample_record(index) for index in range(count)]))
        made.finish()
    finally:
        made.close()


def test_the_sink_holds_its_contract(hook: Receiver, pauses: Pauses) -> None:
    check_part_sink(lambda: sink(hook, pauses), hook.keys, clear=hook.clear, keeps_mark=False)


def test_a_request_says_what_it_is_and_is_signed(hook: Receiver, pauses: Pauses) -> None:
    deliver(sink(hook, pauses, signing_secret=SECRET, headers={"Authorization": "Bearer abc"}), number=7)
    (post,) = hook.posts
    told = decode(post.body)
    assert (told["type"], told["data"]["job"], told["data"]["run_id"], told["data"]["part"]) == (
        "records",
        "sample",
        "20261122T101500-a1b2",
        7,
    )
    assert told["data"]["records"] == [sample_record(index).to_dict() for index in range(2)]
    assert (post.headers["content-type"], post.headers["authorization"]) == ("application/json", "Bearer abc")
    assert (post.id, post.headers["webhook-timestamp"]) == ("run.0.abc.1.7", str(int(NOW.timestamp())))
    signed = f"{post.id}.{post.headers['webhook-timestamp']}.".encode() + post.body
    digest = hmac.new(b"0123456789abcdefghijklmn", signed, hashlib.sha256).digest()
    assert post.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert post.path == "/hooks/tok-in-path"


def test_a_signature_is_that_of_other_implementations() -> None:
    """HMAC-SHA256 over `<id>.<timestamp>.<body>`, worked out with openssl: `openssl dgst -sha256 -mac HMAC -macopt
    hexkey:303132…6d6e -binary | base64`."""
    found = signature("msg_1", 1_614_265_330, b'{"test": 1}', SECRET)
    assert found == "g9snoNp/vHgTobl0KyLVkhFkwLeRukV+o/1EqJQjrTE="


def test_without_a_secret_there_is_no_signature(hook: Receiver, pauses: Pauses) -> None:
    deliver(sink(hook, pauses))
    assert "webhook-signature" not in hook.posts[0].headers


def test_columns_make_the_records(hook: Receiver, pauses: Pauses) -> None:
    deliver(sink(hook, pauses, columns={"id": "key", "said": "output"}), 1)
    assert hook.posts[0].records == [{"id": "k-0", "said": "answer 0"}]


@pytest.mark.parametrize(
    "answer",
    [Answer(500), Answer(503), Answer(408), Answer(425), Answer(429), Answer(cut=True), Answer(cut=True, late=True)],
    ids=str,
)
def test_what_may_pass_is_tried_again_under_the_same_id(hook: Receiver, pauses: Pauses, answer: Answer) -> None:
    hook.script = [answer, answer]
    deliver(sink(hook, pauses))
    assert len({(post.id, post.body) for post in hook.posts}) == 1
    assert len(hook.posts) == 3
    assert hook.keys() == ["k-0", "k-1"]
    assert [0.25 <= pauses.asked[0] <= 0.5, 0.5 <= pauses.asked[1] <= 1.0] == [True, True]


def test_a_receiver_that_says_nothing_is_given_up_in_time(
    hook: Receiver, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_module, "TIMEOUT_S", 0.2)
    hook.script = [Answer(held=True)] * MAX_TRIES
    with pytest.raises(DeliveryError, match=r"gave no answer within 0.2 s, 6 times"):
        deliver(sink(hook, pauses))
    assert hook.keys() == []


def test_tries_are_bounded(hook: Receiver, pauses: Pauses) -> None:
    hook.script = [Answer(500, body=b"out of order")] * 50
    with pytest.raises(DeliveryError) as caught:
        deliver(sink(hook, pauses))
    assert str(caught.value) == "https://x.example/${HOOK} answered 500: out of order, 6 times"
    assert caught.value.hint == "runner export RUN goes on from here"
    assert (len(hook.posts), len(pauses.asked)) == (MAX_TRIES, MAX_TRIES - 1)
    assert max(pauses.asked) <= 30


@pytest.mark.parametrize(
    ("value", "waits"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (format_datetime(datetime(2026, 11, 29, 12, 0, 20, tzinfo=UTC), usegmt=True), 19.5),
        (format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True), 0.0),
    ],
)
def test_a_receiver_says_how_long_to_wait(hook: Receiver, pauses: Pauses, value: str, waits: float) -> None:
    hook.script = [Answer(429, {"retry-after": value})]
    deliver(sink(hook, pauses))
    assert pauses.asked == [waits]


@pytest.mark.parametrize("value", ["soon", "-5", "nan", "1e9", "12345678901234", f"Mon, 01 Jan {10**20} 00:00:00 GMT"])
def test_a_retry_after_that_says_nothing_is_ignored(hook: Receiver, pauses: Pauses, value: str) -> None:
    hook.script = [Answer(503, {"retry-after": value})]
    deliver(sink(hook, pauses))
    assert pauses.asked[0] <= 0.5


def test_a_column_that_cannot_be_computed_leaves_out_its_record_alone(hook: Receiver, pauses: Pauses) -> None:
    made = sink(hook, pauses, columns={"id": "key", "part": "1 // index"})
    made.begin(DeliveryId("run.0.abc.1", "run", "owner"))
    records = [sample_record(index) for index in range(2)]
    assert [each.key for each in made.deliver(Part(1, "a.1", records))] == ["k-0"]
    assert [each.key for each in made.deliver(Part(2, "a.2", records[:1]))] == ["k-0"]
    made.close()
    assert [decode(post.body)["data"]["records"] for post in hook.posts] == [[{"id": "k-1", "part": 1}]]


@pytest.mark.parametrize("url", ["https://hooks..example.com/x", "https://example.com:99999/x"])
def test_an_address_that_no_host_can_have_is_an_error_at_once(hook: Receiver, pauses: Pauses, url: str) -> None:
    with pytest.raises(DeliveryError, match="is an address that no host can have"):
        deliver(sink(hook, pauses, url=url))
    assert pauses.asked == []


def test_a_receiver_that_asks_for_an_hour_is_left_for_later(hook: Receiver, pauses: Pauses) -> None:
    hook.script = [Answer(503, {"retry-after": "3600"})]
    with pytest.raises(DeliveryError, match="answered 503, once"):
        deliver(sink(hook, pauses))
    assert pauses.asked == []


def test_a_run_that_ends_is_not_waited_through(hook: Receiver, pauses: Pauses) -> None:
    hook.script, pauses.ends_at = [Answer(500)] * 9, 1
    with pytest.raises(DeliveryError, match="and the run is ending"):
        deliver(sink(hook, pauses))
    assert len(hook.posts) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_what_will_not_pass_is_an_error_at_once(hook: Receiver, pauses: Pauses, status: int) -> None:
    hook.script = [Answer(status, body=b"no\n\x1b[31mway")]
    with pytest.raises(DeliveryError, match=rf"answered {status}: no \ufffd\[31mway"):
        deliver(sink(hook, pauses))
    assert len(hook.posts) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_refused(hook: Receiver, pauses: Pauses, status: int) -> None:
    hook.script = [Answer(status, {"location": f"{hook.url}/elsewhere?token=secret-token"})]
    with pytest.raises(DeliveryError) as caught:
        deliver(sink(hook, pauses))
    assert "a redirect to" in str(caught.value)
    assert "secret-token" not in str(caught.value)
    assert len(hook.posts) == 1


def test_nothing_secret_is_in_a_message(hook: Receiver, pauses: Pauses) -> None:
    said = f"you sent Bearer tok-12345 and {SECRET} to /hooks/tok-in-path".encode()
    hook.script = [Answer(400, body=said)]
    headers = {"Authorization": "Bearer tok-12345"}
    with pytest.raises(DeliveryError) as caught:
        deliver(sink(hook, pauses, headers=headers, signing_secret=SECRET))
    for secret in ("tok-12345", SECRET, "tok-in-path"):
        assert secret not in f"{caught.value}{caught.value.hint}"


def test_a_receiver_that_is_not_there_is_told_without_its_address(pauses: Pauses) -> None:
    with receiver() as gone:
        made = sink(gone, pauses)
    with pytest.raises(DeliveryError) as caught:
        deliver(made)
    assert "cannot be reached or breaks off: " in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    assert len(pauses.asked) == MAX_TRIES - 1


def test_a_server_without_a_certificate_is_not_trusted(hook: Receiver, pauses: Pauses) -> None:
    made = sink(hook, pauses, url=hook.url.replace("http:", "https:"))
    with pytest.raises(DeliveryError, match="cannot be reached"):
        deliver(made)
    assert hook.posts == []


def test_a_proxy_of_the_environment_is_used(hook: Receiver, pauses: Pauses, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", hook.address)
    deliver(sink(hook, pauses, url="http://localhost:9/through"))
    assert hook.posts[0].path == "http://localhost:9/through"


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://example.com/hook"},
        {"url": "ftp://example.com"},
        {"url": "warehouse"},
        {"url": "https://"},
        {"headers": {"a b": "c"}},
        {"headers": {"a": "c\r\nd: e"}},
        {"headers": {"Webhook-Id": "mine"}},
        {"headers": {"authorization": "Bearer x"}, "url": "https://user:no base64@example.com"},
        {"headers": {"Content-Type": "text/plain"}},
        {"signing_secret": "short"},
        {"signing_secret": "whsec_no base64 at all!!!!!!!!!!!!!!!!!"},
        {"batch_size": 0},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused_and_not_shown(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookOptions(**{"url": "https://example.com", **options})
    assert "no base64" not in str(caught.value)


def test_options_do_not_tell_what_is_secret() -> None:
    secret = "whsec_" + base64.b64encode(b"made-up " * 4).decode()
    options = WebhookOptions(
        url="https://example.com/?key=made-up", headers={"X-Key": "made-up"}, signing_secret=secret
    )
    assert "made-up" not in repr(options)
    assert "whsec" not in repr(options)
    sink = SinkSpec(url=options.url, headers=options.headers, signing_secret=options.signing_secret)
    assert "made-up" not in repr(sink)
    assert "whsec" not in repr(sink)


def test_a_part_is_bounded_by_records_and_bytes(hook: Receiver, pauses: Pauses) -> None:
    limits = sink(hook, pauses, batch_size=7).limits
    assert (limits.records, limits.size_bytes) == (7, 1 << 20)


def test_an_interrupt_leaves_no_exception_that_is_printed_later(
    hook: Receiver, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    waiting = threading.Event()

    def send() -> None:
        while not hook.posts:
            waiting.wait(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    hook.script = [Answer(held=True)]
    before = signal.signal(signal.SIGINT, interrupt)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            deliver(sink(hook, pauses))
    finally:
        sender.join()
        signal.signal(signal.SIGINT, before)
    gc.collect()
    assert caplog.text == ""
