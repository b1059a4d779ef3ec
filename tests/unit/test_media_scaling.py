from __future__ import annotations

import io
import sys

import pytest
from PIL import Image

from runner.media.kinds import media_type
from runner.media.measures import image_size
from runner.media.scaling import ScalingFailure, can_scale, scaled
from support.media import noise, picture


def size_of(data: bytes) -> tuple[int, int] | None:
    return image_size(data, str(media_type(data)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_an_image_keeps_its_shape(kind: str) -> None:
    data, found = scaled(picture(1_500, 500, kind), f"image/{kind.lower()}", edge=600, size_bytes=10**6)
    assert size_of(data) == (600, 200)
    assert media_type(data) == found


def test_too_many_bytes_become_fewer_at_the_same_size() -> None:
    large = noise(900, 700)
    data, found = scaled(large, "image/png", edge=8_000, size_bytes=600_000)
    assert (len(data) <= 600_000, found, size_of(data)) == (True, "image/jpeg", (900, 700))


def test_edges_are_cut_where_no_quality_is_enough() -> None:
    data, _ = scaled(noise(900, 700), "image/png", edge=8_000, size_bytes=20_000)
    size = size_of(data)
    assert size is not None
    assert (len(data) <= 20_000, size[0] < 900) == (True, True)


def test_transparency_is_kept() -> None:
    target = io.BytesIO()
    Image.new("RGBA", (900, 300), (10, 20, 30, 0)).save(target, "WEBP")
    data, found = scaled(target.getvalue(), "image/webp", edge=300, size_bytes=10**6)
    assert (found, Image.open(io.BytesIO(data)).mode) == ("image/png", "RGBA")


def test_a_photo_is_turned_as_its_camera_said() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    target = io.BytesIO()
    Image.new("RGB", (800, 400)).save(target, "JPEG", exif=exif)
    data, _ = scaled(target.getvalue(), "image/jpeg", edge=400, size_bytes=10**6)
    assert size_of(data) == (200, 400)


def test_the_same_bytes_give_the_same_bytes() -> None:
    one, two = (scaled(picture(2_000, 1_500), "image/png", edge=500, size_bytes=10**6) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", picture(300, 200)[:400], picture(300, 200, "JPEG")[:300]])
def test_what_is_no_whole_image_is_a_failure_that_says_so(data: bytes) -> None:
    with pytest.raises(ScalingFailure, match="cannot be read as an image"):
        scaled(data, str(media_type(data)), edge=10, size_bytes=10**6)


def test_without_pillow_nothing_can_be_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_scale()
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert not can_scale()
