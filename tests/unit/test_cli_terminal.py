"""Text and amounts for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.cli.terminal import aligned, counted, duration, labelled, plain_text, ranked, share, usd, wrapped


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[31mred\x1b[0m",
        "\x1b]0;a new title\x07red",
        "\x1b]52;c;cm0gLXJm\x1b\\red",
        "\x1b]8;;https://evil.example\x1b\\red\x1b]8;;\x1b\\",
        "\x1bPq#0;2;0;0;0\x1b\\red",
        "\x9b2Jred",
        "\x1bcred",
        "\x1b[?1049hred",
        "r\x00e\x08d\x7f",
        "\u202ered\u202c",
        "red\x1b[",
        "red\x1b",
    ],
)
def test_what_a_terminal_would_obey_is_removed(hostile: str) -> None:
    assert plain_text(hostile) == "red"


def test_what_people_write_stays() -> None:
    assert plain_text("Größe L, 三文, 👩‍🔬, naïve — “ok” [1m]") == "Größe L, 三文, 👩‍🔬, naïve — “ok” [1m]"


def test_a_line_stays_one_line_unless_lines_are_wanted() -> None:
    assert plain_text("one\r\ntwo\rthree\tfour\u2028five") == "one two three four five"
    assert plain_text("one\r\ntwo\rthree\tfour", lines=True) == "one\ntwo\nthree\tfour"


def test_a_lone_surrogate_becomes_a_replacement_character() -> None:
    assert plain_text("a\ud83d!") == "a\ufffd!"


@given(st.text(alphabet=st.characters() | st.sampled_from("\x1b\x9b\x07[]m;P\\")))
def test_no_control_character_is_ever_left(text: str) -> None:
    kept = plain_text(text, lines=True)
    assert not any(character < " " and character not in "\t\n" for character in kept)
    assert not any("\x7f" <= character <= "\x9f" for character in kept)


def test_unfinished_sequences_take_time_in_proportion_to_the_text() -> None:
    # A quadratic pattern would need minutes for this; the suite's time limit is the judge.
    assert plain_text("\x1b]" * 200_000) == ""
    assert plain_text("\x1bP" * 200_000 + "end") == ""


@pytest.mark.parametrize(
    ("pico", "text"),
    [
        (0, "$0.00"),
        (14_500_000, "$0.0000145"),
        (12_340_000_000, "$0.0123"),
        (99_900_000_000, "$0.0999"),
        (100_000_000_000, "$0.10"),
        (5_000_000_000_000, "$5.00"),
        (1_204_500_000_000_000, "$1,204.50"),
    ],
)
def test_small_amounts_keep_three_digits(pico: int, text: str) -> None:
    assert usd(pico) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (41.4, "0:41"), (725, "12:05"), (12_011, "3:20:11"), (183_600, "2 d 3 h"), (-3, "0:00")],
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "0%"), (0, 10, "0%"), (1, 1000, "<1%"), (1, 3, "33%"), (999, 1000, "99%"), (10, 10, "100%")],
)
def test_a_share_is_nothing_or_all_only_when_it_is(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 records"), (1, "1 record"), (2, "2 records"), (12_000, "12,000 records")]
)
def test_counts_agree_with_their_noun(number: int, text: str) -> None:
    assert counted(number, "record") == text


def test_an_odd_plural_is_given() -> None:
    assert [counted(number, "reply", "replies") for number in (1, 2)] == ["1 reply", "2 replies"]


def test_the_commonest_kinds_are_named_and_the_rest_summed_up() -> None:
    assert ranked({"timeout": 1}) == "1 (timeout 1)"
    assert ranked({"b": 2, "a": 2, "c": 9, "d": 1, "e": 1, "f": 1}) == "16 (c 9, a 2, b 2, d 1, others 2)"


def test_no_cell_of_a_table_is_cut_off() -> None:
    rows = [("run", "rows"), ("20261122-112009-378-f235", "1,000"), ("x", "7")]
    assert aligned(rows, right={1}) == [
        "run                        rows",
        "20261122-112009-378-f235  1,000",
        "x                             7",
    ]


@given(st.text(alphabet="ab /-.", min_size=1), st.integers(1, 200))
def test_wrapping_loses_no_word_and_breaks_none(text: str, width: int) -> None:
    assert " ".join(wrapped(text, width)).split() == text.split()
    assert wrapped(text, None) == [text]


def test_a_long_text_goes_on_below_itself() -> None:
    assert labelled("sink", "out/a-very-long-name-of-a-file.jsonl: 12 records and more", 40) == [
        "  sink     out/a-very-long-name-of-a-file.jsonl:",
        "           12 records and more",
    ]
