"""The projects that are measured: rows, a job, and a server in a process of its own.

Owns   the drawn texts and the sizes, which are given in tokens as the stand-in counts them.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.bodies import MAX_TOKENS, MODEL
from benchmarks.children import RUNNER, Used, run
from benchmarks.servers import Server, StandIn, lean
from runner.simulator import Latency, Options, Running, launch

BYTES_PER_TOKEN = 40 / 13
"""Of this model, as the stand-in counts (`runner.simulator.models.Card.tokens`)."""
ROW_TOKENS = 200
SYSTEM_TOKENS = 2_000
CONCURRENCY = 64
WAITING = 6
"""The exit status of a run whose batches are at the API."""

JOB = f"""\
name: bench
mode: parallel
model: {MODEL}
params: {{max_tokens: {MAX_TOKENS}}}
system:
  - {{template: system.md.j2, cache: true}}
prompt: "{{{{ row.text }}}}"
dataset: {{path: data/rows.csv, key: id}}
limits: {{max_concurrency: {CONCURRENCY}, max_cost_usd: 100000}}
sinks: [out/bench.jsonl]
"""


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with one job, and the server it is run against."""

    root: Path
    server: Server

    @property
    def api(self) -> Running:
        """The stand-in, where it is one."""
        assert isinstance(self.server, StandIn)
        return self.server.running

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def run(self, job: str, *arguments: str, **environ: str) -> tuple[Used, dict[str, Any]]:
        """Run a job from nothing; returns what it used and its summary. The run's folder stays until the next one."""
        self.clear()
        return self.command("run", job, *arguments, **environ)

    def clear(self) -> None:
        """No run, no output, and a server that knows nothing."""
        for folder in (".runner", "out"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
        self.server.reset()

    def command(self, *arguments: str, **environ: str) -> tuple[Used, dict[str, Any]]:
        """A command that prints a summary; work that waits at the API is as good as finished."""
        used = run(
            (*RUNNER, *arguments, "--format", "json"),
            cwd=self.root,
            environ={**self.server.environ, **environ},
            expected=(0, WAITING),
        )
        summary: dict[str, Any] = json.loads(used.stdout)
        return used, summary

    @property
    def run_folder(self) -> Path:
        """The folder of the one run there is."""
        (folder,) = (self.root / ".runner" / "runs").iterdir()
        return folder


@contextmanager
def project(**options: Any) -> Iterator[Project]:
    """An empty project and a stand-in, both gone afterwards. `options` are those of `runner.simulator.Options`."""
    with _folder() as folder, launch(Options(state=folder / "simulator", **options)) as api:
        latency = options.get("latency", Latency())
        yield Project(folder / "project", StandIn(api, latency.median_s))


@contextmanager
def lean_project(latency_s: float = 0.0, *, reply: str | None = None) -> Iterator[Project]:
    """An empty project and a lean server, which replies with the text `reply`; both gone afterwards."""
    with _folder() as folder, lean(latency_s, reply=reply) as server:
        yield Project(folder / "project", server)


@contextmanager
def projects_by_size(bench: Project, sizes: Iterable[int]) -> Iterator[Mapping[int, Project]]:
    """A project of the bench job for each number of rows, all on one server: to be run one after the other."""
    with ExitStack() as stack:
        found = {}
        for rows in sorted(set(sizes)):
            found[rows] = Project(stack.enter_context(_folder()) / "project", bench.server)
            write_bench_job(found[rows], rows)
        yield found


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "project").mkdir()
        (folder / "project" / "runner.toml").touch()
        yield folder


def write_bench_job(project: Project, rows: int) -> str:
    """The job that throughput and memory are measured with; returns its path."""
    project.write("jobs/bench.yaml", JOB)
    project.write("templates/system.md.j2", shared_text(int(SYSTEM_TOKENS * BYTES_PER_TOKEN)))
    write_rows(project.root / "data" / "rows.csv", rows)
    return "jobs/bench.yaml"


def shared_text(size_bytes: int) -> str:
    """What all rows share: so many bytes of made-up words."""
    draw, words = random.Random(1), _vocabulary()
    return " ".join(draw.choices(words, k=size_bytes // 3))[:size_bytes]


def write_rows(path: Path, rows: int, tokens: int = ROW_TOKENS) -> None:
    """Rows whose texts and keys all differ, the same on every machine."""
    draw, words = random.Random(2), _vocabulary()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows((f"row-{index:07}", f"{index} {_text(draw, words, tokens)}") for index in range(rows))


def texts(rows: int, tokens: int = ROW_TOKENS) -> Iterator[str]:
    """Texts that all differ, the same on every machine."""
    draw, words = random.Random(2), _vocabulary()
    return (f"{index} {_text(draw, words, tokens)}" for index in range(rows))


def _vocabulary() -> list[str]:
    """Made-up words of 2 to 9 letters, frequent letters first, so that texts compress about as well as English."""
    draw = random.Random(3)
    return ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(4_000)]


def _text(draw: random.Random, words: list[str], tokens: int) -> str:
    size = int(tokens * BYTES_PER_TOKEN)
    return " ".join(draw.choices(words, k=size // 4))[:size]
