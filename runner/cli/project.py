"""The project that a command is about: its root, settings, environment and state folder."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from runner import execution
from runner.settings import Settings, find_root, load_settings


class Project(Struct, frozen=True):
    root: Path
    settings: Settings

    @classmethod
    def here(cls) -> Project:
        """The project of the current folder."""
        return cls.at(find_root(Path.cwd()))

    @classmethod
    def of(cls, job: Path) -> Project:
        """The project that a job file belongs to."""
        return cls.at(find_root(job))

    @classmethod
    def at(cls, root: Path) -> Project:
        return cls(root, load_settings(root))

    @property
    def state(self) -> execution.StateFolder:
        return execution.StateFolder(self.settings.state_dir)
