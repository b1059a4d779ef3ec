"""How long a command takes that sends nothing, beside an interpreter that only imports what every command needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.children import RUNNER, run
from benchmarks.project import JOB
from benchmarks.results import Section, spread, table

COMMANDS: Mapping[str, Sequence[str]] = {
    "`python -c pass`": (sys.executable, "-c", "pass"),
    "`python -c 'import yaml, jinja2, pydantic'`": (sys.executable, "-c", "import yaml, jinja2, pydantic"),
    "`runner --help`": (*RUNNER, "--help"),
    "`runner check`, one job": (*RUNNER, "check"),
    "`runner plan`, one job of one row": (*RUNNER, "plan", "jobs/bench.yaml"),
    "`python -c 'import anthropic'`": (sys.executable, "-c", "import anthropic"),
}


def measure(quick: bool) -> Section:
    """Wall and CPU time of each command, in turns."""
    repeats = 2 if quick else 10
    with TemporaryDirectory(prefix="bench-") as folder:
        root = _project(Path(folder))
        for command in COMMANDS.values():
            run(command, cwd=root)  # once unmeasured: byte code is written, files are in the page cache
        found = [{name: run(command, cwd=root) for name, command in COMMANDS.items()} for _ in range(repeats)]
    rows = [
        (
            name,
            spread([1000 * turn[name].wall_s for turn in found], 0),
            spread([1000 * turn[name].cpu_s for turn in found], 0),
        )
        for name in COMMANDS
    ]
    return Section("Start-up", [f"{repeats} turns.", "", *table(("command", "wall, ms", "CPU, ms"), rows)])


def _project(root: Path) -> Path:
    for path, text in {
        "runner.toml": "",
        "jobs/bench.yaml": JOB,
        "templates/system.md.j2": "Keep to the rules.\n",
        "data/rows.csv": "id,text\nk0,a text\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root
