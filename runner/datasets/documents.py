"""The text of a document: a PDF, a page of HTML, Markdown or any other text in UTF-8.

Owns   what a document is (told by its bytes, HTML by its name), how its text is taken, and what is said of one that
       has none.
Knows  one file's bytes. pypdf is imported for the first PDF (extra `documents`).

A PDF's text is what its pages say it is, in the order in which they say it; a scan says nothing. It is read with a
bound on what its streams may unpack to, which is pypdf's own.
"""

from __future__ import annotations

import importlib
import io
import logging
from typing import Any

from msgspec import Struct

from runner.datasets.html_text import html_text
from runner.extras import missing_library
from runner.media.kinds import IMAGES, PDF, TEXT, described, media_type

MAX_TEXT_BYTES = 32 * 1024 * 1024
"""The API's limit of a request is 32 MB: no longer text could be sent."""
MAX_PDF_BYTES = 256 * 1024 * 1024
"""pypdf holds a file in memory. Eight times the API's limit of a request: pictures may be most of it."""
HEAD_BYTES = 4096
"""What tells an image from a document; `media_type` looks for the mark of a PDF in the first 1,024."""
_HTML = (".html", ".htm", ".xhtml")
_BYTE_ORDER_MARK = "\ufeff"


class NoText(Exception):
    """A document that gives no text: what was found, and the cure."""

    def __init__(self, message: str, hint: str, code: str = "no-text") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class Document(Struct, frozen=True):
    """The text of a document; None for an image, which has none. `pages` of a PDF."""

    text: str | None
    pages: int | None = None


def is_image(head: bytes) -> bool:
    """Whether the first bytes of a file are those of an image that the API takes."""
    return media_type(head) in IMAGES


def largest(head: bytes) -> int:
    """How many bytes a document that begins so may have."""
    return MAX_PDF_BYTES if media_type(head) == PDF else MAX_TEXT_BYTES


def read_document(data: bytes, suffix: str) -> Document:
    """Raises NoText, and SetupError where pypdf is missing."""
    if not data:
        raise NoText("is empty", "remove it, or fetch it again", "empty-file")
    if data.startswith(b"%PDF-") or media_type(data[:HEAD_BYTES]) == PDF:
        return _pdf(data)
    text = _text(data, suffix)
    if not text.strip():
        raise NoText("has no text in it", "remove it, or fetch it again", "empty-file")
    if len(text) > MAX_TEXT_BYTES:
        raise NoText(
            f"has a text of {len(text):,} characters, more than a request may have", "split it", "file-too-large"
        )
    return Document(text)


def _text(data: bytes, suffix: str) -> str:
    if suffix in _HTML:
        try:
            return html_text(data)
        except LookupError as error:
            raise NoText(f"declares an encoding that is not known: {error}", "save it as UTF-8", "not-utf8") from error
        except UnicodeDecodeError as error:
            message = f"is not {error.encoding}, as it says: byte {error.start + 1} is 0x{data[error.start]:02x}"
            raise NoText(message, "save it as UTF-8", "not-utf8") from error
    if media_type(data) == TEXT:
        return data.decode().removeprefix(_BYTE_ORDER_MARK)
    what = described(data)
    if what.startswith("neither"):
        cure = "if it is text in another encoding: iconv -f WINDOWS-1252 -t UTF-8; else take it out of the pattern"
        raise NoText("is no UTF-8 text, no PDF and no image", cure, "not-utf8")
    cure = "save it as UTF-8" if "UTF-16" in what else "save it as PDF or text, or take it out of the pattern"
    raise NoText(f"is {what}", cure, "not-utf8" if "UTF-16" in what else "wrong-format")


def _pdf(data: bytes) -> Document:
    try:
        pypdf: Any = importlib.import_module("pypdf")
    except ImportError as error:
        raise missing_library("pypdf", "the text of a PDF") from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it writes of every oddity; what matters is raised
    try:
        reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise NoText("is encrypted", "save it without a password", "encrypted-file")
        texts = [page.extract_text() for page in reader.pages]
    except NoText:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a damaged PDF makes pypdf raise nearly anything: KeyError, RecursionError …
        if type(error).__name__ == "DependencyError":
            hint = "pip install cryptography; or save it without a password"
            raise NoText("is encrypted in a way that needs another library", hint, "encrypted-file") from error
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise NoText(
            f"is a damaged PDF: {said}", "open and save it again, or fetch it again", "damaged-file"
        ) from error
    text = "\n\n".join(part.strip() for part in texts if part.strip())
    if not text:
        message = "holds no text: its page has none" if len(texts) == 1 else f"holds no text on {len(texts)} pages"
        hint = 'a scan? Send the file itself: `{document: "{{ row.path }}"}`, and `text: false` on the dataset'
        raise NoText(message, hint)
    return Document(text.encode("utf-8", "replace").decode(), len(texts))
