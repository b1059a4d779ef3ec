"""100,000 records into a table of PostgreSQL and of MariaDB: the sink's upsert beside pandas' `to_sql(method="multi")`.

Both are given their rows in memory, in a process of its own, and are timed from the connection to the last commit. The
sink upserts into a table with a primary key: once into an empty one, once over the same rows with other values. pandas,
which knows no upsert, inserts into a table without any index. They take turns.

The servers are those of the tests (`RUNNER_TEST_POSTGRESQL_URL`, `RUNNER_TEST_MARIADB_URL`); the tables are dropped.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.results import ROOT, Section, spread, table, verdict

SERVERS: Mapping[str, tuple[str, str]] = {
    "PostgreSQL": ("RUNNER_TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test"),
    "MariaDB": ("RUNNER_TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/test"),
}
ROWS = 100_000
PANDAS_ROWS_A_STATEMENT = (100, 1_000, 3_000)
"""Tried with a part of the rows before the turns; the fastest is used in them."""
TRIED_ROWS = 20_000
TIMEOUT_S = 300
KINDS = {
    "insert": "the sink, into an empty table",
    "update": "the sink, over the same rows",
    "pandas": '`to_sql(method="multi")`, {chunk} rows a statement',
}


def measure(quick: bool) -> Section:
    """Pairs of the sink and pandas, in turns."""
    turns, rows = (1, 2_000) if quick else (5, ROWS)
    urls = {server: os.environ.get(variable, default) for server, (variable, default) in SERVERS.items()}
    raw: list[dict[str, Any]] = []
    chunks = {server: _fastest(server, url, min(rows, TRIED_ROWS), raw) for server, url in urls.items()}
    for turn in range(turns):
        for server, url in urls.items():
            name = _name()
            for kind in KINDS:
                told = _child(kind, url, name, rows, chunks[server])
                raw.append({"server": server, "kind": kind, "turn": turn, "rows": rows, **told})
            _child("drop", url, name)
    lines = [
        f"{rows:,} records of 8 columns and about 250 characters a turn, {turns} turns; seconds of wall time, and",
        "of the client's processor.",
    ]
    for server in SERVERS:
        of_server = [each for each in raw if each["server"] == server and each["turn"] is not None]
        lines += ["", *_lines(server, of_server, chunks[server])]
    return Section("Tables of databases", lines, raw)


def _name() -> str:
    return f"bench_{secrets.token_hex(4)}"


def _fastest(server: str, url: str, rows: int, raw: list[dict[str, Any]]) -> int:
    """With how many rows a statement pandas is fastest."""
    taken: dict[int, float] = {}
    for chunk in PANDAS_ROWS_A_STATEMENT:
        name = _name()
        told = _child("pandas", url, name, rows, chunk)
        taken[chunk] = told["wall_s"]
        raw.append({"server": server, "kind": "pandas", "turn": None, "rows": rows, "rows_a_statement": chunk, **told})
        _child("drop", url, name)
    return min(taken, key=lambda chunk: taken[chunk])


def _lines(server: str, raw: Sequence[Mapping[str, Any]], chunk: int) -> list[str]:
    by_kind = {kind: [each for each in raw if each["kind"] == kind] for kind in KINDS}
    rows = [
        (
            KINDS[kind].format(chunk=f"{chunk:,}"),
            spread([one["wall_s"] for one in each]),
            spread([one["cpu_s"] for one in each]),
        )
        for kind, each in by_kind.items()
    ]
    slower = [max(one["wall_s"], two["wall_s"]) for one, two in zip(by_kind["insert"], by_kind["update"], strict=True)]
    ratios = sorted(each["wall_s"] / ours for each, ours in zip(by_kind["pandas"], slower, strict=True))
    ratio = ratios[len(ratios) // 2]
    return [
        *table((server, "wall, s", "CPU, s"), rows),
        "",
        f"pandas to the slower of the sink's two, median of the pairs: {verdict(ratio, 1.0, at_least=True)}.",
    ]


def _child(kind: str, url: str, name: str, rows: int = 0, chunk: int = 0) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.sql_sink", kind, url, name, str(rows), str(chunk)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{kind} into {name} failed:\n{done.stderr}")
    told: dict[str, float] = json.loads(done.stdout)
    return told


# -- the children ------------------------------------------------------------------------------------------------------


def _values(number: int, kind: str) -> dict[str, Any]:
    return {
        "key": f"k-{number}",
        "title": f"Review number {number}",
        "text": f"{number} " + "some words of a review that is neither long nor short " * 3,
        "stars": number % 5,
        "label": ("negative", "neutral", "positive")[number % 3],
        "score": number / 7,
        "why": f"{kind}: because it says so in as many words",
        "status": "succeeded",
    }


def _sink(url: str, name: str, rows: int, kind: str) -> None:
    from runner.column_types import INTEGER, STRING
    from runner.connections import Connection
    from runner.sinks import DeliveryId, Part, SinkContext
    from runner.sinks.sql.options import SqlOptions
    from runner.sinks.sql.sink import SqlSink
    from runner.testing.sinks import sample_record

    schema = {"properties": {"label": {"type": "string"}, "score": {"type": "number"}, "why": {"type": "string"}}}
    columns = {
        "key": "key", "title": "row.title", "text": "row.text", "stars": "row.stars", "label": "output.label",
        "score": "output.score", "why": "output.why", "status": "status",
    }  # fmt: skip
    records = [
        sample_record(
            number,
            row={column: values[column] for column in ("title", "text", "stars")},
            output={column: values[column] for column in ("label", "score", "why")},
        )
        for number in range(rows)
        for values in [_values(number, kind)]
    ]
    with TemporaryDirectory() as folder:
        context = SinkContext(
            Path(folder),
            row_columns=("title", "text", "stars"),
            row_types={"title": STRING, "text": STRING, "stars": INTEGER},
            schema=schema,
            connection=Connection(url),
        )
        options = SqlOptions(url=url, table=name, write="merge", unique_key=("key",), columns=columns)
        sink = SqlSink(options, context)
        _engine(url).dispose()  # the libraries are imported before, as pandas' are
        with _Timed():
            sink.begin(DeliveryId(f"bench.{kind}.{name}", "bench", kind))
            step = sink.limits.records
            for number, start in enumerate(range(0, rows, step), 1):
                assert not sink.deliver(Part(number, str(number), records[start : start + step]))
            sink.finish()
            sink.close()


def _pandas(url: str, name: str, rows: int, chunk: int) -> None:
    import pandas as pd

    frame = pd.DataFrame([_values(number, "pandas") for number in range(rows)])
    engine = _engine(url)
    with _Timed():
        frame.to_sql(f"{name}_p", engine, index=False, method="multi", chunksize=chunk)
    engine.dispose()


def _drop(url: str, name: str) -> None:
    import sqlalchemy

    from runner.sinks.sql.options import MARKS

    with _engine(url).connect() as connection:
        for each in (name, f"{name}_p"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {each}")
        if sqlalchemy.inspect(connection).has_table(MARKS):
            connection.exec_driver_sql(f"DELETE FROM {MARKS} WHERE target = '{name}'")
        connection.commit()
    print("{}")


def _engine(url: str) -> Any:
    import sqlalchemy

    scheme, _, rest = url.partition("://")
    driver = {"mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql", "postgresql": "postgresql+psycopg"}
    return sqlalchemy.create_engine(f"{driver.get(scheme, scheme)}://{rest}", poolclass=sqlalchemy.NullPool)


class _Timed:
    """Prints how long what is within it took."""

    def __enter__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
            print(json.dumps({"wall_s": round(wall, 3), "cpu_s": round(cpu, 3)}))


def main() -> None:
    kind, url, name, rows, chunk = sys.argv[1:]
    if kind == "pandas":
        _pandas(url, name, int(rows), int(chunk))
    elif kind == "drop":
        _drop(url, name)
    else:
        _sink(url, name, int(rows), kind)


if __name__ == "__main__":
    main()
