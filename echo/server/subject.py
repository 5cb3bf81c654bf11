"""Who a client's certificate is for: its subject, read from the certificate's DER.

`SSLSocket.getpeercert()` reads the whole certificate, and fails where any name in it is not
ASCII. This reads the subject only (RFC 5280, 4.1), of a certificate that OpenSSL has verified.
"""

from __future__ import annotations

import re
import ssl

# The tag of a certificate's version, which the oldest ones don't have.
_VERSION = 0xA0
# The character sets of DER's strings, by tag; all others are read as ISO 8859-1.
_CHARSETS = {12: "utf-8", 28: "utf-32-be", 30: "utf-16-be"}
# What would end a value of a subject, or escape its end.
_SPECIAL = re.compile(r"[\\,=+]")
# Characters of a subject that the log shows: a certificate may have tens of thousands.
SUBJECT_CHARS = 256


def subject_of(certificate: bytes) -> str:
    r"""Return the subject of a certificate in DER, as one line that can be read in one way only.

    At most `SUBJECT_CHARS` of it. What is no certificate has an empty one.

    >>> subject_of(b"no certificate")
    ''
    """
    try:
        ((_, whole),) = _elements(certificate)
        fields = _elements(_elements(whole)[0][1])
        # The version, the serial number, the signature's algorithm, the issuer, the dates.
        _, subject = fields[5 if fields[0][0] == _VERSION else 4]
        attributes = [
            _elements(attribute)
            for _, relative in _elements(subject)
            for _, attribute in _elements(relative)
        ]
        line = ",".join(
            f"{_name(kind)}={_SPECIAL.sub(_escape, _text(tag, value))}"
            for (_, kind), (tag, value) in attributes
        )
    except (IndexError, ValueError):
        return ""
    return line[:SUBJECT_CHARS]


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """Return the tag and the content of each element that stands in `data`, one by one."""
    found, at = [], 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:  # as many bytes of it follow
            end = at + (length & 0x7F)
            length = int.from_bytes(data[at:end])
            at = end
        found.append((tag, data[at : at + length]))
        at += length
    return found


def _name(kind: bytes) -> str:
    """Return OpenSSL's name for an object identifier, or its numbers where it has none."""
    numbers, number = [], 0
    for byte in kind:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    top = min(numbers[0] // 40, 2)  # the first two share a number
    dotted = ".".join(map(str, [top, numbers[0] - 40 * top, *numbers[1:]]))
    try:
        return ssl._ASN1Object(dotted).longname
    except ValueError:
        return dotted


def _text(tag: int, value: bytes) -> str:
    return value.decode(_CHARSETS.get(tag, "latin-1"), "backslashreplace")


def _escape(match: re.Match[str]) -> str:
    return f"\\{match.group()}"
