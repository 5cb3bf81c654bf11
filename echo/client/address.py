"""A server's address as people write it: `host`, `host:9000`, `[::1]:9000`, `tcp://host:9000/`."""

from __future__ import annotations

import re
import socket

_ADDRESS = re.compile(r"\[(?P<ipv6>[^]]*)\](:(?P<port6>[\w-]+))?|(?P<host>[^:]*):(?P<port>[\w-]*)")


def split_address(text: str) -> tuple[str, str]:
    """Return host and port as texts, either empty where it is not given.

    >>> split_address("localhost"), split_address("localhost:9000"), split_address(":echo")
    (('localhost', ''), ('localhost', '9000'), ('', 'echo'))
    >>> split_address("::1"), split_address("[::1]:9000"), split_address("tcp://[::1]/")
    (('::1', ''), ('::1', '9000'), ('::1', ''))
    """
    text = text.strip().removeprefix("tcp://").rstrip("/")
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return text, ""
    return match["ipv6"] or match["host"] or "", match["port6"] or match["port"] or ""


def parse_port(text: str) -> int:
    """Return a port's number, given as a number or by its service's name. Raises `ValueError`.

    >>> parse_port("9000"), parse_port("echo")
    (9000, 7)
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return socket.getservbyname(text, "tcp")
    except OSError:
        raise ValueError(f"must be a number or the name of a service, not {text}") from None
