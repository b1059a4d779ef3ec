"""The text of HTML pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.datasets.html_text import html_text

PAGE = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>The  handbook</title><style>p {color: red}</style>
<script>var x = "<p>no text</p>";</script></head>
<body><h1>Claims &amp; costs</h1>
<p>A claim   is made
within <b>30</b>&nbsp;days.<br>Late ones are not paid.</p>
<ul><li>Food</li><li>Travel<ul><li>Train</li></ul></li></ul>
<table><tr><th>Kind</th><th>Limit</th></tr><tr><td>Food</td><td>40 €</td></tr></table>
<pre>  kept
    as it is</pre>
<img src="x.png" alt="A chart"><noscript>no</noscript>
</body></html>"""


EXPECTED = """
The handbook

# Claims & costs

A claim is made within 30\xa0days.
Late ones are not paid.

- Food
- Travel

- Train

Kind\tLimit
Food\t40 €

  kept
    as it is

A chart
"""


def test_a_page_reads_as_it_is_read() -> None:
    assert html_text(PAGE.encode()) == EXPECTED.strip("\n")


@pytest.mark.parametrize(
    "data",
    [
        b'<meta charset="iso-8859-1"><p>caf\xe9 \x80</p>',
        b'<meta http-equiv="content-type" content="text/html; charset=windows-1252"><p>caf\xe9 \x80</p>',
        "<p>café €</p>".encode(),
        "<p>café €</p>".encode("utf-8-sig"),
        "<p>café €</p>".encode("utf-16"),
    ],
)
def test_the_encoding_is_the_declared_one(data: bytes) -> None:
    assert html_text(data) == "café €"


def test_what_is_in_no_declared_encoding_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        html_text(b"<p>caf\xe9</p>")
    with pytest.raises(LookupError):
        html_text(b"<meta charset=klingon><p>x</p>")


@pytest.mark.parametrize(
    "page", ["", "<p>", "</p>", "<", "<!--", "<p <b", "&#xFFFFFFFF;", "<script>", "<head><title>x"]
)
def test_a_broken_page_is_read_as_far_as_it_goes(page: str) -> None:
    assert isinstance(html_text(page.encode()), str)


def test_a_head_without_an_end_hides_no_body() -> None:
    assert html_text(b"<head><title>t</title><meta name=x><body><p>text</p>") == "t\n\ntext"


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    html_text(text.encode("utf-8", "replace"))
