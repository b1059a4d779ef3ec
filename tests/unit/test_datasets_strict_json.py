"""Values are exact; what other readers drop in silence is refused."""

from __future__ import annotations

import pytest

from runner.datasets.strict_json import BadJson, parse, parse_at


def refused(text: str) -> BadJson:
    with pytest.raises(BadJson) as caught:
        parse(text)
    return caught.value


def test_values_are_exact() -> None:
    assert parse(
        ' {"a": 123456789012345678901234567890, "b": 0.1, "c": [null, true, "é\\u00e9\\ud83d\\ude00"]} \n'
    ) == {
        "a": 123456789012345678901234567890,
        "b": 0.1,
        "c": [None, True, "éé😀"],
    }


def test_half_a_surrogate_pair_is_kept() -> None:
    assert parse('"\\ud83d"') == "\ud83d"


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "[NaN]", '{"a": -Infinity}', "1e999", "-1e999", "1" * 5_000]
)
def test_numbers_that_json_does_not_have_are_refused(text: str) -> None:
    assert refused(text).code == "bad-number"


def test_a_field_that_appears_twice_is_refused_at_any_depth() -> None:
    error = refused('{"a": [{"b": 1, "c": 2, "b": 3}]}')
    assert (error.code, str(error)) == ("duplicate-field", "the field 'b' appears twice in one object")


def test_depth_beyond_the_stack_is_refused() -> None:
    assert "too deep" in str(refused("[" * 100_000))


@pytest.mark.parametrize(
    ("text", "position"), [('{"a" 1}', 5), ("{} x", 3), ("", 0), ("'a'", 0), ('{"a": "x\ny"}', 8), ("\ufeff{}", 0)]
)
def test_what_is_no_json_names_the_character(text: str, position: int) -> None:
    error = refused(text)
    assert (error.code, error.position) == ("bad-json", position)


@pytest.mark.parametrize(
    "whole", ['{"a": "\\ud83d\\ude00 x", "b": [-1.5e+10, null, false, true]}', '{"a": {"b": "c"}}']
)
def test_every_cut_of_a_sound_object_may_be_sound_with_more_text(whole: str) -> None:
    for length in range(1, len(whole)):
        with pytest.raises(BadJson) as caught:
            parse_at(whole[:length], 0)
        assert caught.value.at_end, whole[:length]


def test_an_error_in_the_middle_is_final() -> None:
    with pytest.raises(BadJson) as caught:
        parse_at('{"a": x, "b": "' + "y" * 100, 0)
    assert not caught.value.at_end
