"""A folder of documents: a row a file, its text, and what is said of files that give none."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pypdf
import pytest

from runner.datasets import DatasetContext
from runner.datasets import documents as documents_module
from runner.datasets.files import FilesDataset
from runner.datasets.options import FilesOptions
from runner.errors import InputError
from support.media import pdf, picture
from support.stores import S3Store


def encrypted(password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(1)))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    data = io.BytesIO()
    writer.write(data)
    return data.getvalue()


def blank_page() -> bytes:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    data = io.BytesIO()
    writer.write(data)
    return data.getvalue()


def folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def rows(root: Path, *files: str, **options: Any) -> list[dict[str, Any]]:
    dataset = FilesDataset(FilesOptions(files=files, **options), DatasetContext(root))
    found = [dict(row.values) for row in dataset.rows()]
    assert all(tuple(row) == dataset.columns() for row in found)
    return found


def test_each_file_is_a_row(tmp_path: Path) -> None:
    folder(
        tmp_path,
        {
            "docs/b.md": "# Título\n".encode(),
            "docs/a.TXT": b"\xef\xbb\xbfplain",
            "docs/deep/page.html": b"<title>Page</title><p>Text</p>",
            "docs/deep/scan.pdf": pdf(2),
            "docs/photo.png": picture(40, 30),
            "docs/.hidden.md": b"no",
        },
    )
    found = rows(tmp_path, "docs/**/*")
    assert [row["path"] for row in found] == [
        "docs/a.TXT",
        "docs/b.md",
        "docs/deep/page.html",
        "docs/deep/scan.pdf",
        "docs/photo.png",
    ]
    text, markdown, page, scan, photo = found
    assert text == {"path": "docs/a.TXT", "name": "a.TXT", "suffix": ".txt", "size": 8, "text": "plain", "pages": None}
    assert markdown["text"] == "# Título\n"
    assert page["text"] == "Page\n\nText"
    assert scan["pages"] == 2
    assert "invoice" in scan["text"]
    assert (photo["text"], photo["pages"]) == (None, None)


def test_patterns_are_read_in_turn_and_a_file_once(tmp_path: Path) -> None:
    folder(tmp_path, {"b.md": b"b", "a.txt": b"a"})
    assert [row["path"] for row in rows(tmp_path, "*.md", "*")] == ["b.md", "a.txt"]


def test_without_text_nothing_is_opened(tmp_path: Path) -> None:
    folder(tmp_path, {"a.pdf": b"%PDF-1.7 damaged"})
    assert rows(tmp_path, "*.pdf", text=False) == [{"path": "a.pdf", "name": "a.pdf", "suffix": ".pdf", "size": 16}]


def test_a_pdf_that_any_reader_opens_is_not_encrypted(tmp_path: Path) -> None:
    folder(tmp_path, {"a.pdf": encrypted("")})
    assert "invoice" in rows(tmp_path, "a.pdf")[0]["text"]


@pytest.mark.parametrize(
    ("name", "data", "code", "message"),
    [
        ("a.pdf", encrypted("secret"), "encrypted-file", "is encrypted"),
        ("a.pdf", pdf(1)[:200], "damaged-file", "is a damaged PDF"),
        ("a.pdf", b"%PDF-1.7\n" + b"\0" * 100, "damaged-file", "is a damaged PDF"),
        ("a.pdf", blank_page(), "no-text", "holds no text"),
        ("a.txt", b"", "empty-file", "is empty"),
        ("a.md", b" \n\n", "empty-file", "has no text in it"),
        ("a.html", b"<script>x</script>", "empty-file", "has no text in it"),
        ("a.txt", b"caf\xe9", "not-utf8", "is no UTF-8 text"),
        ("a.txt", "café".encode("utf-16"), "not-utf8", "is text in UTF-16"),
        ("a.html", b"<p>caf\xe9", "not-utf8", "is not utf-8, as it says: byte 7 is 0xe9"),
        ("a.html", b"<meta charset=klingon>", "not-utf8", "declares an encoding that is not known"),
        ("a.docx", b"PK\x03\x04\x00", "wrong-format", "is a ZIP archive, as Word"),
        ("a.tif", b"II*\x00\xff", "wrong-format", "is a TIFF image"),
        ("a.bin", b"\x00\x01\x02", "not-utf8", "is no UTF-8 text"),
    ],
)
def test_a_file_without_text_is_told(tmp_path: Path, name: str, data: bytes, code: str, message: str) -> None:
    folder(tmp_path, {name: data, "ok.txt": b"ok"})
    with pytest.raises(InputError) as caught:
        rows(tmp_path, "*")
    (problem,) = caught.value.problems
    assert problem.code == code
    assert message in problem.message
    assert problem.where is not None
    assert problem.where.file == name
    assert "unreadable: keep" in str(problem.hint)
    kept = {row["path"]: row for row in rows(tmp_path, "*", unreadable="keep")}
    assert kept[name]["text"] is None
    assert message in kept[name]["problem"]
    assert kept["ok.txt"]["problem"] is None


def test_several_files_are_told_at_once_and_no_row_after_them_comes(tmp_path: Path) -> None:
    folder(tmp_path, {"a.txt": b"a", "b.txt": b"", "c.txt": b"c", "d.txt": b"\xff"})
    dataset = FilesDataset(FilesOptions(files=("*.txt",)), DatasetContext(tmp_path))
    seen: list[str] = []
    with pytest.raises(InputError) as caught:
        seen.extend(row.values["path"] for row in dataset.rows())
    assert seen == ["a.txt"]
    assert [problem.where.file for problem in caught.value.problems if problem.where] == ["b.txt", "d.txt"]


def test_a_huge_file_is_told_without_being_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_module, "MAX_TEXT_BYTES", 10_000)
    folder(tmp_path, {"a.txt": b"x" * 10_001, "b.txt": b"x" * 10_000})
    with pytest.raises(InputError, match="has more than 0 MiB") as caught:
        rows(tmp_path, "*")
    assert len(caught.value.problems) == 1


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file matches 'docs/\*\.pdf'"):
        rows(tmp_path, "docs/*.pdf")


def test_documents_of_a_store_are_rows_too(tmp_path: Path, s3: S3Store) -> None:
    s3.put("docs/a.md", b"one")
    s3.put("docs/b.png", picture(40, 30))
    found = rows(tmp_path, s3.url("docs/*"))
    assert [(row["path"], row["name"], row["suffix"], row["text"]) for row in found] == [
        (s3.url("docs/a.md"), "a.md", ".md", "one"),
        (s3.url("docs/b.png"), "b.png", ".png", None),
    ]
    assert found[0]["size"] == 3
