"""A folder of files that takes the place of another at once."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from runner.errors import DeliveryError
from runner.sinks import folders
from runner.sinks.folders import StagedFolder, check_folder, digest_of


def staged(root: Path, **files: str) -> StagedFolder:
    folder = StagedFolder(root / "staged" / "part")
    for name, text in files.items():
        folder.file(f"{name}/data").write(text.encode())
    return folder


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_made_where_there_is_none(tmp_path: Path) -> None:
    folder = staged(tmp_path, a="1", b="2")
    sha256 = folder.seal()
    assert sha256 == folder.seal()
    folder.publish(tmp_path / "out/deep/x")
    assert content(tmp_path / "out/deep/x") == {"a/data": "1", "b/data": "2"}
    assert digest_of(tmp_path / "out/deep/x") == sha256
    assert not (tmp_path / "staged/part").exists()


def test_a_folder_is_replaced_and_nothing_of_it_stays(tmp_path: Path) -> None:
    target = tmp_path / "x"
    (target / "stale").mkdir(parents=True)
    (target / "stale/data").write_text("old")
    folder = staged(tmp_path, a="1")
    folder.seal()
    folder.publish(target)
    assert content(target) == {"a/data": "1"}
    assert {path.name for path in tmp_path.iterdir()} == {"x", "staged"}


@pytest.mark.parametrize("fault", ["no exchange", "another file system"])
def test_where_folders_cannot_be_exchanged_they_are_renamed_or_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    target = tmp_path / "x"
    target.mkdir()
    (target / "old").write_text("old")
    folder = staged(tmp_path, a="1", b="2")
    folder.seal()
    if fault == "no exchange":
        monkeypatch.setattr(folders, "_exchange", lambda *_: False)
    else:
        put = folders._put

        def elsewhere(one: Path, other: Path) -> None:
            if one.parent != other.parent:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            put(one, other)

        monkeypatch.setattr(folders, "_put", elsewhere)
    folder.publish(target)
    assert content(target) == {"a/data": "1", "b/data": "2"}
    assert {path.name for path in tmp_path.iterdir()} == {"x", "staged"}
    assert not (tmp_path / "staged/part").exists()


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    folder = staged(tmp_path, a="1")
    folder.seal()
    folder.publish(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "real") == {"a/data": "1"}


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    folder = staged(tmp_path, a="1")
    folder.discard()
    folder.discard()
    assert not (tmp_path / "staged/part").exists()


def check(path: Path, *known: str, overwrite: bool = False) -> None:
    check_folder(path, "x", overwrite=overwrite, known_sha256=known)


def test_only_a_folder_that_is_ours_may_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "x"
    check(target)
    target.mkdir()
    check(target)
    folder = staged(tmp_path, a="1")
    sha256 = folder.seal()
    folder.publish(target)
    check(target, sha256)
    with pytest.raises(DeliveryError, match="this job did not write it"):
        check(target)
    check(target, overwrite=True)
    (target / "a/more").write_text("")
    with pytest.raises(DeliveryError, match="a file in it was added or changed since"):
        check(target, sha256)
    (target / "a/more").unlink()
    (target / "a/data").write_text("2")
    with pytest.raises(DeliveryError, match="this job did not write it"):
        check(target, sha256)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(DeliveryError, match="x is a file, and a partitioned table is a folder"):
        check(tmp_path / "x", overwrite=True)
    with pytest.raises(DeliveryError, match="is not a folder"):
        check(tmp_path / "x" / "y")


def test_the_digest_tells_names_and_contents_apart(tmp_path: Path) -> None:
    digests = set()
    for number, (name, text) in enumerate([("a", "1"), ("a", "2"), ("b", "1")]):
        folder = tmp_path / str(number)
        (folder / name).mkdir(parents=True)
        (folder / name / "data").write_text(text)
        digests.add(digest_of(folder))
    assert len(digests) == 3
