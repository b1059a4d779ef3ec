"""The sink of a dataset at the Hugging Face Hub: one file, pushed in one commit when the run has ended.

Owns   the push: the dataset is made where it is missing, and what the file held before is in the Hub's history.
Knows  the sink of a file, which writes what is pushed, and the Hub's library, loaded when it is needed.

The token and the address are the library's own (`HF_TOKEN`, `HF_ENDPOINT`, what `hf auth login` has kept). Readers see
the old commit or the new. Killed before the push is noted, the next delivery pushes the same content again, of which
the library makes no second commit.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from msgspec.structs import replace

from runner.encoding import printable
from runner.errors import DeliveryError
from runner.extras import DISTRIBUTION, missing_library
from runner.plugins import sink_for
from runner.sinks import Delivered, Sink, SinkContext
from runner.sinks.options import HubOptions
from runner.types import Record

_SHOWN_CHARS = 500


class HubSink:
    """Records to one file of a dataset at the Hub."""

    Options: ClassVar[type[HubOptions]] = HubOptions

    def __init__(self, options: HubOptions, context: SinkContext) -> None:
        """Raises SpecError for a format there is not, or columns that clash."""
        self._options = options
        self._context = context
        self._name = PurePosixPath(options.file).name
        self._file = self._made(Path("staged"))
        self._staging: Path | None = None
        self._sealed: Delivered | None = None

    def _made(self, folder: Path) -> Sink:
        """The sink of the file that is pushed, in a folder."""
        plugin = sink_for(self._options.file)
        model = plugin.options()
        given = {**self._options.model_dump(), "path": str(folder / self._name), "overwrite": True}
        made: Sink = plugin.load()(
            model(**{name: given[name] for name in model.model_fields if name in given and given[name] is not None}),
            replace(self._context, root=folder.parent),
        )
        return made

    @property
    def kind(self) -> str:
        return "hub"

    @property
    def target(self) -> str:
        return f"{self._options.hub}/{self._options.file}"

    def check(self) -> None:
        """Raises SetupError where the library is missing; asks nothing of the Hub."""
        _library()

    def open(self, staging: Path) -> None:
        self._staging = staging
        self._file = self._made(staging / "file")
        self._file.open(staging / "writing")

    def write(self, records: Sequence[Record]) -> None:
        self._file.write(records)

    def seal(self) -> Delivered:
        if self._sealed is None:
            sealed = self._file.seal()
            self._file.commit()  # into the staging folder, where nobody looks
            self._sealed = replace(sealed, kind=self.kind, target=self.target, sha256=None)
        return self._sealed

    def commit(self) -> None:
        assert self._staging is not None, "the sink is open"
        self.seal()
        hub = _library()
        options = self._options
        try:
            importlib.import_module("huggingface_hub.utils").disable_progress_bars()  # progress is ours to show
            api = hub.HfApi(library_name=DISTRIBUTION)
            api.create_repo(options.hub, repo_type="dataset", private=options.private, exist_ok=True)
            api.create_commit(
                options.hub,
                repo_type="dataset",
                operations=[hub.CommitOperationAdd(options.file, str(self._staging / "file" / self._name))],
                commit_message=f"Write {self._sealed.records if self._sealed else 0:,} records",
            )
        except Exception as error:  # the library raises its own, its HTTP client's, the system's
            raise self._error(error) from error
        self.abort()

    def abort(self) -> None:
        self._file.abort()
        if self._staging is not None:
            (self._staging / "file" / self._name).unlink(missing_ok=True)
            self._staging = None

    def _error(self, error: Exception) -> DeliveryError:
        said = printable(str(error).replace("\n", " ").strip())[:_SHOWN_CHARS]
        return DeliveryError(
            f"{self.target} cannot be pushed to the Hub: {type(error).__name__}: {said}",
            hint="`hf auth whoami` shows whose token is used; then: runner export RUN",
            code="delivery-failed",
        )


def _library() -> Any:
    """Raises SetupError where it is missing."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise missing_library("huggingface_hub", "a push to the Hub") from error
