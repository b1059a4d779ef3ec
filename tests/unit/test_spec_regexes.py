"""Regular expressions over what a model wrote are RE2's."""

from __future__ import annotations

import sys

import pytest

from runner.errors import SetupError
from runner.spec.regexes import BadRegex, compile_regex


def test_an_expression_is_compiled_with_its_groups() -> None:
    assert dict(compile_regex(r"(?P<a>\w+) (?:x|y)").groupindex) == {"a": 1}


@pytest.mark.parametrize("text", ["(", "(?=a)", r"(a)\1", "(a)(b)", "(?P<a>a)(b)", "\ud800"])
def test_what_cannot_be_used_is_told_with_a_cure(text: str) -> None:
    with pytest.raises(BadRegex) as caught:
        compile_regex(text)
    assert caught.value.message
    assert caught.value.hint


def test_nothing_is_written_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadRegex):
        compile_regex("(")
    assert capfd.readouterr().err == ""


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(SetupError) as caught:
        compile_regex("a")
    assert (caught.value.code, caught.value.hint) == ("missing-extra", "pip install 'rowrunner[regex]'")
