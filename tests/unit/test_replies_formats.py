"""Each format of JSON Schema 2020-12, by examples out of its RFC, and bounded in time."""

from __future__ import annotations

import pytest

from runner.replies.formats import FORMATS
from runner.spec import json_schema

GOOD = {
    "date": ["2026-02-28", "2024-02-29"],
    "time": ["08:30:06Z", "23:59:60Z", "01:29:60+01:30", "08:30:06.283185+05:00"],
    "date-time": ["2026-11-28T09:30:00Z", "1998-12-31T23:59:60Z", "1963-06-19t08:30:06.28z"],
    "duration": ["P4DT12H30M5S", "P1Y", "PT0S", "P2W", "PT36H", "P1M2D"],
    "email": [
        "joe@example.com",
        '"joe bloggs"@example.com',
        "joe@[127.0.0.1]",
        "joe@[IPv6:::1]",
        "te~st@a.b",
        "a.b.c@x",
    ],
    "idn-email": ["실례@실례.테스트", "joe@example.com"],
    "hostname": ["www.example.com", "xn--4gbwdl.xn--wgbh1c", "a", "1host", "a-b.c"],
    "idn-hostname": ["실례.테스트", "example.com", "EXAMPLE.com"],
    "ipv4": ["192.168.0.1"],
    "ipv6": ["::1", "12::", "::ffff:1.2.3.4"],
    "uri": [
        "http://foo.bar/?baz=qux#quux",
        "urn:oasis:names:specification:docbook:dtd:xml:4.1.2",
        "mailto:a@b.c",
        "tel:+1-816",
        "ldap://[2001:db8::7]/c=GB?objectClass?one",
        "http://foo.bar:80/%20",
        "file:///etc",
        "http://[v1.a]/",
        "a:",
    ],
    "uri-reference": ["/abc", "abc", "#frag", "", "//foo.bar/?a=b", "./a:b", "?q"],
    "iri": ["http://ƒøø.ßår/?∂éœ=πîx#πîüx", "http://example.com/ü"],
    "iri-reference": ["/âππ", "âππ", "#ƒrägmênt"],
    "uri-template": [
        "http://example.com/dictionary/{term:1}/{term}",
        "{+x,hello,y}",
        "{?x*}",
        "/a",
        "{/list*,path:4}",
        "",
    ],
    "json-pointer": ["", "/foo/bar~0/baz~1/%a", "/", "/a//b"],
    "relative-json-pointer": ["1", "0/foo/bar", "0#", "0+1/a"],
    "regex": ["^a$", "([abc])+\\s+$"],
    "uuid": ["2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2EB8AA08-AA98-11EA-B4AA-73B441D16380"],
}
BAD = {
    "idn-email": ["2962", "실례@", "a..b@실례.테스트", "a@〮한국"],
    "date": ["2026-02-29", "06/19/1963", "2026-2-1", "20260228", "2026-02-2৪"],
    "time": ["08:30:06", "24:00:00Z", "22:59:60Z", "08:30:06 PST", "01:01:01,11Z", "08:30:06-8:000"],
    "date-time": ["2026-11-28 09:30:00Z", "2026-11-28T09:30:00", "1990-02-31T15:59:59Z"],
    "duration": ["P", "PT", "P1", "4D", "P1D2H", "P2D1Y", "P1Y2W", "P1YT", "P1S", "P1Y1D"],
    "email": ["2962", "@x", "joe@", "a..b@x", ".a@x", "a@b c", "joe@[127.0.0.300]"],
    "hostname": [
        "-bad",
        "a_b",
        "not_valid",
        "a..b",
        "",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "host.",
        "a b",
    ],
    "idn-hostname": ["-a", "〮한국", "a..ü", ""],
    "ipv4": ["256.1.1.1", "1.2.3", "087.10.0.1", "1৪7.0.0.1"],
    "ipv6": ["12345::", "1:1:1", "fe80::a%eth1", "::abcdefg"],
    "uri": ["//foo.bar", "/abc", "abc", ":// x", "http:// x", "bar,\\\\baz", "http://a b", "a", "http://[::1", "%"],
    "uri-reference": ["\\\\WINDOWS", "#a\\b", "a:b c", "1a:b", "%zz"],
    "iri": ["/abc", "âππ"],
    "iri-reference": ["\\\\w", "#ƒ\\a"],
    "uri-template": ["http://example.com/dictionary/{term:1}/{term", "{}", "{x:0}", "a b", "}", "{$x}"],
    "json-pointer": ["/foo/bar~", "a", "#", "/~2", "0"],
    "relative-json-pointer": ["/foo", "-1/a", "0##", "01/a", ""],
    "regex": ["^(abc]", "a{99999999999}(", "\\p{L}"],
    "uuid": ["2eb8aa08aa9811eab4aa73b441d16380", "2eb8-aa08-aa98-11ea-b4aa73b44-1d16380", ""],
}


def test_the_list_that_check_has_is_the_list_of_the_checks() -> None:
    assert set(json_schema.FORMATS) == FORMATS.keys() == GOOD.keys() == BAD.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_rfc_allows_is_taken(name: str) -> None:
    assert [text for text in GOOD[name] if not FORMATS[name][0](text)] == []


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_rfc_does_not_allow_is_refused(name: str) -> None:
    assert [text for text in BAD[name] if FORMATS[name][0](text)] == []


@pytest.mark.parametrize("name", FORMATS)
def test_the_words_for_a_format_name_one(name: str) -> None:
    assert FORMATS[name][1].startswith(("a ", "an ", "the "))


LONG = [
    "a" * 100_000, "/" * 100_000, ":" * 100_000, "a." * 50_000, "1" * 100_000, "%20" * 30_000, "[" * 50_000,
    "{a}" * 30_000 + "{", "http://" + "a:" * 50_000 + " ", "a@" * 50_000, '"' + "\\\\" * 50_000, "P" + "1" * 100_000,
]  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", FORMATS)
def test_no_text_takes_long(name: str) -> None:
    """One that took as long as the square of its length would not be done in this time."""
    assert all(FORMATS[name][0](text) in (True, False) for text in LONG)
