from __future__ import annotations

import io
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runner.media.measures import image_size, is_encrypted, pdf_pages
from support.media import pdf, picture

KINDS = ("PNG", "JPEG", "GIF", "WEBP")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(KINDS))
def test_the_size_is_that_of_the_library(width: int, height: int, kind: str) -> None:
    assert image_size(picture(width, height, kind), f"image/{kind.lower()}") == (width, height)


@pytest.mark.parametrize("options", [{"lossless": True}, {"exif": Image.Exif()}, {"quality": 50}])
def test_each_form_of_webp_is_read(options: dict[str, object]) -> None:
    target = io.BytesIO()
    Image.new("RGBA", (123, 45), (1, 2, 3, 4)).save(target, "WEBP", **options)
    assert image_size(target.getvalue(), "image/webp") == (123, 45)


def test_a_progressive_photo_with_a_thumbnail_is_read() -> None:
    exif = Image.Exif()
    exif[0x9286] = "x" * 40_000  # a long segment before the frame's own
    target = io.BytesIO()
    Image.new("RGB", (640, 480)).save(target, "JPEG", progressive=True, exif=exif)
    assert image_size(target.getvalue(), "image/jpeg") == (640, 480)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 60), st.binary(max_size=20))
def test_a_damaged_image_is_never_an_error(kind: str, cut: int, more: bytes) -> None:
    size = image_size(picture(50, 40, kind)[:cut] + more, f"image/{kind.lower()}")
    assert size is None or all(isinstance(edge, int) for edge in size)


@pytest.mark.parametrize("pages", [1, 2, 37])
@pytest.mark.parametrize("compressed", [True, False])
def test_pages_are_counted(pages: int, *, compressed: bool) -> None:
    assert pdf_pages(pdf(pages, lines=2, compressed=compressed)) == pages


def test_pages_in_compressed_object_streams_are_counted() -> None:
    objects = zlib.compress(b"1 0 2 40 << /Type /Page /Parent 9 0 R >> << /Type /Pages /Count 3 /Kids [1 0 R] >>")
    data = b"%%PDF-1.7\n4 0 obj\n<< /Type /ObjStm /N 2 >>\nstream\r\n%b\nendstream\nendobj\n" % objects
    assert pdf_pages(data) == 3


def test_a_pdf_without_a_page_to_be_seen_has_no_count() -> None:
    assert pdf_pages(b"%PDF-1.7\nnothing") is None
    assert pdf_pages(b"%PDF-1.7 /Type /ObjStm stream\nnot zlib") is None


def test_pages_that_are_compressed_too_far_to_be_looked_at_have_no_count() -> None:
    objects = b"<< /Type /Pages /Count 2 >>" + b" " * (9 * 2**20) + b"<< /Type /Page >>" * 50
    stream = b"<< /Type /ObjStm >> stream\n%b\nendstream\n"
    assert pdf_pages(b"%PDF-1.7\n" + stream % zlib.compress(objects)) is None, "50 pages are behind what is unfolded"
    few = stream % zlib.compress(b"<< /Type /Page >>")
    assert pdf_pages(b"%PDF-1.7\n" + few * 4_096) == 4_096
    assert pdf_pages(b"%PDF-1.7\n" + few * 4_097) is None


def test_encryption_is_seen() -> None:
    assert not is_encrypted(pdf(1))
    assert is_encrypted(b"%PDF-1.7 trailer << /Encrypt 12 0 R >>")
