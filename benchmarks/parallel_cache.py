"""The stand-in's bill beside the least possible one: a single write of every cached prefix, then reads.

The least bill is worked out from the books: the requests that have an answer (a request that only fills the cache has
none), with as many writes as there are prefixes, all else read. A bare loop, which sends everything at once, stands
beside it.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.bodies import MAX_TOKENS, MODEL
from benchmarks.programs import JOB, Done, bare_loop, runner
from benchmarks.project import BYTES_PER_TOKEN, SYSTEM_TOKENS, Project, project, shared_text, write_bench_job
from benchmarks.rates import FIELDS, rates
from benchmarks.results import Section, spread, table, verdict
from benchmarks.servers import StandIn
from runner.simulator import Latency

GOAL = 1.01
"""At most so many times the least possible bill."""
IN_FLIGHT = (50, 200, 800)
QUESTIONS = 6
DOCUMENT_TOKENS = 1_000
LATENCY_S = 0.1

DOCUMENTS_JOB = f"""\
name: documents
mode: parallel
model: {MODEL}
params: {{max_tokens: {MAX_TOKENS}}}
messages:
  - role: user
    content:
      - {{text: "{{{{ row.document }}}}", cache: true}}
      - "{{{{ row.question }}}}"
dataset: {{path: data/rows.csv, key: id}}
limits: {{max_concurrency: 200, max_cost_usd: 100000}}
sinks: [out/bench.jsonl]
"""

_SUMS = (
    "count(*), sum(input_tokens), sum(output_tokens), "
    "sum(cache_read_input_tokens + ephemeral_5m_input_tokens + ephemeral_1h_input_tokens)"
)


@dataclass(frozen=True, slots=True)
class Billed:
    """What the books say of one run, and what they could have said at best."""

    done: Done
    requests: int
    writes: int
    reads: int
    pico: int
    least_pico: int

    @property
    def ratio(self) -> float:
        return self.pico / self.least_pico

    @classmethod
    def of(cls, done: Done, bench: Project, prefixes: int) -> Billed:
        assert isinstance(bench.server, StandIn)
        requests, pico, writes, reads = bench.server.query(
            "SELECT count(*), sum(cost_pico), sum(ephemeral_5m_input_tokens + ephemeral_1h_input_tokens > 0), "
            "sum(cache_read_input_tokens > 0) FROM billed"
        )[0]
        answered, uncached, output, cached = bench.server.query(f"SELECT {_SUMS} FROM billed WHERE output_tokens > 0")[
            0
        ]
        assert answered == done.rows, f"{answered:,} answers for {done.rows:,} rows"
        size = cached // answered
        assert size * answered == cached, "the prefixes differ in length"
        counts = (uncached, output, size * (answered - prefixes), size * prefixes)
        least = sum(count * rates()[field] for count, field in zip(counts, FIELDS, strict=True))
        return cls(done, requests, writes, reads, pico, least)


def measure(quick: bool) -> Section:
    """One shared block, then documents with their questions, at several numbers in flight."""
    turns = 1 if quick else 5
    rows, documents = (300, 20) if quick else (2_000, 500)
    counts = IN_FLIGHT[1:2] if quick else IN_FLIGHT
    raw: list[dict[str, Any]] = []

    def part(
        what: str, send: Callable[[Project, int, int], Done], write: Callable[[Project], int], prefixes: int
    ) -> list[list[Billed]]:
        found = []
        with project(latency=Latency(LATENCY_S)) as bench:
            total = write(bench)
            for in_flight in counts:
                billed = [Billed.of(send(bench, total, in_flight), bench, prefixes) for _ in range(turns)]
                found.append(billed)
                raw.extend(
                    one.done.raw(
                        what=what, turn=turn, requests=one.requests, writes=one.writes, reads=one.reads, ratio=one.ratio
                    )
                    for turn, one in enumerate(billed)
                )
        return found

    def shared(bench: Project) -> int:
        write_bench_job(bench, rows)
        return rows

    parts = {
        "one shared block": part("shared", runner, shared, 1),
        "one shared block, a bare loop": part("shared", bare_loop, shared, 1),
        f"{documents} documents, questions together": part(
            "documents", runner, lambda bench: _write_documents(bench, documents, together=True), documents
        ),
        f"{documents} documents, questions far apart": part(
            "documents apart", runner, lambda bench: _write_documents(bench, documents, together=False), documents
        ),
    }
    ours = [one for name, found in parts.items() if "bare" not in name for billed in found for one in billed]
    lines = [
        f"{rows:,} rows behind a shared block of {SYSTEM_TOKENS:,} tokens; {documents} documents of",
        f"{DOCUMENT_TOKENS:,} with {QUESTIONS} questions each, the rows of a document one after the other or a whole",
        f"round of questions apart. Replies take {1000 * LATENCY_S:.0f} ms and begin after a quarter of it; {turns}",
        "turns, the cache empty before each.",
        "",
        *table(
            ("", "in flight", "rows", "requests", "cache writes", "reads", "bill to the least possible"),
            [_row(name, billed) for name, found in parts.items() for billed in found],
        ),
        "",
        f"Runner's worst: {verdict(max(one.ratio for one in ours), GOAL, at_least=False, digits=3)} of the least bill.",
    ]
    return Section("Prompt cache", lines, raw)


def _row(name: str, billed: Sequence[Billed]) -> tuple[str, ...]:
    done = billed[0].done
    return (
        name,
        str(done.in_flight),
        f"{done.rows:,}",
        spread([one.requests for one in billed], 0),
        spread([one.writes for one in billed], 0),
        spread([one.reads for one in billed], 0),
        spread([one.ratio for one in billed], 3),
    )


def _write_documents(bench: Project, documents: int, *, together: bool) -> int:
    """Rows of documents and questions; returns how many. Every document differs from its first words on."""
    bench.write(JOB, DOCUMENTS_JOB)
    size = int(DOCUMENT_TOKENS * BYTES_PER_TOKEN)
    text = shared_text(2 * size)
    draw = random.Random(5)
    texts = [f"{number:05} {text[(start := draw.randrange(size)) : start + size - 6]}" for number in range(documents)]
    questions = [f"Question {number}: what does it say of point {number}?" for number in range(QUESTIONS)]
    pairs = [(document, question) for document in range(documents) for question in range(QUESTIONS)]
    if not together:
        pairs.sort(key=lambda pair: pair[1])
    path = bench.root / "data" / "rows.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "document", "question"])
        writer.writerows((f"{number:05}-{which}", texts[number], questions[which]) for number, which in pairs)
    return len(pairs)
