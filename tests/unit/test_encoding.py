"""The one encoding of JSON values: golden bytes, and nothing that is not JSON in either direction."""

from __future__ import annotations

import pytest

from runner.encoding import decode, encode, printable


def test_the_bytes_are_canonical() -> None:
    value = {"b": [1, 2.5, 1e22, 2**70, None, True], "a": "日本 </>", "e": {}}
    golden = '{"b":[1,2.5,1e+22,1180591620717411303424,null,true],"a":"日本 </>","e":{}}'
    assert encode(value) == golden.encode()
    assert decode(encode(value)) == value


def test_a_lone_surrogate_is_written_as_an_escape() -> None:
    assert encode("é\ud83d") == rb'"\u00e9\ud83d"'
    assert decode(encode("é\ud83d")) == "é\ud83d"
    assert printable("é\ud83d") == "é\ufffd"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")]])
def test_what_is_no_number_of_json_is_not_written(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(value)


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "[-1e400]", "1" * 5_000])
def test_what_could_not_be_written_is_not_read(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text)
