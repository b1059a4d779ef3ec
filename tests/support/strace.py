"""Tests that fail, cut or count system calls by `strace`, which not every machine has or allows."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def _works() -> bool:
    if shutil.which("strace") is None:
        return False
    trial = ["strace", "-f", "-e", "inject=getppid:error=EPERM", "-o", os.devnull, "true"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


needs_strace = pytest.mark.skipif(not _works(), reason="needs strace, allowed to trace")
