"""The formats of JSON Schema 2020-12, asserted here.

Owns   `FORMATS`, one small check for each format of the specification (validation, section 7.3), and the words for what
       each one expects.
Knows  texts. Which formats there are is `spec.json_schema`'s list too, for `runner check`.

Why not the `format-nongpl` extra of jsonschema: twelve packages (a parser generator and a calendar library among
them), most of them not touched for years, for checks of which each is an expression out of an RFC. They disagree with
their RFCs in places (`duration`, `time`), and a package that is missing turns its format into one that anything fits.

Sources: RFC 3339 (dates, times, and durations in appendix A), RFC 5321 sections 4.1.2 and 4.1.3 and RFC 6531 (email),
RFC 1123 section 2.1 (hostname), RFC 5890 by way of the library `idna`, RFC 3986 appendix A and RFC 3987 section 2.2,
RFC 6570 section 2 (uri-template), RFC 6901 (json-pointer), draft-bhutton-relative-json-pointer-00, RFC 4122 (uuid).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna

from runner.spec.patterns import is_pattern

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<ahead_h>[01][0-9]|2[0-3]):(?P<ahead_m>[0-5][0-9]))"
)
_DURATION_TIME = r"T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_DURATION = re.compile(
    rf"P(?:[0-9]+W|(?:[0-9]+D|[0-9]+M(?:[0-9]+D)?|[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?)(?:{_DURATION_TIME})?"
    rf"|{_DURATION_TIME})"
)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LOCAL = re.compile(rf'{_ATOM}+(?:\.{_ATOM}+)*|"(?:[ !#-\[\]-~]|\\[ -~])*"')
_IDN_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]"
_IDN_LOCAL = re.compile(rf'{_IDN_ATOM}+(?:\.{_IDN_ATOM}+)*|"(?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*"')
_MAX_LOCAL, _MAX_HOST = 64, 253
"""RFC 5321, section 4.5.3.1.1; RFC 1035, section 2.3.4, without the root's dot."""

_UCSCHAR = (
    r"\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef"
    + "".join(rf"\U000{plane:x}0000-\U000{plane:x}fffd" for plane in range(1, 14))
    + r"\U000e1000-\U000efffd"
)
_UCSCHAR = _UCSCHAR.replace(r"\U000e0000-\U000efffd", "")
_IPRIVATE = r"\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"
_PCT = r"%[0-9A-Fa-f]{2}"


def _reference_pattern(more: str, private: str) -> re.Pattern[str]:
    """A URI reference in its parts; `scheme` is None in a relative one. `more`: characters beside ASCII's."""
    unreserved = rf"A-Za-z0-9\-._~{more}"
    sub = r"!$&'()*+,;="
    pchar = rf"(?:[{unreserved}{sub}:@]|{_PCT})"
    query = rf"(?:[{unreserved}{sub}:@/?{private}]|{_PCT})*"
    fragment = rf"(?:[{unreserved}{sub}:@/?]|{_PCT})*"
    authority = (
        rf"//(?:(?:[{unreserved}{sub}:]|{_PCT})*@)?"
        rf"(?:\[(?P<literal>[^\[\]/?#@]*)\]|(?:[{unreserved}{sub}]|{_PCT})*)(?::[0-9]*)?(?:/{pchar}*)*"
    )
    absolute = rf"/(?:{pchar}+(?:/{pchar}*)*)?"
    rootless = rf"{pchar}+(?:/{pchar}*)*"
    return re.compile(
        rf"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):)?(?:{authority}|{absolute}|(?P<rootless>{rootless})|)"
        rf"(?:\?{query})?(?:#{fragment})?"
    )


_URI = _reference_pattern("", "")
_IRI = _reference_pattern(_UCSCHAR, _IPRIVATE)
_IP_FUTURE = re.compile(r"[vV][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+")

_VARNAME = rf"(?:[A-Za-z0-9_]|{_PCT})(?:\.?(?:[A-Za-z0-9_]|{_PCT}))*"
_VARSPEC = rf"{_VARNAME}(?::[1-9][0-9]{{0,3}}|\*)?"
_URI_TEMPLATE = re.compile(
    rf"(?:[!#$&(-;=?-\[\]_a-z~{_UCSCHAR}{_IPRIVATE}]|{_PCT}|\{{[+#./;?&=,!@|]?{_VARSPEC}(?:,{_VARSPEC})*\}})*"
)
_POINTER = re.compile(r"(?:/(?:[^/~]|~[01])*)*")
_RELATIVE_POINTER = re.compile(r"(?:0|[1-9][0-9]*)(?:[+-](?:0|[1-9][0-9]*))?(?:#|(?:/(?:[^/~]|~[01])*)*)")
_UUID = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")


def is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def is_time(text: str) -> bool:
    match = _TIME.fullmatch(text)
    if match is None:
        return False
    if match["second"] != "60":
        return True
    # A leap second is the last of a day in UTC.
    minutes = int(match["hour"]) * 60 + int(match["minute"])
    if match["sign"]:
        ahead = int(match["ahead_h"]) * 60 + int(match["ahead_m"])
        minutes += -ahead if match["sign"] == "+" else ahead
    return minutes % (24 * 60) == 24 * 60 - 1


def is_date_time(text: str) -> bool:
    return text[10:11] in ("T", "t") and is_date(text[:10]) and is_time(text[11:])


def is_hostname(text: str) -> bool:
    return len(text) <= _MAX_HOST and all(_LABEL.fullmatch(label) for label in text.split("."))


def is_idn_hostname(text: str) -> bool:
    if is_hostname(text):
        return True
    try:
        idna.encode(text)
    except UnicodeError:
        return False
    return not text.endswith(".")


def is_email(text: str) -> bool:
    return _is_mailbox(text, _LOCAL, is_hostname)


def is_idn_email(text: str) -> bool:
    return _is_mailbox(text, _IDN_LOCAL, is_idn_hostname)


def _is_mailbox(text: str, local: re.Pattern[str], is_host: Callable[[str], bool]) -> bool:
    before, at, domain = text.rpartition("@")
    if not at or len(before) > _MAX_LOCAL or not local.fullmatch(before):
        return False
    if not (domain.startswith("[") and domain.endswith("]")):
        return is_host(domain)
    literal = domain[1:-1]
    return is_ipv6(literal[5:]) if literal[:5].lower() == "ipv6:" else is_ipv4(literal)


def is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return text.isascii()


def is_ipv6(text: str) -> bool:
    try:
        return not IPv6Address(text).scope_id and "%" not in text
    except AddressValueError:
        return False


def is_uri(text: str) -> bool:
    return _is_reference(text, _URI, with_scheme=True)


def is_uri_reference(text: str) -> bool:
    return _is_reference(text, _URI, with_scheme=False)


def is_iri(text: str) -> bool:
    return _is_reference(text, _IRI, with_scheme=True)


def is_iri_reference(text: str) -> bool:
    return _is_reference(text, _IRI, with_scheme=False)


def _is_reference(text: str, pattern: re.Pattern[str], *, with_scheme: bool) -> bool:
    match = pattern.fullmatch(text)
    if match is None:
        return False
    # In a relative reference the first segment has no colon: it would be a scheme.
    if match["scheme"] is None and (with_scheme or ":" in (match["rootless"] or "").partition("/")[0]):
        return False
    literal = match["literal"]
    return literal is None or is_ipv6(literal) or bool(_IP_FUTURE.fullmatch(literal))


def _matching(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


FORMATS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "date-time": (is_date_time, "a date and time such as 2026-11-28T09:30:00Z"),
    "date": (is_date, "a date such as 2026-11-28"),
    "time": (is_time, "a time with its zone such as 09:30:00Z"),
    "duration": (_matching(_DURATION), "a duration such as P3D or PT1H30M"),
    "email": (is_email, "an email address"),
    "idn-email": (is_idn_email, "an email address"),
    "hostname": (is_hostname, "the name of a host"),
    "idn-hostname": (is_idn_hostname, "the name of a host"),
    "ipv4": (is_ipv4, "an IPv4 address"),
    "ipv6": (is_ipv6, "an IPv6 address"),
    "uri": (is_uri, "a URI with its scheme, such as https://example.com/a"),
    "uri-reference": (is_uri_reference, "a URI, whole or relative"),
    "iri": (is_iri, "an IRI with its scheme"),
    "iri-reference": (is_iri_reference, "an IRI, whole or relative"),
    "uri-template": (_matching(_URI_TEMPLATE), "a URI template such as /users/{id}"),
    "json-pointer": (_matching(_POINTER), "a JSON pointer such as /a/0"),
    "relative-json-pointer": (_matching(_RELATIVE_POINTER), "a relative JSON pointer such as 1/a"),
    "regex": (is_pattern, "a regular expression"),
    "uuid": (_matching(_UUID), "a UUID"),
}
"""Each format's check of a text, and what it expects in words."""
