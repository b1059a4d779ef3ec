"""Where sinks write, and what they leave alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from runner.errors import DeliveryError
from runner.sinks.targets import check_target, told, trial_path


@pytest.mark.parametrize(
    ("path", "trial"),
    [
        ("out/x.jsonl", "out/x.trial.jsonl"),
        ("out/x.jsonl.gz", "out/x.trial.jsonl.gz"),
        ("a.b/x.y.csv", "a.b/x.y.trial.csv"),
        ("/abs/x.tsv.ZST", "/abs/x.trial.tsv.ZST"),
        ("x", "x.trial"),
        ("-", "-"),
    ],
)
def test_a_trial_writes_beside_the_target(path: str, trial: str) -> None:
    assert trial_path(path) == trial


def failure(path: Path, *, overwrite: bool = False, known: frozenset[str] = frozenset()) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        check_target(path, "out/x.jsonl", overwrite=overwrite, known_sha256=known)
    return caught.value


def test_a_file_that_somebody_else_wrote_is_protected(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("theirs")
    error = failure(tmp_path / "x.jsonl")
    assert error.code == "foreign-target"
    assert error.message.startswith("out/x.jsonl exists")
    assert error.hint is not None
    assert "overwrite: true" in error.hint


def test_our_own_output_and_an_allowed_one_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("ours")
    known = {hashlib.sha256(b"ours").hexdigest(), "00"}
    check_target(tmp_path / "x.jsonl", "x", overwrite=False, known_sha256=known)
    check_target(tmp_path / "x.jsonl", "x", overwrite=True, known_sha256=())


def test_our_own_output_that_was_edited_is_protected(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("ours, corrected by hand")
    assert (
        failure(tmp_path / "x.jsonl", known=frozenset({hashlib.sha256(b"ours").hexdigest()})).code == "foreign-target"
    )


def test_folders_that_are_not_there_will_be_made(tmp_path: Path) -> None:
    check_target(tmp_path / "a" / "b" / "x.jsonl", "x", overwrite=False, known_sha256=())
    assert not (tmp_path / "a").exists()


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    assert failure(tmp_path, overwrite=True).code == "bad-target"
    assert failure(Path("/dev/null"), overwrite=True).code == "bad-target"


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    assert "is not a folder" in failure(tmp_path / "out" / "deep" / "x.jsonl").message


def test_an_error_of_the_system_names_the_target_and_what_to_do() -> None:
    with pytest.raises(DeliveryError) as caught, told("out/x.jsonl"):
        raise OSError(28, "No space left on device")
    assert caught.value.message == "out/x.jsonl cannot be written: No space left on device"
    assert caught.value.hint is not None
    assert "runner export" in caught.value.hint
