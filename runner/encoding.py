"""The one way in which runner writes a JSON value as bytes.

Owns   the canonical encoding of rows, requests and records: UTF-8, no spaces, non-ASCII as it is, integers exact,
       floats by their shortest repr, mapping order kept, NaN and infinity refused.
Why    identity is a hash over these bytes and must not change with a library's version (docs/decisions/0007), so it is
       the standard library's encoder and a golden test holds it. Faster decoders may be used for reading: bytes in,
       the same values out.

Lone surrogates can be decoded from JSON escapes but have no UTF-8 form: they are written back as escapes here, and
sinks that need text use `printable`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from json import encoder as json_encoder
from typing import Any

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
# What `JSONEncoder.encode` makes anew for every value, which takes half of the time for a row (3.11, measured). Without
# its check for circles, which end as a `RecursionError`: what is written here has mostly been read from JSON.
_make_encoder: Callable[..., Callable[[Any, int], Iterable[str]]] | None = getattr(json_encoder, "c_make_encoder", None)
_chunks: Callable[[Any, int], Iterable[str]] = (
    _make_encoder(None, _encoder.default, json_encoder.encode_basestring, None, ":", ",", False, False, False)
    if _make_encoder is not None
    else lambda value, _: _encoder.iterencode(value)
)
_ascii_encoder = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def encode(value: Any) -> bytes:
    """Encode a JSON value. Raises TypeError for what JSON cannot hold, ValueError for NaN and infinity."""
    text = encode_text(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _ascii_encoder.encode(value).encode()


def encode_text(value: Any) -> str:
    """The same as `encode`, as text; lone surrogates stay in it."""
    return json_encoder.encode_basestring(value) if type(value) is str else "".join(_chunks(value, 0))


def decode(data: bytes | str) -> Any:
    """Decode strict JSON: NaN and infinity are refused, also as a number too large for a float. Raises ValueError."""
    return json.loads(data, parse_constant=_refuse_constant, parse_float=_finite)


def decode_first(text: str, start: int) -> tuple[Any, int]:
    """Decode the strict JSON value that begins at a place in a text; the value, and where it ends. Raises ValueError
    (a JSONDecodeError, which says how far it came, where the text is no JSON)."""
    return _decoder.raw_decode(text, start)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is too large for a number")
    return number


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def printable(text: str) -> str:
    """Replace lone surrogates by U+FFFD, so that the text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
