"""`RESULTS.md`: one section a benchmark, replaced as a whole when it is measured again.

Owns   the file's form, and what is said of the machine and the moment beside every figure.
Knows  nothing of what is measured.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.clock import SystemClock

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
RAW = ROOT / "benchmarks" / "raw"

INTRODUCTION = """\
# Measured figures

Written by `python -m benchmarks`; each section names the command that wrote it, the commit and the machine. Every
figure is of a whole program in a child process, against the stand-in API or a lean server in another process on the
same machine, which so shares its cores. "Median (least–most)" of the repetitions; the figures of every single run are
in [raw](raw).
"""


@dataclass(frozen=True, slots=True)
class Section:
    """What one benchmark found: Markdown lines under a title, and where it keeps them the figures of every single run
    in the order in which they were taken."""

    title: str
    lines: Sequence[str]
    raw: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when; `load` is the average number of runnable processes in the minute before."""

    text: str
    load: float

    @classmethod
    def look(cls) -> Machine:
        python = f"Python {platform.python_version()}"
        system = f"{platform.system()} {platform.machine()}"
        return cls(f"{os.cpu_count()} cores ({_processor()}), {python}, {system}", os.getloadavg()[0])


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median with the least and the most, or the one value there is."""
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]


def write_section(path: Path, section: Section, machine: Machine, *, command: str) -> None:
    """Put a section in its place in the file, or at its end."""
    now = SystemClock().now()
    stamp = [
        f"{now:%Y-%m-%d %H:%M} UTC · commit {_commit()} · `{command}`  ",
        f"{machine.text} · load before {machine.load:.1f}",
    ]
    text = "\n".join([f"## {section.title}", "", *stamp, "", *section.lines, ""])
    before = path.read_text(encoding="utf-8") if path.exists() else INTRODUCTION
    parts = re.split(r"(?m)^(?=## )", before)
    kept = [text if part.startswith(f"## {section.title}\n") else part.rstrip("\n") + "\n" for part in parts]
    if text not in kept:
        kept.append(text)
    path.write_text("\n".join(kept), encoding="utf-8")


def write_raw(folder: Path, name: str, section: Section, machine: Machine, *, command: str) -> None:
    """Keep the single figures beside the tables: a JSON object a run, after one that says where and when."""
    if not section.raw:
        return
    folder.mkdir(exist_ok=True)
    about = {"at": f"{SystemClock().now():%Y-%m-%dT%H:%MZ}", "commit": _commit(), "command": command}
    lines = [{**about, "machine": machine.text, "load": round(machine.load, 2)}, *section.raw]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def verdict(found: float, goal: float, *, at_least: bool, digits: int = 2) -> str:
    """A figure beside its goal, and whether it is there: a benchmark that misses its goal says so."""
    met = found >= goal if at_least else found <= goal
    word = "at least" if at_least else "at most"
    return f"**{found:,.{digits}f}** (goal: {word} {goal:,.{digits}f}{'' if met else ', **missed**'})"


def _commit() -> str:
    commit = _git("rev-parse", "--short=10", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "runner")
    return f"{commit} with changes" if changed else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
