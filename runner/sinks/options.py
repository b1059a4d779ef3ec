"""What a job may set of the built-in sinks. Light: no writer is imported, so that `check` and `schema` stay quick.

Which records a sink gets (`rows`) is not a sink's to decide: it is handed only those.
"""

from __future__ import annotations

import base64
import re
from pathlib import PurePosixPath
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

FileFormat = Literal["jsonl", "csv", "tsv"]
Rows = Literal["all", "succeeded", "failed"]


def expected(what: str) -> PydanticCustomError:
    """To be raised by a validator of Options: `runner check` shows it at the key's place in the job."""
    return PydanticCustomError("sink", "{expected}", {"expected": f"expected {what}"})


class SinkOptions(BaseModel):
    """What every sink of records takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    default_rows: ClassVar[Rows] = "all"
    """Which records it is given where the job does not say."""
    takes_parts: ClassVar[bool] = False
    """Whether its class is a `PartSink`: that may be given records while the run goes on (`when: live`), and is given
    none by a trial."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules that not every installation has: where one is missing, `runner check` says so."""

    columns: dict[str, str] | None = Field(
        None,
        description="Column name to Jinja expression over a record. Default: the whole record, or a table's columns.",
    )
    include_row: bool | tuple[str, ...] = Field(
        True, description="Whether the dataset's row is written too, or which of its columns."
    )


SPREADSHEET = (
    "Put an apostrophe before texts that begin with `=`, `+`, `-`, `@`, tab or carriage return, so that no spreadsheet "
    "computes them. It stays part of the value."
)


class FileOptions(SinkOptions):
    """A file, replaced as a whole when the run has ended."""

    path: str = Field(description="Ends in .jsonl, also with .gz, .bz2, .xz or .zst.")
    format: FileFormat | None = Field(None, description="How records are written. Default: by the suffix.")
    overwrite: bool = Field(False, description="Replace a file that this job did not write.")


class DelimitedOptions(FileOptions):
    """A csv or tsv file."""

    path: str = Field(description="Ends in .csv or .tsv, also with .gz, .bz2, .xz or .zst.")
    spreadsheet: bool = Field(False, description=SPREADSHEET)


Contract = Literal["evolve", "freeze"]
CONTRACT = (
    "`evolve`: the table follows the job, with new columns and wider types. `freeze`: it stays as it is, or as the "
    "output's schema says; a record that does not fit is told, and left out."
)


class TableOptions(SinkOptions):
    """A file of typed columns, replaced as a whole when the run has ended."""

    extra: ClassVar[str] = "tables"
    needs: ClassVar[tuple[str, ...]] = ("pyarrow",)

    path: str
    format: Literal["parquet", "arrow"]
    overwrite: bool = Field(False, description="Replace a table that this job did not write.")
    contract: Contract = Field("evolve", description=CONTRACT)
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] = "zstd"


class ParquetOptions(TableOptions):
    """A parquet file, or a folder of them."""

    path: str = Field(description="Ends in .parquet.")
    format: Literal["parquet"] = "parquet"
    partition_by: tuple[str, ...] = Field(
        (), description="Columns whose values name folders: the table is a folder of files then."
    )


class ArrowOptions(TableOptions):
    """An Arrow file (IPC), which is feather version 2 too."""

    path: str = Field(description="Ends in .arrow or .feather.")
    format: Literal["arrow"] = "arrow"
    compression: Literal["zstd", "lz4", "none"] = "zstd"


class XlsxOptions(SinkOptions):
    """An Excel file of one sheet, replaced as a whole when the run has ended."""

    extra: ClassVar[str] = "tables"
    needs: ClassVar[tuple[str, ...]] = ("xlsxwriter",)

    path: str = Field(description="Ends in .xlsx.")
    format: Literal["xlsx"] = "xlsx"
    overwrite: bool = Field(False, description="Replace a file that this job did not write.")
    spreadsheet: bool = Field(False, description=SPREADSHEET)


class StdoutOptions(SinkOptions):
    """Standard output, written once when the run has ended."""

    path: Literal["-"] = "-"
    format: FileFormat = Field("jsonl", description="How records are written.")


class WebhookOptions(SinkOptions):
    """An address that records are posted to, as JSON."""

    takes_parts: ClassVar[bool] = True

    url: str = Field(repr=False, description="`https://…`; `http://` to this machine alone.")
    headers: dict[str, str] = Field(default_factory=dict, repr=False, description="Sent with each request.")
    signing_secret: str | None = Field(
        None, repr=False, description="What requests are signed with (Standard Webhooks)."
    )
    batch_size: int = Field(100, ge=1, description="Records a request, at most.")

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise expected("an address such as https://example.com/hooks; a database's has a `table` beside it")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise expected("an https:// address: over http:// records, and what signs them, could be read on the way")
        return url

    @field_validator("headers")
    @classmethod
    def _are_free(cls, headers: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        has_user = urlsplit(info.data.get("url", "")).username is not None
        for name, value in headers.items():
            if has_user and name.lower() == "authorization":
                raise expected("no `Authorization` beside a user and a password in `url`, which are one already")
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise expected(f"headers of printable ASCII, in one line each; {name!r} is none")
            if name.lower() in _OWN_HEADERS or name.lower().startswith("webhook-"):
                raise expected(f"no `{name}`, which every request has already")
        return headers

    @field_validator("signing_secret")
    @classmethod
    def _is_key(cls, secret: str | None) -> str | None:
        if secret is not None:
            try:
                known = len(base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)) >= LEAST_KEY_BYTES
            except ValueError:
                known = False
            if not known:
                raise expected(f"`whsec_` and a key in base64, of {LEAST_KEY_BYTES} bytes or more")
        return secret


SECRET_PREFIX = "whsec_"  # noqa: S105 - of every secret
LEAST_KEY_BYTES = 24
"""Standard Webhooks has keys of 24 to 64 bytes."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_OWN_HEADERS = frozenset({"content-type", "content-length", "host", "transfer-encoding", "connection", "user-agent"})


class PythonOptions(SinkOptions):
    """A function of the project that is given lists of records."""

    takes_parts: ClassVar[bool] = True

    python: str = Field(description="`module:function`, found in the project's root first.")
    batch_size: int = Field(1_000, ge=1, description="Records a call, at most.")


class HubOptions(SinkOptions):
    """A dataset of the Hugging Face Hub, which gets one file in one commit when the run has ended."""

    needs: ClassVar[tuple[str, ...]] = ("huggingface_hub",)

    hub: str = Field(description="`owner/name`.")
    file: str = Field("data/train.jsonl", description="The file's place in the dataset; its ending tells the format.")
    private: bool = Field(True, description="Whether a dataset that the push makes is private.")

    @field_validator("hub")
    @classmethod
    def _names_a_dataset(cls, hub: str) -> str:
        if not _REPOSITORY.fullmatch(hub):
            raise expected("a dataset at the Hub as `owner/name`")
        return hub

    @field_validator("file")
    @classmethod
    def _is_inside(cls, file: str) -> str:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise expected("a file's place in the dataset, such as data/train.jsonl")
        return file


_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
