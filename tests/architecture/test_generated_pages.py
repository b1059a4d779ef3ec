"""What is made from code and committed is what the code makes now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
import yaml
from jsonschema import Draft7Validator

from runner.cli.app import app
from scripts.docs import ROOT, pages


@pytest.fixture(scope="module")
def fresh() -> dict[str, str]:
    return {str(path.relative_to(ROOT)): text for path, text in pages().items()}


def test_generated_pages_are_fresh(fresh: dict[str, str]) -> None:
    stale = [name for name, text in fresh.items() if not _same(ROOT / name, text)]
    assert not stale, f"run `make docs` and commit {', '.join(stale)}"


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def test_every_command_and_option_says_what_it_does() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group of commands
    assert len(commands) > 10
    assert [name for name, command in commands.items() if not command.help] == []
    assert [
        f"{name} {parameter.name}"
        for name, command in commands.items()
        for parameter in command.params
        if not parameter.help
    ] == []


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("where-failed", id="selection"),
        pytest.param("null-key", id="keys"),
        pytest.param("not-an-array", id="json"),
        pytest.param("bad-number", id="numbers"),
        pytest.param("header-mismatch", id="csv"),
        pytest.param("unknown-value", id="params"),
        pytest.param("wrong-place", id="a-code-in-a-constant"),
        pytest.param("template-name", id="templates"),
        pytest.param("template-bounds", id="rendering"),
        pytest.param("repeated-key", id="enrolment"),
    ],
)
def test_codes_are_listed_whatever_makes_the_problem(fresh: dict[str, str], code: str) -> None:
    """In the table, or with an example where a broken job has it."""
    page = fresh["docs/errors.md"]
    assert f"| `{code}` | 3 |" in page or f"### {code}\n" in page


def test_every_error_code_says_what_it_means(fresh: dict[str, str]) -> None:
    """A message that the source does not spell out is described in `scripts/error_codes.py`."""
    assert [line for line in fresh["docs/errors.md"].splitlines() if line.endswith("|  |")] == []


def test_the_schema_for_editors_takes_every_example(fresh: dict[str, str]) -> None:
    validator = Draft7Validator(json.loads(fresh["runner/examples/jobs/job.schema.json"]))
    for path in (ROOT / "runner" / "examples" / "jobs").glob("*.yaml"):
        job = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert [error.message for error in validator.iter_errors(job)] == []
