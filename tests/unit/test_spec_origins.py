"""Which files a row may name: those of the project, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.catalog.api import MAX_REQUEST_BYTES
from runner.spec.origins import LocalFiles, Unreadable, origin_of


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    root, outside, data = tmp_path / "project", tmp_path / "outside", tmp_path / "data"
    for folder in (root / "photos", root / ".runner", root / ".git", outside, data):
        folder.mkdir(parents=True)
    for path in (
        root / "photos/a.png",
        root / ".runner/x",
        root / ".git/config",
        root / ".env",
        outside / "secret",
        data / "b.png",
    ):
        path.write_text(path.name)
    (root / "photos/inside").symlink_to(root / "photos/a.png")
    (root / "photos/out").symlink_to(outside / "secret")
    (root / "photos/hidden").symlink_to(root / ".env")
    (root / "shared").symlink_to(data)
    return LocalFiles(root, (data,), (root / ".runner",))


@pytest.mark.parametrize("name", ["photos/a.png", "./photos/a.png", "photos/../photos/a.png", "photos/inside"])
def test_a_row_may_name_what_lies_in_the_project(files: LocalFiles, name: str) -> None:
    assert files.of_row(name) == b"a.png"


def test_a_row_may_name_what_lies_in_a_data_folder(files: LocalFiles, tmp_path: Path) -> None:
    assert files.of_row(str(tmp_path / "data/b.png")) == files.of_row("shared/b.png") == b"b.png"


@pytest.mark.parametrize(
    "name",
    ["../outside/secret", "/etc/passwd", "photos/out", "photos/hidden", ".env", ".git/config", ".runner/x",
     "../outside/not-there", "/not/there", "photos/../.env"],
)  # fmt: skip
def test_nothing_else_is_read_nor_told_of(files: LocalFiles, name: str) -> None:
    with pytest.raises(Unreadable) as refused:
        files.of_row(name)
    assert refused.value.code in ("outside", "file-not-found")
    assert (refused.value.code == "file-not-found") == refused.value.missing
    if name.startswith(("../outside/not", "/not")):
        assert refused.value.code == "outside", "whether it is there is nobody's business"


def test_the_author_of_a_job_may_name_any_file(files: LocalFiles, tmp_path: Path) -> None:
    assert files.trusted(str(tmp_path / "outside/secret")) == b"secret"


@pytest.mark.parametrize("name", ["photos/none.png", "photos/a.png/x", "none/at/all"])
def test_a_file_that_is_not_there_is_missing(files: LocalFiles, name: str) -> None:
    with pytest.raises(Unreadable) as refused:
        files.of_row(name)
    assert refused.value.missing


def test_a_project_that_is_reached_by_a_link_misses_a_file_all_the_same(files: LocalFiles, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "project")
    linked = LocalFiles(tmp_path / "link", (), (tmp_path / "link/.runner",))
    assert linked.of_row("photos/a.png") == b"a.png"
    with pytest.raises(Unreadable) as refused:
        linked.of_row("photos/none.png")
    assert refused.value.missing, "so that `optional` does without it"


def test_a_link_out_of_the_project_tells_nothing_of_what_is_there(files: LocalFiles, tmp_path: Path) -> None:
    (tmp_path / "project/away").symlink_to(tmp_path / "outside")
    for name in ("away/secret", "away/not-there"):
        with pytest.raises(Unreadable) as refused:
            files.of_row(name)
        assert refused.value.code == "outside", name


def test_a_link_in_a_circle_leads_nowhere(files: LocalFiles, tmp_path: Path) -> None:
    (tmp_path / "project/circle").symlink_to("circle")
    with pytest.raises(Unreadable) as refused:
        files.of_row("circle/a.png")
    assert refused.value.missing


def test_a_folder_and_a_file_that_is_too_large_are_no_content(files: LocalFiles, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="not a regular file"):
        files.of_row("photos")
    with (tmp_path / "project/large").open("wb") as file:
        file.truncate(MAX_REQUEST_BYTES + 1)
    with pytest.raises(Unreadable, match="32,000,001 bytes"):
        files.of_row("large")
    with pytest.raises(Unreadable, match="NUL"):
        files.of_row("a\0b")


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("file_011CNha8iCJcU1wXNR6q4V8w", "file-id"),
        ("https://example.org/a b.png?x=1", "url"),
        ("s3://bucket/key", "store"),
        ("gs://bucket/key", "store"),
        ("az://container/blob", "store"),
        ("photos/a.png", "path"),
        ("file_1.png", "path"),
        ("C:\\photos\\a.png", "path"),
        ("12:30, a photo.png", "path"),
        ("data:report.pdf", "path"),
    ],
)
def test_a_text_says_where_content_is(text: str, origin: str) -> None:
    assert origin_of(text) == origin


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("hf://datasets/org/name/a.png", "bad-source"),
        ("http://example.org/a.png", "bad-source"),
        ("ftp://example.org/a.png", "bad-source"),
        ("file:///etc/passwd", "bad-source"),
        ("data:image/png;base64,iVBO", "bad-source"),
    ],
)
def test_other_addresses_are_refused(text: str, code: str) -> None:
    with pytest.raises(Unreadable) as refused:
        origin_of(text)
    assert refused.value.code == code
