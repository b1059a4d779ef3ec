"""Libraries that are not in every installation, and the extra of this distribution that brings each.

Owns   the one sentence that tells of a missing library, with the command that installs it.
Knows  names of modules. The table is held to `pyproject.toml` by a test.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from runner.errors import SetupError

DISTRIBUTION = "rowrunner"

EXTRAS: Mapping[str, str] = {
    "pyarrow": "tables",
    "python_calamine": "tables",
    "xlsxwriter": "tables",
    "duckdb": "duckdb",
    "datasets": "hub",
    "huggingface_hub": "hub",
    "pypdf": "documents",
    "re2": "regex",
    "sqlalchemy": "sql",
    "psycopg": "postgresql",
    "pymysql": "mysql",
    "fsspec": "zip",
    "s3fs": "s3",
    "gcsfs": "gs",
    "adlfs": "az",
    "paramiko": "sftp",
}
"""The module that is imported: the extra that brings it."""


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def missing_library(module: str, what: str, *, extra: str | None = None) -> SetupError:
    """That `what` (`parquet files`, `the connection`) needs a module which is not installed. `extra`: another one than
    the module's own, where that brings more of what is needed."""
    name = module.partition(".")[0]
    known = extra or EXTRAS.get(name)
    hint = install(known) if known else f"pip install {name}"
    return SetupError(f"{what} needs the library {name}, not installed here", hint=hint, code="missing-extra")


def require(module: str, what: str) -> None:
    """Raise SetupError where a library is not installed that `what` (`parquet files`) needs; imports nothing."""
    if importlib.util.find_spec(module) is None:
        raise missing_library(module, what)
