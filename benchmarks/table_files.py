"""Parquet to parquet: the peak memory of a whole run, and what its sink takes of itself.

The peak is the kernel's, of the runner's process alone; goals are in MB (10^6 bytes). The run goes against the lean
server, whose reply is an output of the job's schema. What the sink takes is measured in a program of its own
(`table_sink`), which holds all records in memory, so that its own peak says nothing.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bodies import MAX_TOKENS, MODEL
from benchmarks.children import Used, run
from benchmarks.project import ROW_TOKENS, lean_project
from benchmarks.results import Section, spread, table, verdict

PEAK_GOAL_MB = 600
"""At most, at 1,000,000 rows."""
SINK_GOAL = 1.5
"""At most so many times pyarrow's own time for the same table."""
IN_FLIGHT = 100
PAIRS = 7
REPLY = '{"label":"positive","score":0.25,"why":"because of what it says about the third of the points"}'
JOB = f"""\
name: bench
mode: parallel
model: {MODEL}
params: {{max_tokens: {MAX_TOKENS}}}
prompt: "{{{{ row.text }}}}"
dataset: {{path: data/rows.parquet, key: id}}
output:
  fields: {{label: [positive, negative], score: number, why: optional string}}
limits: {{max_concurrency: {IN_FLIGHT}, max_cost_usd: 100000}}
sinks: [out/bench.parquet]
"""
_WRITE = """\
import sys
import pyarrow as pa
from pyarrow import parquet
from benchmarks.project import texts
from benchmarks.table_sink import row
schema = pa.schema([("id", "string"), ("text", "string"), ("stars", "int64"), ("price", "double"), ("day", "date32")])
pending = (row(index, text) for index, text in enumerate(texts(int(sys.argv[1]))))
with parquet.ParquetWriter(sys.argv[2], schema) as writer:
    while group := [one for _, one in zip(range(50_000), pending)]:
        writer.write_table(pa.Table.from_pylist(group, schema))
"""
_CHECK = """\
import json, sys
from pyarrow import parquet
found = parquet.ParquetFile(sys.argv[1])
names = found.schema_arrow.names
assert names[:6] == ["key", "id", "text", "stars", "price", "day"], names
types = {field.name: str(field.type) for field in found.schema_arrow}
assert (types["day"], types["output_score"]) == ("date32[day]", "double"), types
print(json.dumps({"rows": found.metadata.num_rows, "groups": found.num_row_groups}))
"""
"""In children of their own: what measures has to stay smaller than what is measured."""


def measure(quick: bool) -> Section:
    """A million rows once."""
    rows = 2_000 if quick else 1_000_000
    used, file_bytes, groups = _whole(rows)
    peak = used.peak_bytes / 1e6
    lines = [
        f"`runner run` over {rows:,} rows of parquet (a key, a text of about {ROW_TOKENS} tokens, an integer, a number",
        f"and a date) with an output schema of three fields, {IN_FLIGHT} in flight against the lean server, to parquet",
        f"of 12 columns ({groups} groups, {file_bytes / 1e6:,.0f} MB): {used.wall_s:,.0f} s, CPU {used.cpu_s:,.0f} s.",
        "",
        f"Peak memory of the whole program, MB: {verdict(peak, PEAK_GOAL_MB, at_least=False, digits=0)}.",
    ]
    raw = {"program": "runner run", "rows": rows, "wall_s": round(used.wall_s, 2), "cpu_s": round(used.cpu_s, 2)}
    return Section("Tables", lines, [{**raw, "peak_bytes": used.peak_bytes, "file_bytes": file_bytes}])


def measure_sink(quick: bool) -> Section:
    """The sink alone, a million records in seven turns."""
    rows, pairs = (2_000, 2) if quick else (1_000_000, PAIRS)
    taken = _taken(rows, pairs)
    wall = {name: [seconds for seconds, _ in turns] for name, turns in taken["taken"].items()}
    cpu = {name: [seconds for _, seconds in turns] for name, turns in taken["taken"].items()}
    ratios = {name: _ratios(wall["sink"], wall[name]) for name in ("bare", "rows")}
    cpu_ratios = {name: _ratios(cpu["sink"], cpu[name]) for name in ("bare", "rows")}
    lines = [
        f"{rows:,} records of such a run to parquet, {pairs} turns. *The sink*: from Python records in portions of 55",
        "to a durable file in its place, with its digest. *Bare*: pyarrow from an Arrow table that is in memory",
        "already, to a file; no fsync, no digest. *From rows*: pyarrow from the same rows as Python dicts",
        "(`Table.from_pylist`), which is where the sink starts. All compress with zstd; row groups have 122,880 rows,",
        "and the sink's at most 48 MB in memory as well.",
        "",
        *table(
            ("", "seconds", "CPU, s", "sink to it", "in CPU"),
            [
                ("the sink", spread(wall["sink"]), spread(cpu["sink"]), "", ""),
                *(
                    (label, spread(wall[name]), spread(cpu[name]), spread(ratios[name]), spread(cpu_ratios[name]))
                    for name, label in (("bare", "bare"), ("rows", "from rows"))
                ),
            ],
        ),
        "",
        f"The sink to bare writing, median of {pairs} pairs:",
        f"{verdict(statistics.median(ratios['bare']), SINK_GOAL, at_least=False)}; to pyarrow from the same rows:",
        f"{verdict(statistics.median(ratios['rows']), SINK_GOAL, at_least=False)}.",
    ]
    raw = [
        {"program": name, "rows": rows, "turn": turn, "wall_s": seconds, "cpu_s": cpu_s}
        for name, turns in taken["taken"].items()
        for turn, (seconds, cpu_s) in enumerate(turns)
    ]
    return Section("The sink of tables", lines, raw)


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def _whole(rows: int) -> tuple[Used, int, int]:
    """A run from parquet to parquet; what it used, and the size of what it wrote."""
    with lean_project(reply=REPLY) as bench:
        bench.write("jobs/bench.yaml", JOB)
        source = bench.root / "data" / "rows.parquet"
        source.parent.mkdir()
        _python(_WRITE, str(rows), str(source), cwd=bench.root)
        used, summary = bench.run("jobs/bench.yaml")
        assert summary["rows"]["succeeded"] == rows, summary
        written = bench.root / "out" / "bench.parquet"
        found = json.loads(_python(_CHECK, str(written), cwd=bench.root).stdout)
        assert found["rows"] == rows, found
        return used, written.stat().st_size, found["groups"]


def _taken(rows: int, pairs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = (sys.executable, "-m", "benchmarks.table_sink", str(rows), str(pairs), folder)
        found: dict[str, Any] = json.loads(run(command, cwd=Path(folder)).stdout)
        return found


def _python(program: str, *arguments: str, cwd: Path) -> Used:
    return run((sys.executable, "-c", program, *arguments), cwd=cwd)
