"""The names that other programs rely on: taking one away, or adding one, is a decision."""

from __future__ import annotations

import importlib.metadata

import pytest

import runner


def test_the_public_names_are_these() -> None:
    assert sorted(runner.__all__) == [
        "Failure",
        "Record",
        "Result",
        "Row",
        "RunnerError",
        "Usage",
        "__version__",
        "arun",
        "load",
        "plan",
        "resume",
        "revalidate",
        "run",
    ]


@pytest.mark.parametrize("name", runner.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(runner, name)
    assert value.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'runn'"):
        runner.runn  # type: ignore[attr-defined]  # noqa: B018 - what is missing is the subject


def test_the_version_is_the_distribution_s() -> None:
    assert runner.__version__ == importlib.metadata.version(runner.DISTRIBUTION)
