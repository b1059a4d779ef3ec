"""The closed tables of filters and tests that templates have, each behind a guard.

Owns   which filters and tests there are, why some of Jinja's are not, and the guard around each: a missing name given
       to it is told at once, its text or list is prepared, its result is counted, and an error names the filter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from jinja2.tests import TESTS as JINJA_TESTS

from runner.templating.bounds import active, counted
from runner.templating.failure import Refusal, explain
from runner.templating.list_filters import LIST_FILTERS, OTHER_FILTERS, UNDEFINED_FILTERS
from runner.templating.missing import Missing
from runner.templating.printing import text_of
from runner.templating.text_filters import TEXT_FILTERS, VALUE_FILTERS
from runner.templating.typed_filters import TYPED_FILTERS

NOT_AVAILABLE = {
    "random": "a prompt must be the same on every run, or its answer could not be reused; use `dataset.sample`",
    "attr": "data has items only: `a[name]`",
    "urlize": "it makes HTML, which prompts do not need",
    "xmlattr": "use `xml_escape`",
    "forceescape": "use `escape` or `xml_escape`",
    "pprint": "use `tojson(indent=2)`",
}
"""Filters of Jinja that are left out, and what to do instead."""


def _identity(value: Any) -> Any:
    return value


def _guarded(name: str, function: Callable[..., Any], prepare: Callable[[Any], Any]) -> Callable[..., Any]:
    # Jinja hands a context or environment first to functions that it has marked so.
    place = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def guard(*args: Any, **kwargs: Any) -> Any:
        for arg in args:
            if type(arg) is Missing:
                arg.refuse()
        values = [*args]
        values[place] = prepare(values[place])
        try:
            result = function(*values, **kwargs)
        except (TypeError, ValueError) as error:
            reason = explain(error)
            raise Refusal(f"filter `{name}`: {reason.text}", reason.hint) from error
        if type(result) is str:
            active.get().text(len(result))
        return result

    return guard


def _strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """A test that does not answer for a name that is not there."""

    @wraps(function)
    def guard(*args: Any, **kwargs: Any) -> Any:
        for arg in args:
            if type(arg) is Missing:
                arg.refuse()
        return function(*args, **kwargs)

    return guard


def _is_lower(value: Any) -> bool:
    return text_of(value).islower()


def _is_upper(value: Any) -> bool:
    return text_of(value).isupper()


_OF_VALUES = {**VALUE_FILTERS, **OTHER_FILTERS, **TYPED_FILTERS}
FILTERS: dict[str, Callable[..., Any]] = {
    **{name: _guarded(name, function, text_of) for name, function in TEXT_FILTERS.items()},
    **{name: _guarded(name, function, counted) for name, function in LIST_FILTERS.items()},
    **{name: _guarded(name, function, _identity) for name, function in _OF_VALUES.items()},
    **UNDEFINED_FILTERS,
}

_LENIENT = {"defined", "undefined", "filter", "test"}

_JINJA_TESTS: Mapping[str, Any] = JINJA_TESTS
_ALL_TESTS: dict[str, Callable[..., Any]] = {**_JINJA_TESTS, "lower": _is_lower, "upper": _is_upper}

TESTS: dict[str, Callable[..., Any]] = {
    name: function if name in _LENIENT else _strict(function)
    for name, function in _ALL_TESTS.items()
    if name not in {"callable", "escaped"}
}
