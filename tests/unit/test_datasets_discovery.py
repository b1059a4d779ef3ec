"""Paths and globs become files in a fixed order; what is not there is told with what is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.datasets.discovery import display_name, find_files
from runner.errors import InputError


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")


def found(pattern: str, root: Path) -> list[str]:
    return [display_name(path, root) for path in find_files(pattern, root)]


def failure(pattern: str, root: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        find_files(pattern, root)
    return caught.value


def test_a_glob_is_sorted_by_bytes(tmp_path: Path) -> None:
    make(tmp_path, "d/b.csv", "d/B.csv", "d/é.csv", "d/a.csv", "d/a-1.csv", "d/z.csv")
    assert found("d/*.csv", tmp_path) == ["d/B.csv", "d/a-1.csv", "d/a.csv", "d/b.csv", "d/z.csv", "d/é.csv"]


def test_two_stars_go_through_folders_and_leave_out_hidden_files(tmp_path: Path) -> None:
    make(tmp_path, "d/a.csv", "d/x/y/b.csv", "d/.hidden.csv", "d/.git/c.csv")
    (tmp_path / "d/folder.csv").mkdir()
    assert found("d/**/*.csv", tmp_path) == ["d/a.csv", "d/x/y/b.csv"]


def test_a_file_that_links_lead_to_again_is_read_once(tmp_path: Path) -> None:
    make(tmp_path, "d/a.csv", "d/b.csv")
    (tmp_path / "d/loop").symlink_to(tmp_path / "d")
    (tmp_path / "d/c.csv").symlink_to(tmp_path / "d/b.csv")
    assert found("d/**/*.csv", tmp_path) == ["d/a.csv", "d/b.csv"]


def test_a_name_with_magic_characters_that_exists_is_that_file(tmp_path: Path) -> None:
    make(tmp_path, "reviews[1].csv", "reviews1.csv")
    assert found("reviews[1].csv", tmp_path) == ["reviews[1].csv"]


def test_magic_characters_in_the_root_are_no_pattern(tmp_path: Path) -> None:
    root = tmp_path / "job [1]*"
    make(root, "a.csv", "b.csv")
    assert found("*.csv", root) == ["a.csv", "b.csv"]


def test_an_absolute_path_is_named_in_full(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/a.csv")
    root = tmp_path / "root"
    root.mkdir()
    assert found(str(tmp_path / "elsewhere" / "*.csv"), root) == [str(tmp_path / "elsewhere" / "a.csv")]


def test_a_missing_file_names_near_matches(tmp_path: Path) -> None:
    make(tmp_path, "data/reviews.csv", "data/other.txt")
    error = failure("data/review.csv", tmp_path)
    assert error.code == "file-not-found"
    assert error.hint == "did you mean `reviews.csv`?"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    make(tmp_path, "data/reviews.csv")
    error = failure("date/2026/reviews.csv", tmp_path)
    assert "has no folder 'date'" in error.message
    assert error.hint == "did you mean `data`?"


def test_a_glob_that_matches_nothing_says_what_is_there(tmp_path: Path) -> None:
    make(tmp_path, "data/reviews.csv")
    error = failure("data/*.jsonl", tmp_path)
    assert error.message == "no file matches 'data/*.jsonl'"
    assert error.hint is not None
    assert "'reviews.csv'" in error.hint


def test_a_folder_is_no_dataset(tmp_path: Path) -> None:
    make(tmp_path, "data/reviews.csv")
    assert failure("data", tmp_path).code == "not-a-file"


def test_a_pipe_is_refused_rather_than_read_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    error = failure("pipe.csv", tmp_path)
    assert error.code == "not-a-file"
    assert error.hint is not None
    assert "stdin" in error.hint
