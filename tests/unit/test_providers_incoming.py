"""A response off its bytes: however they are cut, and whatever they are."""

from __future__ import annotations

import asyncio
import gc
import gzip
import itertools
import random
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.providers import incoming
from runner.providers.failures import SECRET_HEADERS
from runner.providers.headers import FOLDED
from runner.providers.incoming import HEAD_BYTES, BadResponse, Incoming, IncomingStream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRequest-Id: req_1\r\n"
PLAIN = HEAD + b'content-length: 7\r\n\r\n{"a":1}'
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    + HEAD
    + b'transfer-encoding: chunked\r\n\r\n3;name=value\r\n{"a\r\n4\r\n":1}\r\n'
    + b"0\r\nx-trailer: 1\r\nrequest-id: req_forged\r\n\r\n"
)
SQUEEZED = gzip.compress(b'{"a":1}', mtime=0)
COMPRESSED = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%s" % (len(SQUEEZED), SQUEEZED)
UNTIL_THE_END = HEAD + b'\r\n{"a":1}'


def read(*pieces: bytes) -> Incoming:
    response = Incoming()
    for piece in pieces:
        response.feed(piece)
    return response


def refused(*pieces: bytes) -> str:
    with pytest.raises(BadResponse) as caught:
        read(*pieces)
    return str(caught.value)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges) if start < stop]


@pytest.mark.parametrize("data", [PLAIN, CHUNKED, COMPRESSED])
def test_a_response_is_the_same_cut_at_any_byte(data: bytes) -> None:
    for cut in range(1, len(data)):
        response = Incoming()
        response.feed(data[:cut])
        assert not response.whole
        response.feed(data[cut:])
        _check(response)


@given(st.sampled_from([PLAIN, CHUNKED, COMPRESSED]), st.lists(st.integers(0, 400), max_size=40))
def test_a_response_is_the_same_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    _check(read(*pieces_of(data, cuts)))


@given(st.lists(st.integers(0, 400), max_size=40))
def test_a_body_without_a_length_ends_with_the_connection(cuts: list[int]) -> None:
    response = read(*pieces_of(UNTIL_THE_END, cuts))
    assert not response.whole
    assert response.end()
    assert not response.reusable
    assert (response.status, response.body) == (200, b'{"a":1}')


def _check(response: Incoming) -> None:
    assert response.whole
    assert response.reusable
    assert (response.status, response.body) == (200, b'{"a":1}')
    headers = response.headers
    assert (headers["content-type"], headers["request-id"]) == ("application/json", "req_1")
    assert "x-trailer" not in headers


def test_of_a_header_that_comes_twice_the_first_counts_in_whatever_letters() -> None:
    lines = b"X-A: 1\r\nrequest-id: req_2\r\nx-a: 2\r\nX-A: 3\r\nREQUEST-ID: req_3\r\nx-b:\r\nX-B: 4\r\n"
    response = read(HEAD + lines + b"content-length: 2\r\n\r\n{}")
    assert response.request_id == "req_1"
    assert dict(response.headers) == {
        "content-type": "application/json",
        "request-id": "req_1",
        "x-a": "1",
        "x-b": "",
        "content-length": "2",
    }


@pytest.mark.parametrize("name", sorted(SECRET_HEADERS))
def test_a_header_that_carries_a_credential_is_not_there_to_be_read(name: str) -> None:
    lines = b"%s: sk-one\r\n%s: sk-two\r\n" % (name.encode(), name.title().encode())
    response = read(HEAD + lines + b"content-length: 2\r\n\r\n{}")
    assert "sk-" not in repr(response.headers)
    assert set(response.headers) == {"content-type", "request-id", "content-length"}


def test_more_names_than_are_remembered_are_read_all_the_same() -> None:
    lines = b"".join(b"X-Many-%d: %d\r\n" % (number, number) for number in range(300))
    for _ in range(2):
        headers = read(HEAD + lines + b"content-length: 2\r\n\r\n{}").headers
        assert [headers[f"x-many-{number}"] for number in range(300)] == [str(number) for number in range(300)]
    assert len(FOLDED) <= 256


@pytest.mark.parametrize("data", [PLAIN, CHUNKED, COMPRESSED])
def test_a_response_that_is_cut_is_not_whole(data: bytes) -> None:
    for cut in range(len(data)):
        response = read(data[:cut]) if cut else Incoming()
        assert not response.end()


@given(st.binary(min_size=1, max_size=200))
def test_what_follows_a_whole_response_is_never_read(surplus: bytes) -> None:
    response = read(PLAIN + surplus)
    assert response.whole
    assert not response.reusable or not surplus.strip(b"\r\n"), "empty lines alone are let pass"
    assert response.body == b'{"a":1}'
    assert response.headers["request-id"] == "req_1"


def test_nor_is_a_second_response() -> None:
    forged = PLAIN.replace(b"req_1", b"req_2").replace(b"200 OK", b"500 No").replace(b'{"a":1}', b'{"b":2}')
    response = read(PLAIN + forged)
    assert (response.status, response.body, response.headers["request-id"]) == (200, b'{"a":1}', "req_1")
    assert not response.reusable


@given(st.binary(max_size=300))
def test_bytes_that_are_no_response_raise_one_error_or_are_no_whole_response(data: bytes) -> None:
    response = Incoming()
    try:
        response.feed(data)
    except BadResponse:
        return
    assert not response.whole


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n", id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n", id="close"),
    ],
)
def test_a_connection_that_will_be_closed_is_not_used_again(head: bytes) -> None:
    response = read(head + b"\r\n{}")
    assert response.whole
    assert response.body == b"{}"
    assert not response.reusable


def test_a_connection_of_http_1_0_that_is_kept_is() -> None:
    assert read(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}").reusable


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_status_without_a_body_is_whole_at_its_head(status: bytes) -> None:
    response = read(b"HTTP/1.1 %s\r\nx: y\r\n\r\n" % status)
    assert response.whole
    assert response.body == b""


def test_interim_responses_leave_nothing_behind() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nrequest-id: req_early\r\ncontent-encoding: gzip\r\n\r\n"
    response = read(early * 3 + PLAIN)
    assert (response.status, response.headers["request-id"], response.body) == (200, "req_1", b'{"a":1}')


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"content-length: 2\r\ntransfer-encoding: chunked", id="a length beside chunks"),
        pytest.param(b"transfer-encoding: chunked\r\ncontent-length: 2", id="chunks beside a length"),
        pytest.param(b"content-length: 2\r\ncontent-length: 3", id="two lengths"),
        pytest.param(b"content-length: 2, 3", id="a list of lengths"),
        pytest.param(b"content-length: -2", id="a negative length"),
        pytest.param(b"content-length: +2", id="a signed length"),
        pytest.param(b"content-length: 0x2", id="a hexadecimal length"),
        pytest.param(b"content-length: 99999999999999999999", id="a length beyond 64 bits"),
        pytest.param(b"content-length : 2", id="a space before the colon"),
        pytest.param(b"content length: 2", id="a space in a name"),
        pytest.param(b": 2", id="no name"),
        pytest.param(b"no colon", id="no colon"),
        pytest.param(b"x: a\0b", id="a zero byte"),
        pytest.param(b"x: a\rb: c", id="a bare carriage return"),
        pytest.param(b"x: a\nb: c", id="a bare line feed"),
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(lines: bytes) -> None:
    assert refused(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n{}").startswith("no response of HTTP: ")


@pytest.mark.parametrize("size", [b"", b"g", b"-1", b"0x2", b"2 2", b"+2", b"11111111111111111", b" 2", b"2\t"])
def test_a_chunk_whose_size_is_none_is_refused(size: bytes) -> None:
    refused(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + size + b"\r\n{}\r\n0\r\n\r\n")


def test_a_chunk_that_is_longer_than_it_says_is_refused() -> None:
    refused(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n")


def test_chunks_that_do_not_end_are_not_whole_when_the_connection_ends() -> None:
    assert not read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n").end()


def test_another_protocol_is_refused() -> None:
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    assert refused(upgrade) == "the server changed to another protocol"


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"HTTP/1.1 200 ", id="a reason"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: ", id="a value"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", id="a name"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: ", id="a trailer"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;", id="a chunk's extension"),
    ],
)
def test_what_is_no_body_and_does_not_end_is_refused(begin: bytes) -> None:
    piece = b"a" * 4_096
    fed = 0
    response = read(begin)
    with pytest.raises(BadResponse, match="bytes of headers"):  # noqa: PT012  # the last of many raises
        while fed <= 2 * HEAD_BYTES:
            response.feed(piece)
            fed += len(piece)
    assert fed <= HEAD_BYTES


def test_nor_may_interim_responses_go_on_for_ever() -> None:
    response = Incoming()
    with pytest.raises(BadResponse, match="bytes of headers"):  # noqa: PT012  # the last of many raises
        for _ in range(HEAD_BYTES):
            response.feed(b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n")


def test_a_body_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Incoming, "_most_bytes", 1_000)
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    assert not read(head, b"x" * 1_000).whole
    assert refused(head, b"x" * 1_001).startswith("a body of more than")


def _compressed(coding: str, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-encoding: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        coding.encode(),
        len(body),
        body,
    )


def _raw_deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(data) + squeezer.flush()


@pytest.mark.parametrize(
    ("coding", "squeeze"),
    [("gzip", gzip.compress), ("X-GZip", gzip.compress), ("deflate", zlib.compress), ("deflate", _raw_deflate),
     ("identity", bytes), ("", bytes)],
)  # fmt: skip
def test_bodies_are_unfolded(coding: str, squeeze: Callable[[bytes], bytes]) -> None:
    text = random.Random(1).randbytes(5_000) * 3
    assert read(_compressed(coding, squeeze(text))).body == text
    assert asyncio.run(_streamed(_compressed(coding, squeeze(text)))) == text


@pytest.mark.parametrize("body", [b"\x1f\x8b broken", gzip.compress(b"whole", mtime=0)[:-3], b"text"])
def test_a_compressed_body_that_is_broken_or_cut_is_refused(body: bytes) -> None:
    for data in (_compressed("gzip", body), _compressed("deflate", body)):
        with pytest.raises(BadResponse):
            _ = read(data).body
        with pytest.raises(BadResponse):
            asyncio.run(_streamed(data))


def test_a_coding_that_is_not_known_is_refused() -> None:
    with pytest.raises(BadResponse, match="not asked for"):
        _ = read(_compressed("br", b"x")).body


def test_a_bomb_goes_off_in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "BODY_BYTES", 2**20)
    bomb = gzip.compress(bytes(50 * 2**20))
    with pytest.raises(BadResponse, match="a body of more than"):
        _ = read(_compressed("gzip", bomb)).body
    with pytest.raises(BadResponse, match="a body of more than"):
        asyncio.run(_streamed(_compressed("gzip", bomb)))


async def _streamed(data: bytes) -> bytes:
    response = IncomingStream(lambda: None, lambda _holds: None, lambda: None)
    response.feed(data)
    return await response.read()


def test_no_response_is_left_to_the_collector() -> None:
    while gc.collect():  # what other tests left may take more than one round
        pass
    gc.disable()
    try:
        _check(read(CHUNKED))
        assert gc.collect() == 0
    finally:
        gc.enable()
