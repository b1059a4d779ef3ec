"""The suite of sinks that take parts: it passes one that keeps its contract, and catches those that break it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.sinks import DeliveryId, Part, Refused
from runner.testing.part_sinks import check_part_sink
from support.part_sinks import FolderSink


class Forgetful(FolderSink):
    """Says after a crash that it has nothing."""

    def begin(self, delivery: DeliveryId) -> int | None:
        super().begin(delivery)
        return 0


class Unfenced(FolderSink):
    """Takes parts of whoever gives them."""

    def deliver(self, part: Part) -> Sequence[Refused]:
        (self._folder / "owner").write_text(self._owner)
        return super().deliver(part)


class Lossy(FolderSink):
    """Loses the last record of a part."""

    def deliver(self, part: Part) -> Sequence[Refused]:
        return super().deliver(replace(part, records=part.records[:-1]))


def held_to(kind: type[FolderSink], folder: Path, *, marks: bool = True, is_replaced: bool = False) -> None:
    def make() -> FolderSink:
        return kind(folder, marks=marks, records=100, is_replaced=is_replaced)

    check_part_sink(
        make,
        lambda: make().received(),
        clear=lambda: shutil.rmtree(folder, ignore_errors=True),
        keeps_mark=marks,
    )


@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_sink_that_keeps_its_contract_passes(tmp_path: Path, marks: bool, is_replaced: bool) -> None:
    held_to(FolderSink, tmp_path / "t", marks=marks, is_replaced=is_replaced)


@pytest.mark.parametrize("kind", [Forgetful, Unfenced, Lossy])
def test_a_sink_that_breaks_it_is_caught(tmp_path: Path, kind: type[FolderSink]) -> None:
    with pytest.raises(AssertionError):
        held_to(kind, tmp_path / "t")
