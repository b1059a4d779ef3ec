"""Jobs whose rows come from a database or a query, from the job file to the requests and the run's folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from runner.clock import SystemClock
from runner.errors import InputError, Problem, SetupError, SpecError
from runner.execution.checking import check_jobs
from runner.execution.enrolment import Trial, enrolled_rows
from runner.settings import load_settings
from runner.spec.load import LoadedJob, load
from support.databases import execute, postgresql_schema

JOB = """\
model: claude-haiku-5-5
params: {max_tokens: 4096}
prompt: "{{ row.body }}"
"""


@pytest.fixture
def database() -> Iterator[tuple[str, str]]:
    """A URL, and a schema with the table `tickets`."""
    with postgresql_schema() as (url, schema):
        execute(
            url,
            f"CREATE TABLE {schema}.tickets (id int, body text, opened date)",
            f"INSERT INTO {schema}.tickets SELECT i, 'body ' || i, date '2026-01-01' + i FROM generate_series(1, 5) i",
        )
        yield url, schema


def loaded(root: Path, dataset: str, environ: Mapping[str, str], files: Mapping[str, str] | None = None) -> LoadedJob:
    for name, text in {"jobs/tickets.yaml": JOB + dataset, **(files or {})}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load(root / "jobs/tickets.yaml", environ=environ)


def rows(job: LoadedJob) -> list[Mapping[str, object]]:
    return [enrolled.row.values for enrolled in enrolled_rows(job, Trial())]


def test_a_job_reads_by_a_named_connection_with_bound_values(tmp_path: Path, database: tuple[str, str]) -> None:
    url, schema = database
    dataset = f"""\
vars: {{since: "2026-01-04", most: 2}}
dataset:
  sql: |
    select id, body, opened from {schema}.tickets
    where opened >= :since::date and body <> :not
    order by id limit :most
  url: warehouse
  bind: {{since: "{{{{ vars.since }}}}", most: "{{{{ vars.most }}}}", not: "${{NOT}}"}}
  key: id
"""
    settings = {"runner.toml": '[connections]\nwarehouse = "${DATABASE_URL}"\n'}
    job = loaded(tmp_path, dataset, {"DATABASE_URL": url, "NOT": "body 3"}, settings)
    assert [row["id"] for row in rows(job)] == [4, 5]


def test_a_statement_in_a_file_is_read_and_stored_with_the_run(tmp_path: Path, database: tuple[str, str]) -> None:
    url, schema = database
    dataset = 'dataset: {sql: {file: q.sql}, url: "${DATABASE_URL}", key: id}\n'
    statement = f"select id, body from {schema}.tickets order by id\n"
    job = loaded(tmp_path, dataset, {"DATABASE_URL": url}, {"q.sql": statement})
    assert len(rows(job)) == 5
    job.store(tmp_path / "inputs")
    assert json.loads((tmp_path / "inputs/files.json").read_text()) == {"q.sql": statement}


def test_a_run_goes_on_without_the_database_and_holds_no_secret(tmp_path: Path, database: tuple[str, str]) -> None:
    url, schema = database
    dataset = f"""\
dataset:
  sql: "select id, body from {schema}.tickets where body <> :hidden order by id"
  url: "${{DATABASE_URL}}"
  bind: {{hidden: "${{HIDDEN}}"}}
  key: id
"""
    secret = url.replace("postgres@", "postgres:hunter2@")
    job = loaded(tmp_path, dataset, {"DATABASE_URL": secret, "HIDDEN": "hunter3"})
    assert len(rows(job)) == 5
    job.store(tmp_path / "inputs")
    stored = "".join(path.read_text() for path in (tmp_path / "inputs").iterdir())
    assert "hunter" not in stored
    assert "hunter" not in repr(job)
    restored = LoadedJob.restore(tmp_path / "inputs", load_settings(tmp_path, {}))
    assert restored.job.messages == job.job.messages
    assert restored.connections == {}


@pytest.mark.parametrize(
    ("statement", "place", "words"),
    [
        ("select id, body\n    frm nothing", ":7:9", "syntax error"),
        ("select id,\n      boddy from SCHEMA.tickets", ":7:7", 'column "boddy" does not exist'),
        ("select id as body,\n    body from SCHEMA.tickets", ":6:18", "two columns are called 'body'"),
        ("select id, bodi from (select 1 as id, 2 as bodi) q", ":3:10", "no column `body`"),
    ],
)
def test_what_the_database_says_is_told_at_its_place_in_the_job(
    tmp_path: Path, database: tuple[str, str], statement: str, place: str, words: str
) -> None:
    url, schema = database
    dataset = f"""\
dataset:
  sql: |
    {statement.replace("SCHEMA", schema)}
  url: "{url}"
  key: id
"""
    job = loaded(tmp_path, dataset, {})
    with pytest.raises((InputError, SpecError)) as caught:
        rows(job)
    problem = caught.value.problems[0]
    assert words in problem.message
    if "no column" not in words:
        assert str(problem.where).endswith(f"tickets.yaml{place}")


def checked(root: Path, dataset: str, files: Mapping[str, str] | None = None, *, data: bool = False) -> list[Problem]:
    for name, text in {"jobs/tickets.yaml": JOB + dataset, **(files or {})}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (found,) = check_jobs([root / "jobs/tickets.yaml"], profile=None, data=data, clock=SystemClock())
    return list(found.problems)


def test_check_connects_to_nothing(tmp_path: Path) -> None:
    dataset = 'dataset: {sql: "select id, body from t order by id", url: "postgresql://me@127.0.0.1:1/shop", key: id}\n'
    assert checked(tmp_path, dataset) == []
    (problem,) = checked(tmp_path, dataset, data=True)
    assert problem.code == "cannot-connect"


def test_check_needs_no_variable(tmp_path: Path) -> None:
    dataset = 'dataset: {sql: "select id, body from t", url: "${NO_SUCH_DATABASE}", key: id}\n'
    (problem,) = checked(tmp_path, dataset)
    assert (problem.code, problem.severity) == ("unset-variable", "warning")


@pytest.mark.parametrize(
    ("dataset", "code", "message"),
    [
        ('{sql: "select 1 as body", url: "sqlite:///no.db", key: body}', "file-not-found", "there is no file `no.db`"),
        ('{sql: "select 1 as body", url: "postgrsql://h/d", key: body}', "unknown-database", "'postgrsql'"),
        ('{sql: "select 1 as body", url: "postgresql+asyncpg://h/d", key: body}', "bad-url", "asyncpg"),
    ],
)
def test_check_tells_what_this_machine_shows(tmp_path: Path, dataset: str, code: str, message: str) -> None:
    (problem,) = checked(tmp_path, f"dataset: {dataset}\n")
    assert problem.code == code
    assert message in problem.message
    assert str(problem.where).endswith("tickets.yaml:4:41") or problem.where is not None


def test_rows_without_key_and_order_are_warned_of(tmp_path: Path) -> None:
    dataset = "dataset: {query: \"from 'a.csv'\"}\n"
    (problem,) = checked(tmp_path, dataset)
    assert (problem.code, problem.severity) == ("unordered", "warning")
    assert checked(tmp_path, "dataset: {query: \"from 'a.csv' order by 1\"}\n") == []


def test_check_data_reads_every_row_of_a_query(tmp_path: Path) -> None:
    dataset = "dataset: {query: \"from 'a.csv' order by id\"}\n"
    assert checked(tmp_path, dataset, {"a.csv": "id,body\n1,x\n"}, data=True) == []
    (problem,) = checked(tmp_path, dataset, {"a.csv": "id,text\n1,x\n"}, data=True)
    assert problem.code == "unknown-column"


def test_check_imports_no_driver(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    dataset = 'dataset: {sql: "select 1 as body", url: "postgresql://h/d", key: body}\n'
    (tmp_path / "jobs/a.yaml").write_text(JOB + dataset)
    script = f"""\
import sys
from runner.cli import main
sys.argv = ["runner", "check", {str(tmp_path / "jobs/a.yaml")!r}]
main()
loaded = [name for name in ("sqlalchemy", "psycopg", "pymysql", "duckdb", "pyarrow", "fsspec") if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_password_that_is_refused_is_told_before_anything_is_stored(tmp_path: Path) -> None:
    dataset = 'dataset: {sql: "select 1 as body", url: "${DATABASE_URL}", key: body}\n'
    job = loaded(tmp_path, dataset, {"DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/shop"})
    with pytest.raises(SetupError) as caught:
        rows(job)
    assert caught.value.code == "cannot-connect"
    assert "hunter2" not in str(caught.value.problems)


def test_a_missing_library_is_told_with_the_extra_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.databases._is_installed", lambda _module: False)
    job = loaded(tmp_path, 'dataset: {sql: "select 1 as body", url: "postgresql://h/d", key: body}\n', {})
    with pytest.raises(SetupError) as caught:
        rows(job)
    assert caught.value.hint == "pip install 'rowrunner[postgresql]'"
    (problem,) = checked(tmp_path, "dataset: {query: \"from 'a.csv' order by 1\"}\n")
    assert (problem.code, problem.hint) == ("missing-extra", "pip install 'rowrunner[duckdb]'")


def test_a_missing_library_of_a_table_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.execution.sources.importlib.util.find_spec", lambda _module: None)
    (tmp_path / "a.parquet").touch()
    (problem,) = checked(tmp_path, "dataset: {path: a.parquet}\n")
    assert (problem.code, problem.hint) == ("missing-extra", "pip install 'rowrunner[tables]'")


def test_a_stored_statement_in_a_file_is_restored(tmp_path: Path) -> None:
    dataset = "dataset: {query: {file: q.sql}, key: id}\n"
    job = loaded(tmp_path, dataset, {}, {"q.sql": "from 'a.csv'"})
    job.store(tmp_path / "inputs")
    (tmp_path / "q.sql").unlink()
    restored = LoadedJob.restore(tmp_path / "inputs", load_settings(tmp_path, {}))
    assert restored.job.dataset == job.job.dataset
    assert restored.files == {"q.sql": "from 'a.csv'"}
