"""The service manager's side: sockets that it hands over, and what it wants to be told.

Both protocols are a few lines over what systemd documents and keeps stable, `sd_listen_fds(3)`
and `sd_notify(3)`; any other manager that speaks them will do.
"""

from __future__ import annotations

import math
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_DESCRIPTOR = 3
# A socket of this name is for the status server; the one other is for the echo.
STATUS_NAME = "status"
# Seconds that a manager which reads nothing may hold the main thread up, once.
SEND_TIMEOUT = 1.0
# Digits of the largest number that a manager means: 2**64 - 1, which is "never".
MOST_DIGITS = 20


class BadDescriptor(ValueError):
    """An inherited descriptor can't be served; the text says which and why."""


def inherited(environ: Mapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """Return the listening sockets that this process was started with, by their names.

    None where they are meant for another process. One without a name is called after its
    descriptor. Raises `BadDescriptor` where one is no listening TCP socket.

    >>> inherited({"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    {}
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = _number(environ.get("LISTEN_FDS", ""))
    if count is None:
        raise BadDescriptor(f"LISTEN_FDS is {environ.get('LISTEN_FDS', '')!r:.40}, no number")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    sockets: dict[str, socket.socket] = {}
    for index in range(count):
        fd = FIRST_DESCRIPTOR + index
        name = (names[index] if index < len(names) else "") or str(fd)
        sockets[name if name not in sockets else f"{name}-{fd}"] = _listening(fd, name)
    return sockets


def _listening(fd: int, name: str) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise BadDescriptor(f"descriptor {fd} ({name}) is no socket: {error.strerror}") from error
    internet = sock.family in (socket.AF_INET, socket.AF_INET6)
    stream = sock.type == socket.SOCK_STREAM
    if not (internet and stream and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)):
        sock.close()
        raise BadDescriptor(f"descriptor {fd} ({name}) is no listening TCP socket")
    sock.set_inheritable(False)
    return sock


class Notifier:
    """Reports the daemon's state to its service manager, if there is one.

    `watchdog` is the number of seconds within which the manager expects `alive`, infinite if it
    doesn't. A message that can't be sent is dropped: the daemon's work doesn't depend on it.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog = _watchdog(environ)
        self._status = ""
        self._heartbeat = -1
        self._patience = SEND_TIMEOUT

    def __repr__(self) -> str:
        return f"<Notifier {self._address!r}, watchdog {self.watchdog:g} s>"

    def ready(self) -> None:
        """Report that it serves, for the first time or again."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Report that it reads its files again; `ready` ends that."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, patience: float) -> None:
        """Report that it stops; a manager that reads nothing takes `patience` seconds at most."""
        self._patience = min(self._patience, patience)
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Send a line for `systemctl status` to show."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self, heartbeat: int) -> None:
        """Feed the watchdog, if the accept loop has shown a sign of life since the last time."""
        if self.watchdog < math.inf and heartbeat != self._heartbeat:
            self._heartbeat = heartbeat
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(self._patience)
            self._patience = 0.0
            sock.sendto("\n".join(lines).encode(), self._address)
            self._patience = SEND_TIMEOUT


def _watchdog(environ: Mapping[str, str]) -> float:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return math.inf
    return (_number(environ.get("WATCHDOG_USEC", "")) or 0) / 1e6 or math.inf


def _number(text: str) -> int | None:
    """Read a number as a manager writes it; None for what is none."""
    whole = text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
    return int(text) if whole else None
