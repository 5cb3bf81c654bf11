"""Connecting to a name that may have several addresses, some of which may not answer."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from itertools import chain, zip_longest
from typing import Any

from echo.deadline import Deadline

# poll(2): unlike epoll it takes no descriptor of its own.
Selector = selectors.PollSelector
# Seconds after which the next address is tried beside those that have not answered yet, as
# RFC 8305 (Happy Eyeballs) recommends.
ATTEMPT_DELAY = 0.25


def open_connection(address: tuple[Any, ...], timeout: float) -> tuple[socket.socket, float]:
    """Return a connected socket, and when its own attempt began, as of `time.perf_counter`.

    `address` is host and port, and may go on with an IPv6 address's flow and scope. All
    addresses of a name are tried, IPv6 and IPv4 in turn, each 0.25 s after the one before or as
    soon as that has failed; the first to answer is taken. Raises `OSError` where none answers
    within `timeout` seconds, and `OverflowError` for a port that can't be.
    """
    deadline = Deadline(timeout)
    waiting = _addresses(*address)
    attempts: dict[socket.socket, float] = {}
    next_attempt = Deadline(0)
    error: OSError | None = None
    with Selector() as selector:
        try:
            while waiting or attempts:
                if waiting and next_attempt.expired:
                    try:
                        sock = _begin(*waiting.pop(0))
                    except OSError as failed:  # no descriptor, no such family, no route
                        error = failed
                        continue
                    attempts[sock] = time.perf_counter()
                    selector.register(sock, selectors.EVENT_WRITE)
                    next_attempt = Deadline(ATTEMPT_DELAY)
                left = min(deadline.left(), next_attempt.left() if waiting else timeout)
                for key, _ in selector.select(left):
                    sock = key.fileobj  # type: ignore[assignment]
                    selector.unregister(sock)
                    began = attempts.pop(sock)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        sock.settimeout(timeout)
                        return sock, began
                    sock.close()
                    error, next_attempt = OSError(code, os.strerror(code)), Deadline(0)
                if deadline.expired:
                    raise TimeoutError(errno.ETIMEDOUT, "timed out")
            raise error or OSError(errno.EADDRNOTAVAIL, "the name has no address")
        finally:
            for sock in attempts:
                sock.close()


def _begin(family: int, address: Any) -> socket.socket:
    """Return a socket that is connecting."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise OSError(code, os.strerror(code))
    return sock


def _addresses(host: str, port: int, flowinfo: int = 0, scope_id: int = 0) -> list[tuple[int, Any]]:
    """Return the families and addresses of a name, families in turn, the system's choice first."""
    if not 0 <= port <= 65535:  # getaddrinfo would take it modulo 65,536
        raise OverflowError(f"port must be from 0 to 65535, not {port}")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a name that no name server can be asked for
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from error
    by_family: dict[int, list[tuple[int, Any]]] = {}
    for family, _, _, _, address in found:
        if scope_id and family == socket.AF_INET6:
            address = (*address[:2], flowinfo, scope_id)
        by_family.setdefault(family, []).append((family, address))
    rounds = zip_longest(*by_family.values())
    return [each for each in chain.from_iterable(rounds) if each is not None]
