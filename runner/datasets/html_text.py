"""The text of an HTML page, as a reader of it sees it.

Owns   which elements break lines, and which hold no text. Standard library only.
Knows  bytes and text; nothing of files.

It makes no claim to lay a page out: headings are marked with `#`, items of lists with `-`, cells are parted by tabs,
and white space is what a browser leaves of it but in `pre`. What scripts would make of the page is not seen.

Source: HTML Living Standard, sections 13.1.2 (void elements), 15.3 (flow content) and 4.2.5.4 (character encodings).
"""

from __future__ import annotations

import re
from html.parser import HTMLParser


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BLOCKS = _words(
    """address article aside blockquote body caption dd details dialog div dl dt fieldset figcaption figure footer form
    h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main nav ol optgroup option p pre search section summary table
    tbody tfoot thead title tr ul"""
)
_PARAGRAPHS = _words("blockquote dl figure h1 h2 h3 h4 h5 h6 hr ol p pre table title ul")
"""Those with a blank line around them."""
_SILENT = _words("script style noscript template iframe object svg math canvas audio video")
"""Elements whose content no reader sees as text."""
_VOID = _words("area base br col embed hr img input link meta source track wbr")
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_LOOKED_AT = 4096
"""Bytes in which an encoding has to be declared; the standard asks for the first 1,024."""


def html_text(data: bytes) -> str:
    """Raises UnicodeDecodeError, and LookupError where the page names an encoding that nobody knows."""
    parser = _Reader()
    parser.feed(_decoded(data))
    parser.close()
    return parser.text()


def _decoded(data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        return data[3:].decode()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    declared = _CHARSET.search(data[:_LOOKED_AT])
    name = declared.group(1).decode().lower() if declared else "utf-8"
    # browsers read both as Windows-1252 (Encoding Standard, section 4.2)
    return data.decode("cp1252" if name in ("iso-8859-1", "latin1", "us-ascii", "ascii") else name)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._silent: list[str] = []
        self._pre = 0

    def text(self) -> str:
        lines = "".join(self._parts).split("\n")
        return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip(" \t") for line in lines)).strip("\n")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT and tag not in _VOID:
            self._silent.append(tag)
        if self._silent:
            return
        if tag == "br":
            self._parts.append("\n")
        elif tag in ("td", "th"):
            self._cell()
        elif tag == "img":
            self._words(dict(attrs).get("alt") or "")
        elif tag in _BLOCKS:
            self._break(blank=tag in _PARAGRAPHS)
            if tag == "li":
                self._parts.append("- ")
            elif re.fullmatch("h[1-6]", tag):
                self._parts.append("#" * int(tag[1]) + " ")
            elif tag == "pre":
                self._pre += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
            return
        if self._silent:
            return
        if tag in _BLOCKS:
            if tag == "pre":
                self._pre = max(0, self._pre - 1)
            self._break(blank=tag in _PARAGRAPHS)

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._words(data)

    def _words(self, data: str) -> None:
        if self._pre:
            self._parts.append(data)
            return
        words = re.sub(r"[ \t\r\n\f]+", " ", data)
        if words.startswith(" ") and (not self._parts or self._parts[-1].endswith((" ", "\n", "\t"))):
            words = words[1:]
        if words:
            self._parts.append(words)

    def _cell(self) -> None:
        if self._parts and not self._parts[-1].endswith("\n"):
            self._parts.append("\t")

    def _break(self, *, blank: bool) -> None:
        if self._parts:
            tail = "".join(self._parts[-2:])
            missing = (2 if blank else 1) - (len(tail) - len(tail.rstrip("\n")))
            if missing > 0:
                self._parts.append("\n" * missing)
