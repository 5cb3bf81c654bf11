"""The `/sessions` page: the listening socket and every session's, as JSON, read when asked."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from itertools import repeat
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from echo.limits import LIVE_AGE, LIVE_PAUSE, LIVE_PIECE, LIVE_SHARE
from echo.server.history import History
from echo.server.listener import BACKLOG
from echo.server.session import State
from echo.server.status import Answer
from echo.version import VERSION

if TYPE_CHECKING:
    from echo.server.server import EchoServer
    from echo.server.session import Counts, Session

JSON = "application/json"
# Of Linux's `struct tcp_info`: tcpi_unacked and tcpi_sacked, which a listening socket has as
# the length of its queue and the bound of it.
_QUEUE = struct.Struct("24xII")


class Log(Protocol):
    """What the page wants to know of the log."""

    @property
    def dropped(self) -> int:
        """Lines that were lost."""


class Live:
    """Takes the picture of `server` that all who ask within a moment share.

    `page` is for a `StatusServer`. A picture is kept for `LIVE_AGE` seconds, longer where it was
    dear: so that however many ask, they cost a bounded share of one processor. Between two
    pictures it costs nothing.
    """

    def __init__(self, server: EchoServer, log: Log) -> None:
        self._server = server
        self._log = log
        self.history = History(server)
        self._lock = threading.Lock()  # one takes the picture, the others wait for it
        self._picture = b""
        self._good_until = 0.0

    def page(self, accept: str) -> Answer:
        """Give the picture, a fresh one where the last has aged."""
        del accept
        with self._lock:
            if time.monotonic() >= self._good_until:
                began = time.thread_time()
                self._picture = self._take()
                cost = time.thread_time() - began
                self._good_until = time.monotonic() + max(LIVE_AGE, cost / LIVE_SHARE)
            return Answer(self._picture, JSON)

    def _take(self) -> bytes:
        server = self._server
        return orjson.dumps(
            {
                "server": self._facts(),
                "listening": listening(server),
                "totals": {**server.state(), "log_dropped": self._log.dropped},
                "sessions": orjson.Fragment(_rows(server)),
                "ended": list(reversed(server.ends.copy())),
                "history": list(self.history.points.copy()),
            }
        )

    def _facts(self) -> dict[str, Any]:
        server = self._server
        return {
            "pid": os.getpid(),
            "version": VERSION,
            "loop": server.loop,
            "uptime_s": server.uptime_s,
            "draining": server.draining,
            "limits": server.limits.as_dict(),
        }


def listening(server: EchoServer) -> dict[str, Any]:
    """Describe the listening socket; `backlog_used` is None where the system can't tell."""
    host, port = server.server_address[:2]
    used, bound = _queue(server.socket)
    return {
        "fd": server.socket.fileno(),
        "host": str(host),
        "port": int(port),
        "backlog": bound,
        "backlog_used": used,
    }


def _queue(sock: socket.socket) -> tuple[int | None, int]:
    """Count the connections that wait for the accept thread; say how many may."""
    if sys.platform != "linux":  # pragma: no cover - elsewhere the option means something else
        return None, BACKLOG
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUE.size)
    except OSError:  # it is closed by now
        return None, BACKLOG
    used, bound = _QUEUE.unpack(info)
    return used, bound


def _rows(server: EchoServer) -> bytes:
    """Write the sessions in pieces: none holds the interpreter up for long.

    Threads that wait for its lock don't ask for it before a second has passed (the daemon's
    switch interval), and a sleep of 0 doesn't let them have it on one processor.
    """
    sessions = server.sessions.live()
    pieces = []
    for start in range(0, len(sessions), LIVE_PIECE):
        if start:
            time.sleep(LIVE_PAUSE)
        rows = map(_row, sessions[start : start + LIVE_PIECE], repeat(server.draining))
        pieces.append(orjson.dumps([row for row in rows if row])[1:-1])
    return b"[" + b",".join(filter(None, pieces)) + b"]"


def _row(session: Session, draining: bool) -> dict[str, Any] | None:
    """Describe a session, unless its socket is closed by now."""
    fd = session.sock.fileno()
    if fd < 0 or session.networks is None:
        return None
    counts = session.counted()
    row = {
        "session_id": session.session_id,
        "fd": fd,
        "peer_ip": session.peer_ip,
        "peer_port": session.peer_port,
        "thread": session.thread,
        "duration_s": session.duration_s,
        "received_bytes": counts.received_bytes,
        "sent_bytes": counts.sent_bytes,
        "state": _state(session, counts, draining),
        **session.proxy,
    }
    return {**row, "tls": session.tls} if session.tls else row


def _state(session: Session, counts: Counts, draining: bool) -> str:
    """Say what it does, by its counts: it pays nothing for being looked at."""
    if session.state is State.HANDSHAKING:
        return "handshaking"
    if draining or session.reason is not None:
        return "draining"
    return "sending" if counts.sent_bytes < counts.received_bytes else "reading"
