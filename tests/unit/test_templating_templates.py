"""A set of templates: closed and checked when it is loaded, rendered with places in its failures."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from runner.templating import TemplateFailure, TemplateFinder, TemplateNotFound, TemplateSet


def project(tmp_path: Path, **templates: str) -> TemplateFinder:
    folder = tmp_path / "templates"
    folder.mkdir(exist_ok=True)
    for name, text in templates.items():
        (folder / f"{name}.j2").write_text(text)
    return TemplateFinder([folder], tmp_path)


def failures(caught: pytest.ExceptionInfo[TemplateFailure]) -> list[tuple[str | None, int | None, str]]:
    return [(failure.template, failure.line, failure.code) for failure in caught.value.failures]


def test_a_set_holds_all_that_its_templates_name_and_needs_no_file_afterwards(tmp_path: Path) -> None:
    finder = project(
        tmp_path,
        main='{% extends "base.j2" %}{% block body %}{% include "part.j2" %}{% endblock %}',
        base='{% import "macros.j2" as m %}[{% block body %}{% endblock %}]{{ m.end() }}',
        part='{% include ["absent.j2", "one.j2"] %}{% include "gone.j2" ignore missing %}',
        one="{{ row.x }}",
        macros="{% macro end() %}.{% endmacro %}",
        unused="never",
    )
    made = TemplateSet.load(finder, ["main.j2"], {"job.yaml#prompt": '{% include "one.j2" if row.x else "part.j2" %}!'})
    shutil.rmtree(tmp_path / "templates")
    assert set(made.sources) == {"main.j2", "base.j2", "part.j2", "one.j2", "macros.j2", "job.yaml#prompt"}
    assert made.template("main.j2").render({"row": {"x": 1}}) == "[1]."
    assert made.template("job.yaml#prompt").render({"row": {"x": 1}}) == "1!"
    assert made.paths["one.j2"] == tmp_path / "templates/one.j2"
    assert "unused.j2" not in made


def test_a_set_restored_from_its_sources_is_the_same() -> None:
    made = TemplateSet.from_sources({"a": "{% include 'b' %}", "b": "b"})
    again = TemplateSet.from_sources(dict(reversed(list(made.sources.items()))))
    assert again.digest == made.digest
    assert again.template("a").render({}) == "b"


def test_the_digest_is_of_names_and_texts() -> None:
    digests = {
        TemplateSet.from_sources(sources).digest
        for sources in ({"a": "bc"}, {"ab": "c"}, {"a": "b"}, {"a": "bc", "d": ""}, {})
    }
    assert len(digests) == 5
    assert TemplateSet.from_sources({"a": "b", "c": "d"}).digest == (
        "d576b8b53d6d1c38b59c0423b12c72bedf55396feef884636d6dfb373f09a757"
    )


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    finder = project(
        tmp_path,
        a='{% include "nowhere.j2" %}\n{{ row.x | uper }}\n{% if row.x is defind %}{% endif %}\n{% include row.x %}',
        b="\n{% if %}",
        c='{% include "b.j2" %}{{ [1] | map("uper") }}{{ [1] | select("od") }}',
    )
    with pytest.raises(TemplateFailure) as caught:
        TemplateSet.load(finder, ["a.j2", "c.j2", "absent.j2"], {"inline": "{% endfor %}"})
    assert sorted(failures(caught), key=str) == sorted(
        [
            ("a.j2", 1, "template-not-found"),
            ("a.j2", 2, "unknown-filter"),
            ("a.j2", 3, "unknown-test"),
            ("a.j2", 4, "template-name"),
            ("b.j2", 2, "template-syntax"),
            ("c.j2", 1, "unknown-filter"),
            ("c.j2", 1, "unknown-test"),
            ("inline", 1, "template-syntax"),
            (None, None, "template-not-found"),
        ],
        key=str,
    )


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("a\n{{ row.x | uper }}", 2, "there is no filter `uper`", "did you mean `upper`?"),
        ("{{ 1 is od }}", 1, "there is no test `od`", "did you mean `odd`?"),
        ("{% do x %}", 1, "unknown tag 'do'", "{% set %}"),
        ("{{ row.x", 1, "unexpected end of template", "every `{{` needs its `}}`"),
        ("{% if row.x", 1, "unexpected end of template", "every `{%` needs its `%}`"),
        ("{% for x in y %}", 1, "end of template", None),
        ("{% block a %}{% endblock %}\n{% block a %}{% endblock %}", 2, "defined twice", None),
        ("{% autoescape true %}{% endautoescape %}", 1, "`autoescape` is not available", "xml_escape"),
        ("{% include row.x %}", 1, "only known when a row is rendered", '"a.j2" if … else "b.j2"'),
        ("{% extends ['a', 'b'] %}", 1, "only known when a row is rendered", None),
        ("{% macro m() %}{% include 't' without context %}{% endmacro %}", 1, "does not work inside a macro", None),
        ("{% import 'm' as m %}\n{{ m.gret() }}", 2, "has no macro or variable `gret`", "did you mean `greet`?"),
        ("{% from 'm' import gret %}", 1, "has no macro or variable `gret`", "It has: greet"),
        ("{% import 'm' as m %}{{ m.greet() }}", 1, "`row` is not visible here", "as an argument"),
        ("{% include 'm2' without context %}", 1, "`row` is not visible here", "with context"),
        ("{% extends 'self' %}", 1, "extends itself", None),
    ],
)  # fmt: skip
def test_a_template_that_cannot_work_is_refused_when_it_is_loaded(
    tmp_path: Path, text: str, line: int, message: str, hint: str | None
) -> None:
    others = {"m": "{% macro greet() %}{{ row.x }}{% endmacro %}", "m2": "{{ row.x }}", "self": "{% extends 'self' %}"}
    with pytest.raises(TemplateFailure) as caught:
        TemplateSet.load(project(tmp_path), [], {"t": text} | _needed(text, others))
    found = [failure for failure in caught.value.failures if message in failure.message]
    assert found, [failure.message for failure in caught.value.failures]
    assert found[0].line == line
    assert hint is None or hint in (found[0].hint or "")


def _needed(text: str, others: dict[str, str]) -> dict[str, str]:
    return {name: other for name, other in others.items() if f"'{name}'" in text}


def test_a_macro_that_is_not_called_may_use_what_an_importer_does_not_show(tmp_path: Path) -> None:
    finder = project(tmp_path, m="{% macro a() %}{{ row.x }}{% endmacro %}{% macro b() %}b{% endmacro %}")
    made = TemplateSet.load(finder, [], {"t": "{% import 'm.j2' as m %}{{ m.b() }}"})
    assert made.template("t").render({}) == "b"


@pytest.mark.parametrize(
    ("sources", "place"),
    [
        ({"t": "a\nb\n{{ row.typo }}"}, ("t", 3)),
        ({"t": "a\n{% include 'p' %}", "p": "x\n\n{{ row.typo }}"}, ("p", 3)),
        ({"t": "{% import 'm' as m %}\n{{ m.f(row) }}", "m": "\n{% macro f(r) %}\n{{ r.no }}{% endmacro %}"}, ("m", 3)),
        ({"t": "{% extends 'b' %}{% block x %}\n{{ z }}{% endblock %}", "b": "{% block x %}{% endblock %}"}, ("t", 2)),
        ({"t": "{% extends 'b' %}", "b": "\n{{ row.typo }}"}, ("b", 2)),
        ({"t": "\n{% for x in [1] %}\n{{ x.y }}\n{% endfor %}"}, ("t", 3)),
        ({"t": "\n{% set x %}\n{{ row.typo }}{% endset %}"}, ("t", 3)),
        ({"t": "\n{{ row.x\n | int }}"}, ("t", 3)),
        ({"t": "\n{{ [row.x] | map('int') | list }}"}, ("t", 2)),
        ({"t": "{% macro f() %}\n{{ caller() }}{% endmacro %}{% call f() %}\n\n{{ row.typo }}{% endcall %}"}, ("t", 4)),
    ],
)  # fmt: skip
def test_a_failure_names_the_template_and_line_that_failed(sources: dict[str, str], place: tuple[str, int]) -> None:
    with pytest.raises(TemplateFailure) as caught:
        TemplateSet.from_sources(sources).template("t").render({"row": {"x": "abc"}})
    assert (caught.value.template, caught.value.line) == place


@pytest.mark.parametrize(
    ("sources", "text"),
    [
        ({"t": "a\n"}, "a"),
        ({"t": "a\n\n"}, "a\n"),
        ({"t": "{{ row.x }}"}, "x\n"),
        ({"t": "{{ row.x }}\n"}, "x\n"),
        ({"t": "{% include 'p' %}\nnext\n", "p": "part\n"}, "part\nnext"),
        ({"t": "{% extends 'b' %}\n", "b": "[{% block x %}{% endblock %}]\n"}, "[]"),
        ({"t": "{% if true %}\na\n{% endif %}\n"}, "a\n"),
        ({"t": "a\r\nb\r\n"}, "a\nb"),
        ({"t": ""}, ""),
    ],
)
def test_the_last_newline_of_a_template_is_kept_only_where_it_is_included(sources: dict[str, str], text: str) -> None:
    assert TemplateSet.from_sources(sources).template("t").render({"row": {"x": "x\n"}}) == text


def test_a_template_that_is_not_in_the_set_is_told() -> None:
    with pytest.raises(TemplateNotFound, match="no template 'b'"):
        TemplateSet.from_sources({"a": ""}).template("b")


def test_stored_sources_must_be_complete() -> None:
    with pytest.raises(TemplateFailure, match="not among those that were stored"):
        TemplateSet.from_sources({"a": "{% include 'b' %}"})


def test_two_threads_render_one_template() -> None:
    template = TemplateSet.from_sources(
        {
            "t": "{% import 'm' as m %}{% for i in range(200) %}{{ m.f(row.x) }}{% endfor %}",
            "m": "{% macro f(x) %}{{ x }}{% endmacro %}",
        }
    ).template("t")
    results: dict[str, set[str]] = {"a": set(), "b": set()}

    def work(name: str) -> None:
        for _ in range(20):
            results[name].add(template.render({"row": {"x": name}}))

    threads = [threading.Thread(target=work, args=(name,)) for name in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"a": {"a" * 200}, "b": {"b" * 200}}


def test_a_render_that_failed_leaves_nothing_behind() -> None:
    template = TemplateSet.from_sources({"t": "{{ row.x }}"}).template("t")
    with pytest.raises(TemplateFailure):
        template.render({"row": {}})
    assert template.render({"row": {"x": 1}}) == "1"


def test_variables_may_have_any_name() -> None:
    context: dict[str, Any] = {"self": 1, "context": 2, "environment": 3, "class": 4, "row": {"def": 5}}
    text = "{{ context }}{{ environment }}{{ class }}{{ row.def }}"
    assert TemplateSet.from_sources({"t": text}).template("t").render(context) == "2345"
