from __future__ import annotations

import pytest

from runner.media.kinds import described, media_type
from support.media import pdf, picture


@pytest.mark.parametrize(("kind", "found"), [("PNG", "png"), ("JPEG", "jpeg"), ("GIF", "gif"), ("WEBP", "webp")])
def test_an_image_is_known_by_its_bytes(kind: str, found: str) -> None:
    assert media_type(picture(20, 10, kind)) == f"image/{found}"


def test_a_pdf_may_have_a_few_bytes_before_it() -> None:
    assert media_type(pdf(1)) == media_type(b"\n\n" + pdf(1)) == "application/pdf"


@pytest.mark.parametrize("text", ["plain", "größer 日本", "\ufeffwith a mark", "a\tb\r\n", "\x1b[1m"])
def test_utf8_is_text(text: str) -> None:
    assert media_type(text.encode()) == "text/plain"


@pytest.mark.parametrize("data", [b"\x00\x01", b"caf\xe9", "x".encode("utf-16"), b"PK\x03\x04\x00", b"II*\x00\xff"])
def test_anything_else_is_nothing_that_is_known(data: bytes) -> None:
    assert media_type(data) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04\x14\x00", "a ZIP archive, as Word, Excel and PowerPoint files are"),
        (b"\x00\x00\x00\x18ftypheic\x00", "a HEIC or AVIF image"),
        ("x".encode("utf-16"), "text in UTF-16"),
        (b"\x00\xff", "neither UTF-8 text nor anything that the API takes"),
        (b"", "empty"),
        (picture(4, 4), "a PNG image"),
    ],
)
def test_a_message_can_say_what_bytes_are(data: bytes, words: str) -> None:
    assert described(data) == words
