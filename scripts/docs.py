"""Write the generated pages again: `make docs`.

Owns   the list of files that are made from code, and how each is made. `pages` returns what they should hold; a test
       compares that with what is committed, and says "run `make docs`" when they differ.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import typer
from typer.testing import CliRunner

from runner.cli.app import app
from runner.spec.schema import job_reference, json_schema
from scripts.error_codes import errors_page

ROOT = Path(__file__).resolve().parents[1]
MARKED = "<!-- generated: {name} -->\n{text}<!-- /generated: {name} -->"
CLI_INTRODUCTION = """\
# The command line

Made from the commands' own help by `make docs`. Exit statuses: [what you can rely on](reliability.md#exit-status).

Settings come from, strongest first: a flag, `RUNNER_*` in the environment, `.env`, `runner.toml`, the default. Progress
goes to stderr; stdout has the result. `NO_COLOR` turns styles off, and what is no terminal gets plain lines."""


def pages() -> Mapping[Path, str]:
    """Every generated file and the text it should have."""
    return {
        ROOT / "docs" / "cli.md": cli_page(),
        ROOT / "docs" / "errors.md": errors_page(),
        ROOT / "docs" / "job.md": job_reference(),
        ROOT / "runner" / "examples" / "jobs" / "job.schema.json": schema_text(),
        ROOT / "README.md": readme(),
    }


def schema_text() -> str:
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def cli_page() -> str:
    """The help of every command, as a terminal of 100 columns shows it."""
    command = typer.main.get_command(app)
    names: list[str] = list(getattr(command, "commands", {}))
    parts = [
        CLI_INTRODUCTION,
        help_block(),
        *(f"## runner {name}\n\n{help_block(name)}" for name in names),
    ]
    return "\n\n".join(parts) + "\n"


def help_block(*command: str) -> str:
    result = CliRunner().invoke(
        app,
        [*command, "--help"],
        prog_name="runner",
        terminal_width=100,
        env={"NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"},
    )
    if result.exit_code:
        raise RuntimeError(f"`runner {' '.join(command)} --help` failed: {result.output}")
    text = "\n".join(line.rstrip() for line in result.output.strip("\n").splitlines())
    return f"```text\n{text}\n```"


def readme() -> str:
    """The README with its marked blocks made anew."""
    path = ROOT / "README.md"
    return marked(path.read_text(encoding="utf-8"), "demo", demo())


def marked(page: str, name: str, text: str) -> str:
    start, end = MARKED.format(name=name, text="\0").split("\0")
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise RuntimeError(f"no block marked {name!r}")
    return pattern.sub(lambda _: start + text + end, page)


def demo() -> str:
    """What the commands of the README print, on the stand-in. A run's id and its seconds are other ones each time."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _runner(place, "init", ".")
        summary = _runner(place, "run", "jobs/sentiment.yaml", "--simulate")
        records = (place / "out" / "sentiment.trial.csv").read_text(encoding="utf-8").splitlines()[:5]
    summary = re.sub(r"\((?!simulated)[^\s,()]+, simulated\)", "(…, simulated)", summary)
    summary = re.sub(r"\b\d+:\d\d\b", "0:01", summary)
    shown = [summary.rstrip("\n"), "$ head -n 5 out/sentiment.trial.csv", *records]
    return "```console\n" + "\n".join(shown) + "\n```\n"


def _runner(place: Path, *arguments: str) -> str:
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "RUNNER_"))}
    done = subprocess.run(
        [sys.executable, "-m", "runner.cli", *arguments],
        cwd=place,
        env={**keep, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"`runner {' '.join(arguments)}` ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
