"""A failure carries its place and cure, and survives a trip to another process."""

from __future__ import annotations

import pickle

import pytest

from runner.templating import TemplateFailure, TemplateNotFound, TemplateSet
from runner.templating.failure import did_you_mean


def test_a_failure_reads_as_place_and_message() -> None:
    assert str(TemplateFailure("a.j2", 3, "is wrong")) == "a.j2:3: is wrong"
    assert str(TemplateFailure(None, None, "is wrong")) == "is wrong"


def test_a_failure_can_be_pickled_with_all_it_carries() -> None:
    with pytest.raises(TemplateFailure) as caught:
        TemplateSet.from_sources({"a": "{{ x | uper }}\n{% include 'b' %}", "c": "{{ x | lwer }}"})
    again = pickle.loads(pickle.dumps(caught.value))
    assert [str(failure) for failure in again.failures] == [str(failure) for failure in caught.value.failures]
    assert len(again.failures) == 3
    assert (again.code, again.hint, again.line) == (caught.value.code, caught.value.hint, caught.value.line)
    missing = next(failure for failure in again.failures if isinstance(failure, TemplateNotFound))
    assert (missing.name, missing.template, missing.line) == ("b", "a", 2)


def test_did_you_mean_names_the_near_one_and_all() -> None:
    assert did_you_mean("tone", ["tome", "other"]) == "did you mean `tome`? There are: tome, other"
    assert did_you_mean("zzz", ["a"], what="Columns") == "Columns: a"
    assert did_you_mean("zzz", []) is None
