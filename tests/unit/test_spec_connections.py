from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import Problem, SpecError, render_problem
from runner.settings import load_settings
from runner.spec.connections import ConnectionReader
from runner.spec.environment import Substitution
from runner.spec.node import MapNode
from runner.spec.source import read_yaml

TOML = """\
[connections]
warehouse = "postgresql://reader:${PASSWORD}@db/shop"
archive = {url = "${ARCHIVE_URL}", options = {sslmode = "require", passfile = "/run/pass"}}
bad = "postgresql://reader:hunter2@db/shop"
worse = {url = "mysql://db/shop", options = {password = "hunter2"}}
file = "shop.db"
"""
ENVIRONMENT = {
    "PASSWORD": "hunter2",
    "ARCHIVE_URL": "mysql://me:hunter2@archive/shop",
    "NAME": "warehouse",
    "ODD": "x1y2",
}


def read(root: Path, job: str, toml: str = TOML, *, lenient: bool = False) -> ConnectionReader:
    (root / "runner.toml").write_text(toml)
    reader = ConnectionReader(load_settings(root, ENVIRONMENT), lenient=lenient)
    tree = read_yaml(job.encode(), "jobs/j.yaml").root
    assert isinstance(tree, MapNode)
    reader.found = reader.read(tree, Substitution(ENVIRONMENT).apply(tree))  # type: ignore[attr-defined]
    return reader


def problem(root: Path, job: str, toml: str = TOML) -> Problem:
    reader = read(root, job, toml)
    (found,) = reader.problems
    assert "hunter2" not in render_problem(found)
    return found


@pytest.mark.parametrize("written", ["warehouse", "${NAME}"])
def test_a_name_is_looked_up_in_the_settings(tmp_path: Path, written: str) -> None:
    reader = read(tmp_path, f'dataset: {{url: "{written}"}}\n')
    (connection,) = reader.found.values()  # type: ignore[attr-defined]
    assert reader.problems == []
    assert (connection.name, connection.parts.password) == ("warehouse", "hunter2")
    assert connection.shown == "warehouse (postgresql://db/shop)"
    assert "hunter2" not in repr(reader.found)  # type: ignore[attr-defined]


def test_a_url_and_a_connection_with_options(tmp_path: Path) -> None:
    reader = read(tmp_path, 'sinks: [{url: "postgresql://me@db/shop"}, {url: archive}, {path: a.csv}]\n')
    url, archive = reader.found.values()  # type: ignore[attr-defined]
    assert (url.name, url.options) == (None, {})
    assert archive.options == {"sslmode": "require", "passfile": "/run/pass"}


def test_what_a_dataset_is_crossed_with_has_connections_too(tmp_path: Path) -> None:
    reader = read(tmp_path, "dataset: {cross: {question: {url: warehouse}, other: {path: a.csv}}}\n")
    assert [connection.name for connection in reader.found.values()] == ["warehouse"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("written", "code", "place", "words"),
    [
        ("warehous", "unknown-connection", "jobs/j.yaml:1:16", "did you mean `warehouse`?"),
        ("${ODD}", "unknown-connection", "jobs/j.yaml:1:16", "Connections: warehouse"),
        ("postgresql://me:hunter2@db/shop", "secret-in-file", "jobs/j.yaml:1:16", "${NAME}"),
        ("bad", "secret-in-file", "runner.toml:4:1", "${NAME}"),
        ("worse", "secret-in-file", "runner.toml:5:1", "${NAME}"),
        ("file", "bad-url", "runner.toml:6:1", "postgresql://"),
    ],
)
def test_what_is_wrong_with_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, code: str, place: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = problem(tmp_path, f'dataset: {{url: "{written}"}}\n')
    assert (found.code, str(found.where)) == (code, place)
    assert words in str(found.hint)
    assert "x1y2" not in found.message


def test_a_variable_of_a_connection_is_asked_for_by_the_job_that_uses_it(tmp_path: Path) -> None:
    toml = '[connections]\nwarehouse = "${NOT_SET}"\nother = "sqlite:///a.db"\n'
    assert read(tmp_path, "dataset: {url: other}\n", toml).problems == []
    assert problem(tmp_path, "dataset: {url: warehouse}\n", toml).code == "unset-variable"
    lenient = read(tmp_path, "dataset: {url: warehouse}\n", toml, lenient=True)
    assert [warning.severity for warning in lenient.warnings] == ["warning"]
    assert lenient.problems == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("warehouse = 5", "the connection `warehouse` is no URL"),
        ("warehouse = {}", "the connection `warehouse` has no `url`"),
        ('warehouse = {url = "a://b", optoins = {}}', "`optoins` is no key of a connection"),
        ('"a b" = "a://b"', "`a b` cannot be the name of a connection"),
        ('warehouse = {url = "a://b", options = 5}', "`connections.warehouse.options` must be a table"),
    ],
)
def test_the_form_of_connections_is_checked_for_all_of_them(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "runner.toml").write_text(f"[connections]\n{line}\n")
    with pytest.raises(SpecError) as caught:
        load_settings(tmp_path, {})
    (found,) = caught.value.problems
    assert found.message == message
    assert str(found.where).endswith(":2:1")
