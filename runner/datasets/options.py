"""What a job may set of the built-in datasets. Light: no reader is imported, so that `check` and `schema` stay
quick."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

TextFormat = Literal["csv", "tsv", "jsonl", "json"]


class TextOptions(BaseModel):
    """Rows from text files: one path, a glob over several, or stdin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        description="csv, tsv, jsonl or json (an array of objects), also .gz .bz2 .xz .zst; "
        "a glob reads all matches in bytewise order; `-` is stdin."
    )
    format: TextFormat | None = Field(
        None, description="The format, where the suffix does not tell it. Default: by suffix; jsonl for stdin."
    )

    @property
    def reads_local_files(self) -> bool:
        """Whether opening it reads local files alone, as often as one likes: `check` may look at its columns."""
        return self.path != "-" and "://" not in self.path


class FilesOptions(BaseModel):
    """A folder of documents: a row a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...] = Field(min_length=1, description="Patterns of paths or URLs; a file is one row.")
    text: bool = Field(True, description="Whether rows have the text of their files.")
    unreadable: Literal["fail", "keep"] = Field(
        "fail", description="What to do about a file that gives no text: tell it, or keep its row without one."
    )

    @property
    def reads_local_files(self) -> bool:
        """As of `TextOptions`."""
        return not any("://" in pattern for pattern in self.files)


class PythonOptions(BaseModel):
    """Rows that a function of the project gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: str = Field(description="`module:function`; what it gives is iterated over.")
    bind: dict[str, Any] = Field(default_factory=dict, description="Its arguments, by name.")

    @property
    def reads_local_files(self) -> bool:
        """Opening it imports the function and calls nothing."""
        return True


class HubOptions(BaseModel):
    """A dataset of the Hugging Face Hub, or a folder of data files that the same library reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    needs: ClassVar[tuple[str, ...]] = ("datasets",)
    """Libraries without which there is no such dataset; `check` looks whether they are here."""

    hub: str = Field(description="`organisation/name`, or a folder from the root.")
    split: str = Field("train", description="Which part of it.")
    subset: str | None = Field(None, description="Which of its configurations.")
    revision: str | None = Field(None, description="A commit, branch or tag.")

    @property
    def reads_local_files(self) -> bool:
        """It is the network's, as a rule, and needs a library that takes seconds to import."""
        return False


class TableOptions(BaseModel):
    """Rows from tables with types: one path, or a glob over several."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    needs: ClassVar[tuple[str, ...]] = ("pyarrow",)

    path: str = Field(description="parquet, arrow (Feather) or orc; a glob reads all matches in bytewise order.")

    @property
    def reads_local_files(self) -> bool:
        """As of `TextOptions`."""
        return "://" not in self.path


class WorkbookOptions(BaseModel):
    """Rows from a sheet of an Excel workbook: one path, or a glob over several."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    needs: ClassVar[tuple[str, ...]] = ("python_calamine",)

    path: str = Field(description="xlsx or xlsm; a glob reads all matches in bytewise order.")
    sheet: str | None = Field(None, description="The sheet's name. Default: the first one.")

    @property
    def reads_local_files(self) -> bool:
        """As of `TextOptions`."""
        return "://" not in self.path
