"""The direction of imports, and what a light command may load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
HEAVY = ("anthropic", "aiohttp", "genai_prices", "jsonschema", "uvloop")
"""Of no use to `check`, and costly to import: 1.9, 0.21, 0.20, 0.12 and 0.07 s (measured 2026-11-22, 2 cores)."""


def test_imports_point_the_way_the_contracts_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    status = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert status == 0, capsys.readouterr().out


def loaded_by(tmp_path: Path, *arguments: str) -> set[str]:
    """The top-level packages in memory when the command ends, in a process of its own, in a fresh starter project."""
    program = (
        "import sys, urllib.request\n"
        "urllib.request.build_opener = None\n"  # it reads the system's certificates, from Python 3.12 on
        "import runner.cli\n"
        f"sys.argv = ['runner', *{list(arguments)!r}]\n"
        "try:\n"
        "    runner.cli.main()\n"
        "except SystemExit as leaving:\n"
        "    assert not leaving.code, leaving.code\n"
        "print('loaded:', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded_by(tmp_path, "--help") & {*HEAVY, "jinja2", "yaml"}


def test_check_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded_by(tmp_path, "init", ".")
    assert not loaded_by(tmp_path, "check") & set(HEAVY)


def test_a_run_of_texts_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text\nshort\n", encoding="utf-8")
    (tmp_path / "job.yaml").write_text(
        "name: texts\nmode: parallel\nmodel: claude-haiku-5-5\nparams: {max_tokens: 2000}\n"
        "prompt: '{{ row.text }}'\ndataset: rows.csv\nsinks: [out.jsonl]\n",
        encoding="utf-8",
    )
    loaded = loaded_by(tmp_path, "run", "job.yaml", "--simulate")
    assert "uvloop" in loaded
    assert not loaded & {"anthropic", "aiohttp", "httpx2", "jsonschema", "rich"}


def test_importing_runner_loads_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, runner; print(*sorted(m for m in sys.modules if m.startswith('runner.')))"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
