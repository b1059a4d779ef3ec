"""The dataset of the Hugging Face Hub, streamed by the `datasets` library (extra `hub`).

Owns   the way from `organisation/name` and a split to rows, and what is said where there is none.
Knows  its options and the root: a folder there is read by the same library. Nothing is downloaded as a whole.

Images and sounds come as the bytes that are stored, never decoded: `{image: "{{ row.photo }}"}` takes them. Where only
their address is stored, that is the value. A token, mirrors and caches are the library's own, from the environment
(`HF_TOKEN`, `HF_ENDPOINT`, `HF_HOME`).

Source: datasets 5.2, "Stream", "Process" (`decode`), "Share a dataset".
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

from runner.datasets import DatasetContext, SourceRow
from runner.datasets.options import HubOptions
from runner.datasets.problems import data_error
from runner.errors import InputError, RunnerError, closest
from runner.extras import missing_library
from runner.storage import StorageError
from runner.values import held

_STORED = frozenset({"bytes", "path"})
"""What an image, a sound or a video is, when it is not decoded."""
_MISSING = frozenset({"DatasetNotFoundError", "EmptyDatasetError", "DataFilesNotFoundError", "FileNotFoundError"})


class HubDataset:
    """Rows of one split, in its order."""

    Options: ClassVar[type[HubOptions]] = HubOptions

    def __init__(self, options: HubOptions, context: DatasetContext) -> None:
        """Touches nothing. Raises SetupError where the library is missing."""
        self._options = options
        self._used = context.used
        folder = context.root / options.hub
        self._source = str(folder) if folder.is_dir() else options.hub
        self._name = f"{options.hub}#{options.split}"
        self._opened: Any = None
        try:
            self._library: Any = importlib.import_module("datasets")
        except ImportError as error:
            raise missing_library("datasets", "a dataset of the Hugging Face Hub") from error

    def columns(self) -> tuple[str, ...] | None:
        """Where the dataset's card or its first file says them."""
        opened = self._open()
        names = opened.column_names if opened is not None else None
        return None if names is None else tuple(names)

    def rows(self) -> Iterator[SourceRow]:
        """All rows. Raises InputError and StorageError."""
        with self._told():
            for number, example in enumerate(self._open() or (), start=1):
                yield SourceRow(self._row(example, number), self._name, number)

    def _open(self) -> Any:
        """The library's own dataset; None where no file of the split has a row."""
        if self._opened is None:
            with self._told(), suppress(StopIteration):  # what the library raises where it looks for a first row
                self._library.disable_progress_bars()
                found = self._library.load_dataset(
                    self._source,
                    self._options.subset,
                    split=self._options.split,
                    revision=self._options.revision,
                    streaming=True,
                )
                if found.features is not None:
                    found = found.decode(False)
                names = found.column_names
                if names is not None and self._used is not None:
                    found = found.select_columns([name for name in names if name in self._used])
                self._opened = found
        return self._opened

    def _row(self, example: Mapping[str, Any], number: int) -> dict[str, Any]:
        try:
            return {name: held(_stored(value)) for name, value in example.items()}
        except TypeError as error:
            hint = "take a dataset whose columns are texts, numbers, dates, lists, images or sounds"
            raise data_error("not-a-row", f"row {number}: {error}", self._name, number, hint=hint) from error

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except RunnerError:
            raise
        except Exception as error:  # its own, huggingface_hub's, httpx's, pyarrow's: nothing in common
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> RunnerError:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & _MISSING:
            hint = "look at its name; a private one needs HF_TOKEN"
            return data_error(
                "file-not-found", f"there is no dataset {self._options.hub!r}: {said}", self._name, hint=hint
            )
        if isinstance(error, ValueError) and ("split" in said.lower() or "config" in said.lower()):
            return self._no_part(said)
        if names & {"GatedRepoError", "RepositoryNotFoundError", "PermissionError"}:
            return StorageError(f"{self._name} is not ours to use: {said}", hint="set HF_TOKEN", code="storage-denied")
        if "BatchSize must be greater than 0" in said:
            hint = "remove the file: the library cannot read it"
            return data_error("empty-file", "a parquet file of it has no rows", self._name, hint=hint)
        if names & {"DatasetGenerationError", "CastError", "ArrowInvalid", "DatasetGenerationCastError"}:
            hint = "its files differ in their columns or types: name one of its configurations with `subset`"
            return data_error("damaged-file", f"cannot be read: {said}", self._name, hint=hint)
        failure = StorageError(f"{self._name} cannot be read: {said}", hint="look at the network, then run again")
        failure.passing = True
        return failure

    def _no_part(self, said: str) -> InputError:
        is_split = "split" in said.lower()
        wanted, key = (self._options.split, "split") if is_split else (self._options.subset or "", "subset")
        words = (word.strip("'\"[](),.") for word in said.split())
        near = closest(wanted, [word for word in words if word != wanted])
        hint = f"did you mean `{key}: {near}`?" if near else f"name one of them with `{key}`"
        return data_error("no-such-split", f"{self._options.hub!r} has no such part: {said}", self._name, hint=hint)


def _stored(value: Any) -> Any:
    """The bytes of an image or a sound, or its address where they are not stored."""
    if isinstance(value, Mapping):
        if set(value) == _STORED:
            return value["bytes"] if value["bytes"] is not None else value["path"]
        return {name: _stored(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_stored(item) for item in value]
    return value
