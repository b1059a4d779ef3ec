"""Modules that are loaded when they are first used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runner.deferred import deferred, kept_from_loading


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that nobody has imported, and one that imports it."""
    (tmp_path / "late_module.py").write_text("VALUE = 1\ndef double(number):\n    return 2 * number\n")
    (tmp_path / "early_module.py").write_text("import late_module\ndef value():\n    return late_module.VALUE\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("late_module", "early_module"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "late_module"


def test_a_deferred_module_is_loaded_when_it_is_used(written: str) -> None:
    module = deferred(written)
    assert written not in sys.modules
    assert module.double(4) == 8
    assert written in sys.modules


def test_what_is_changed_in_the_module_is_seen(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = deferred(written)
    assert module.VALUE == 1
    monkeypatch.setattr(sys.modules[written], "VALUE", 2)
    assert module.VALUE == 2


def test_a_name_that_is_not_there_is_missing(written: str) -> None:
    with pytest.raises(AttributeError, match="nothing"):
        deferred(written).nothing  # noqa: B018 - asked for its error


def test_a_module_is_kept_from_loading_until_it_is_used(written: str) -> None:
    with kept_from_loading(written):
        early = __import__("early_module")
    assert written not in sys.modules
    assert early.value() == 1
    assert written in sys.modules


def test_a_module_that_is_loaded_is_left_alone(written: str) -> None:
    late = __import__(written)
    with kept_from_loading(written):
        assert sys.modules[written] is late
    assert sys.modules[written] is late
