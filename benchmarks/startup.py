"""How long a command takes that sends nothing, beside an interpreter that only imports what such a program needs; and
how long it takes until the first request is at the server.

`pydantic_settings` is no dependency of runner's: it is installed for the measurement, alone, into a folder that is gone
afterwards, so that everything is imported from one environment. Where it cannot be had, `pydantic` stands for it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.children import RUNNER, Used, run
from benchmarks.programs import NAMES, Done, Program, bare_loop, figures, runner, sdk_loop
from benchmarks.project import CONCURRENCY, JOB, lean_project, projects_by_size
from benchmarks.results import ROOT, Section, spread, table, verdict

GOAL = 0.35 / 0.25
"""`runner --help` within 0.35 s where the imports take 0.25."""
INSTALL_TIMEOUT_S = 120

HELP, CHECK = "`runner --help`", "`runner check`, one job"


def measure(quick: bool) -> Section:
    """Wall and CPU time of each command, in turns; then the first request, in turns."""
    repeats, turns = (1, 1) if quick else (15, 5)
    with TemporaryDirectory(prefix="bench-") as folder:
        root = _project(Path(folder))
        floor = "yaml, jinja2, pydantic"
        if not quick and _install_settings(Path(folder) / "settings"):
            floor = "yaml, jinja2, pydantic_settings"
        floor_name = f"`python -c 'import {floor}'`"
        commands: Mapping[str, Sequence[str]] = {
            "`python -c pass`": (sys.executable, "-c", "pass"),
            floor_name: (sys.executable, "-c", f"import {floor}"),
            HELP: (*RUNNER, "--help"),
            CHECK: (*RUNNER, "check"),
            "`runner plan`, one job of one row": (*RUNNER, "plan", "jobs/bench.yaml"),
            "`python -c 'import anthropic'`": (sys.executable, "-c", "import anthropic"),
        }
        environ = {"PYTHONPATH": f"{ROOT}:{Path(folder) / 'settings'}"}
        for command in commands.values():
            run(
                command, cwd=root, environ=environ
            )  # once unmeasured: byte code is written, files are in the page cache
        found = [
            {name: run(command, cwd=root, environ=environ) for name, command in commands.items()}
            for _ in range(repeats)
        ]
    raw: list[dict[str, Any]] = [
        {"command": name, "turn": turn, "wall_s": round(used.wall_s, 4), "cpu_s": round(used.cpu_s, 4)}
        for turn, each in enumerate(found)
        for name, used in each.items()
    ]
    ratio = statistics.median(each[HELP].wall_s / each[floor_name].wall_s for each in found)
    lines = [
        f"{repeats} turns.",
        "",
        *table(("command", "wall, ms", "CPU, ms"), [_row(name, [each[name] for each in found]) for name in commands]),
        "",
        f"{HELP} to the imports: {verdict(ratio, GOAL, at_least=False)}, from 0.35 s where they take 0.25.",
        "",
        *_first_requests([1] if quick else [1, 20_000], turns, raw),
    ]
    return Section("Start-up", lines, raw)


def _row(name: str, used: Sequence[Used]) -> tuple[str, ...]:
    return (
        name,
        spread([1000 * one.wall_s for one in used], 0),
        spread([1000 * one.cpu_s for one in used], 0),
    )


def _first_requests(sizes: Sequence[int], turns: int, raw: list[dict[str, Any]]) -> list[str]:
    """From the start of the program until the lean server has the head of its first request."""
    programs: Sequence[Program] = (runner, sdk_loop, bare_loop)
    found: dict[tuple[str, int], list[Done]] = {}
    with lean_project() as bench, projects_by_size(bench, sizes) as places:
        for turn in range(turns):
            for count, place in places.items():
                for program in programs:
                    if count > 1 and program is sdk_loop:
                        continue  # it would take a minute for its rows
                    one = program(place, count, CONCURRENCY)
                    found.setdefault((one.program, count), []).append(one)
                    raw.append(one.raw(turn=turn, first_request_s=round(one.first_request_s, 4)))
    return [
        f"From its start to the first request, in {turns} turns (runner copies all rows to its folder before):",
        "",
        *table(
            ("", "rows", "s"),
            [
                (NAMES[name], f"{count:,}", spread(figures(each, lambda one: one.first_request_s)))
                for (name, count), each in found.items()
            ],
        ),
    ]


def _install_settings(folder: Path) -> bool:
    """Whether `pydantic_settings` is there now. What it needs, the environment has."""
    command = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder))
    try:
        done = subprocess.run(
            [*command, "pydantic-settings"], check=False, capture_output=True, timeout=INSTALL_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


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
