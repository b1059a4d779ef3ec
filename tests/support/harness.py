"""The whole program in a child process: a small project on disk, and `runner` run in it as a user would.

project = Project.make(tmp_path, api)
project.job("jobs/x.yaml", rows=20)
done = project.runner("run", "jobs/x.yaml")
assert done.status == 0
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.api import SimulatedApi

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 500.0
"""Ends a child that hangs, before the test's own timeout would (pyproject.toml), however slow the machine is."""

JOB = """\
name: {name}
model: claude-haiku-5-5
params: {{max_tokens: 200}}
prompt: "Judge this: {{{{ row.text }}}}"
dataset: {{path: data/rows.csv, key: id}}
output:
  fields:
    label: [good, bad]
limits: {{max_concurrency: 8, max_cost_usd: 5}}
sinks: [out/{name}.jsonl]
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended. `status` is negative for a signal."""

    status: int
    stdout: str
    stderr: str

    @property
    def summaries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary of the one job that ran with `--format json`."""
        (summary,) = self.summaries
        return summary


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with jobs, and the environment in which `runner` runs there."""

    root: Path
    environ: Mapping[str, str]

    @classmethod
    def make(cls, root: Path, api: SimulatedApi | None = None, **environ: str) -> Project:
        root.mkdir(parents=True, exist_ok=True)
        (root / "runner.toml").touch()
        return cls(root, {**(api.environ if api is not None else {}), **environ})

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def job(self, name: str = "x", *, rows: int = 12, replaced: Mapping[str, str] | None = None) -> Path:
        """The small job that most tests use, with its rows. `replaced` are texts of it that differ."""
        self.rows(rows)
        text = JOB.format(name=name)
        for old, new in (replaced or {}).items():
            assert old in text, f"{old!r} is not in the job"
            text = text.replace(old, new)
        return self.write(f"jobs/{name}.yaml", text)

    def rows(self, count: int, path: str = "data/rows.csv") -> None:
        """Rows whose texts and keys all differ."""
        target = self.write(path, "")
        with target.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "text"])
            writer.writerows((f"k{index}", f"text number {index}") for index in range(count))

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start `runner` and do not wait for it; the caller ends it. `program` is what Python runs as `runner`."""
        return subprocess.Popen(
            [sys.executable, *options.pop("program", ("-m", "runner")), *arguments],
            cwd=self.root,
            env=self._environ(options.pop("environ", {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def _environ(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "RUNNER_"))}
        return {**kept, "PYTHONPATH": str(ROOT), **self.environ, **more}

    def runner(self, *arguments: str, **options: Any) -> Done:
        """Run `runner` to its end: forked where that makes no difference (`support.forked`)."""
        from support.forked import run_forked  # it knows this module

        if options.keys() <= {"environ"}:
            done = run_forked(self, arguments, self._environ(options.get("environ", {})))
            if done is not None:
                return done
        return self._run(*arguments, **options)

    def _run(self, *arguments: str, **options: Any) -> Done:
        with self.start(*arguments, **options) as child:
            try:
                stdout, stderr = child.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                stdout, stderr = child.communicate()
                raise AssertionError(f"runner {' '.join(arguments)} did not end:\n{stderr}") from None
        return Done(child.returncode, stdout, stderr)

    def run(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """`runner run … --format json`: the summary, whatever the exit status."""
        done = self.runner("run", *arguments, "--format", "json", **options)
        assert done.stdout, done.stderr
        return done.summary

    def records(self, path: str = "out/x.jsonl") -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / path).read_bytes().splitlines()]

    def runs(self) -> list[str]:
        folder = self.root / ".runner" / "runs"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


STABLE_FIELDS = ("key", "index", "status", "output", "text", "stop_reason", "row", "model")
"""What of a record is the same however often a run was killed."""


def stable(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: record[name] for name in STABLE_FIELDS} for record in records]
