"""Sizes and times as people write them: `64M`, `1.5k`, `5m`, `1h30m`, `200ms`."""

from __future__ import annotations

import math
import re
from fractions import Fraction

_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]?)(?:i?b)?", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d)", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return a number of bytes; k, M, G and T are powers of 1,024. Raises `ValueError`.

    >>> parse_size("512"), parse_size("64k"), parse_size("1.5M"), parse_size("1GiB")
    (512, 65536, 1572864, 1073741824)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or ("." in match[1] and not match[2]):
        raise ValueError(f"must be a size such as 512, 64k or 1.5M, not {text}")
    return int(Fraction(match[1]) * _BYTES[match[2].lower()])


def parse_time(text: str) -> float:
    """Return a number of seconds; units are ms, s, m, h and d. Raises `ValueError`.

    >>> parse_time("90"), parse_time("200ms"), parse_time("5m"), parse_time("1h30m")
    (90.0, 0.2, 300.0, 5400.0)
    """
    parts = _TIME.findall(text)
    if parts and not _TIME.sub("", text).strip():
        return math.fsum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a time such as 90, 200ms, 5m or 1h30m, not {text}") from None


def show_size(count: int) -> str:
    """Return a size with the largest unit that it is a whole number of.

    >>> show_size(0), show_size(1000), show_size(32768), show_size(67108864)
    ('0', '1000', '32k', '64M')
    """
    for unit in ("T", "G", "M", "k"):
        if count and not count % _BYTES[unit.lower()]:
            return f"{count // _BYTES[unit.lower()]}{unit}"
    return str(count)


def show_time(seconds: float) -> str:
    """Return a time with the largest unit that it is a whole number of.

    >>> show_time(0), show_time(1.5), show_time(10.0), show_time(300), show_time(86400)
    ('0', '1.5s', '10s', '5m', '1d')
    """
    for unit in ("d", "h", "m"):
        if seconds and not seconds % _SECONDS[unit]:
            return f"{seconds / _SECONDS[unit]:g}{unit}"
    return f"{seconds:g}s" if seconds else "0"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "byte"), plural(2, "byte")
    ('1 byte', '2 bytes')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
