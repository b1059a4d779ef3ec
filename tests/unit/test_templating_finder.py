"""Where templates are found, and what can never be one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.templating import TemplateFailure, TemplateFinder, TemplateNotFound


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "project/templates/review.md.j2": "in templates",
        "project/templates/parts/rubric.md.j2": "rubric",
        "project/templates/.hidden.j2": "hidden",
        "project/templates/.git/config.j2": "hidden",
        "project/more/extra.j2": "extra",
        "project/review.md.j2": "in root",
        "project/root.j2": "root",
        "project/.env": "SECRET=1",
        "project/.runner/state.j2": "state",
        "project/state/state.j2": "state",
        "outside/secret.j2": "secret",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "project"


def finder(root: Path) -> TemplateFinder:
    return TemplateFinder([root / "templates", root / "more"], root, [root / ".runner", root / "state"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("review.md.j2", "in templates"),
        ("parts/rubric.md.j2", "rubric"),
        ("extra.j2", "extra"),
        ("root.j2", "root"),
        ("templates/review.md.j2", "in templates"),
    ],
)
def test_template_folders_come_before_the_root(root: Path, name: str, text: str) -> None:
    path, found = finder(root).find(name)
    assert found == text
    assert path.is_relative_to(root)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../outside/secret.j2",
        "parts/../review.md.j2",
        "parts/../../../outside/secret.j2",
        "/etc/passwd",
        "/proc/self/environ",
        "//etc/passwd",
        "./review.md.j2",
        "parts//rubric.md.j2",
        "parts\\rubric.md.j2",
        "review.md.j2\0",
        ".env",
        ".hidden.j2",
        ".git/config.j2",
        ".runner/state.j2",
        "state/state.j2",
        "templates",
        "review.md.j2/x",
        "a" * 5_000,
    ],
)
def test_a_name_that_leaves_the_folders_or_is_hidden_is_no_template(root: Path, name: str) -> None:
    with pytest.raises(TemplateFailure):
        finder(root).find(name)


@pytest.mark.parametrize("name", [".env", ".hidden.j2", ".nowhere.j2", "parts/.git/x.j2"])
def test_a_hidden_name_is_refused_before_it_is_looked_for(root: Path, name: str) -> None:
    with pytest.raises(TemplateNotFound, match="dotfiles are never templates"):
        finder(root).find(name)


def test_a_missing_template_names_every_place_and_a_near_name(root: Path) -> None:
    with pytest.raises(TemplateNotFound) as caught:
        finder(root).find("reveiw.md.j2")
    hint = caught.value.hint or ""
    assert "looked for templates/reveiw.md.j2\nlooked for more/reveiw.md.j2\nlooked for reveiw.md.j2" in hint
    assert "did you mean `review.md.j2`?" in hint
    assert ".hidden" not in hint
    assert caught.value.name == "reveiw.md.j2"
    assert caught.value.template is None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("../../outside/secret.j2", "leaves the template folders"),
        ("/etc/hostname", "leaves the template folders"),
        ("/proc/self/environ", "leaves the template folders"),
        ("/dev/stdin", "leaves the template folders|leads nowhere"),
        ("../.env", "hidden"),
        ("../.runner/state.j2", "state folder"),
        ("nowhere", "leads nowhere"),
        ("link.j2", "leads nowhere"),
    ],
)
def test_a_link_is_judged_by_where_it_leads(root: Path, target: str, message: str) -> None:
    (root / "templates/link.j2").symlink_to(target)
    with pytest.raises(TemplateFailure, match=message):
        finder(root).find("link.j2")


def test_a_link_inside_the_folders_is_a_template(root: Path) -> None:
    (root / "templates/link.j2").symlink_to("../root.j2")
    assert finder(root).find("link.j2")[1] == "root"


def test_a_folder_that_is_a_link_may_lead_out_if_the_author_named_it(root: Path) -> None:
    (root / "shared").symlink_to(root.parent / "outside")
    assert TemplateFinder([root / "shared"], root).find("secret.j2")[1] == "secret"


def test_a_pipe_is_no_template(root: Path) -> None:
    os.mkfifo(root / "templates/pipe.j2")
    with pytest.raises(TemplateFailure, match="not a regular file"):
        finder(root).find("pipe.j2")


def test_text_that_is_not_utf_8_is_told_with_its_line(root: Path) -> None:
    (root / "templates/latin.j2").write_bytes(b"one\ntwo \xe9\n")
    with pytest.raises(TemplateFailure, match="not UTF-8") as caught:
        finder(root).find("latin.j2")
    assert (caught.value.template, caught.value.line, caught.value.code) == ("latin.j2", 2, "not-utf8")
    assert caught.value.message == "the template 'latin.j2' is not UTF-8 text: byte 0xe9 in line 2"


def test_a_byte_order_mark_is_no_text(root: Path) -> None:
    (root / "templates/bom.j2").write_bytes(b"\xef\xbb\xbfhi")
    assert finder(root).find("bom.j2")[1] == "hi"


def test_a_huge_file_is_no_template(root: Path) -> None:
    (root / "templates/huge.j2").write_text("x" * (2**20 + 1))
    with pytest.raises(TemplateFailure, match="larger than"):
        finder(root).find("huge.j2")
