"""Images that are too large for the API, made smaller.

Owns   the one use of Pillow, which is imported when the first image needs it (extra `media`).
Knows  bounds on edges and bytes; not where they come from.

The same bytes and bounds give the same bytes with the same version of Pillow, so that a row that is rendered twice has
one identity. Another version of Pillow may give others: the request is then another one, and is paid for again.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from typing import Any

_QUALITIES = (90, 80, 65, 50)
"""JPEG qualities tried in turn until an image has few enough bytes; then its edges are cut by a quarter."""
_SMALLEST_EDGE = 64
MAX_PIXELS = 400_000_000
"""Larger images are not opened: unpacked, they would take more than a gigabyte."""


class ScalingFailure(Exception):
    """The image cannot be scaled; the message says why."""


def can_scale() -> bool:
    """Whether Pillow is installed; loads nothing."""
    return importlib.util.find_spec("PIL") is not None


def scaled(data: bytes, media_type: str, *, edge: int, size_bytes: int) -> tuple[bytes, str]:
    """The image with no edge over `edge` pixels and at most `size_bytes` bytes, and its media type.

    A PNG stays one where that is small enough; everything else becomes a JPEG, or a PNG where it has transparency.
    Of an animation the first frame is kept. Raises ScalingFailure.
    """
    # Here and not above: jobs without images, and `check`, do without it.
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image: Any = Image.open(io.BytesIO(data))
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ScalingFailure(f"it has {width:,} by {height:,} pixels, too many to be scaled here")
            if media_type == "image/jpeg":
                image.draft("RGB", (edge, edge))  # reads a large photo at an eighth, quarter or half of its size
            image.load()
        image = _upright(image)
        return _small_enough(image, media_type, edge, size_bytes)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ScalingFailure(f"it cannot be read as an image: {error}") from error


def _upright(image: Any) -> Any:
    """Turned as its EXIF data say, which a new file would not have any more."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _small_enough(image: Any, media_type: str, edge: int, size_bytes: int) -> tuple[bytes, str]:
    clear = "A" in image.getbands() or "transparency" in image.info
    image = image.convert("RGBA" if clear else "RGB")
    while edge >= _SMALLEST_EDGE:
        fitted = image.copy()
        fitted.thumbnail((edge, edge))
        if media_type == "image/png" or clear:
            data = _written(fitted, "PNG")
            if len(data) <= size_bytes:
                return data, "image/png"
        if not clear:
            for quality in _QUALITIES:
                data = _written(fitted, "JPEG", quality=quality)
                if len(data) <= size_bytes:
                    return data, "image/jpeg"
        edge = min(edge, *fitted.size) * 3 // 4 if max(fitted.size) < edge else edge * 3 // 4
    raise ScalingFailure("it stays too large, however small its edges are made")


def _written(image: Any, kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()
