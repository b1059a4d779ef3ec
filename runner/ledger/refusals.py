"""The errors that more than one module of the ledger raises, so that each has one wording and one code."""

from __future__ import annotations

from pathlib import Path

from runner.errors import LedgerError


def damaged(message: str) -> LedgerError:
    """Something that was durable is broken or missing."""
    return LedgerError(
        message, code="damaged", hint="restore the run's folder from a backup, or start a run with --new"
    )


def disk_full(path: Path) -> LedgerError:
    return LedgerError(
        f"no space left for {path}", code="disk-full", hint="free some space, then continue with `runner resume`"
    )


def disk_error(path: Path, why: object) -> LedgerError:
    return LedgerError(
        f"the disk failed under {path}: {why}",
        code="disk-error",
        hint="nothing that was acknowledged is lost; check the disk, then continue with `runner resume`",
    )
