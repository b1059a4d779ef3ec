"""`runner` in the test's own process: the same `main`, without a second or two of start-up for each command."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from runner.cli import main
from support.harness import Done, Project


@dataclass(frozen=True, slots=True)
class Here:
    """Runs commands in a project's folder and environment. Not for what signals, pipes or a terminal do."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def runner(self, project: Project, *arguments: str, **environ: str) -> Done:
        self.capsys.readouterr()  # what came before belongs to others
        with self.monkeypatch.context() as patch:
            patch.chdir(project.root)
            patch.setattr(sys, "argv", ["runner", *arguments])
            for name, value in {**project.environ, **environ}.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as leaving:
                main()
        assert isinstance(leaving.value.code, int)
        return Done(leaving.value.code, *self.capsys.readouterr())
