"""The `/sessions` page: the listening socket and every session's, as JSON, read when asked."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from echo.server.history import History
from echo.server.listener import BACKLOG
from echo.server.session import State
from echo.server.status import Answer
from echo.version import VERSION

if TYPE_CHECKING:
    from echo.server.server import EchoServer
    from echo.server.session import Counts, Session

JSON = "application/json"
# One snapshot serves all requests within this time, in seconds, and for longer where it was
# expensive: all snapshots together take at most this share of one processor.
SHARED_FOR = 0.2
PROCESSOR_SHARE = 0.02
# Sessions that are described at a stretch, about half a millisecond, and the pause after them.
PIECE = 200
PAUSE = 0.0005
# A session is `echoing` for this long after its last byte came, in seconds.
ECHOING_FOR = 1.0
# Of Linux's `struct tcp_info`: tcpi_unacked and tcpi_sacked, which a listening socket has as
# the length of its queue and the bound of it.
_QUEUE = struct.Struct("24xII")
# tcpi_last_data_recv in milliseconds, and tcpi_notsent_bytes.
_TRAFFIC = struct.Struct("52xI88xI")


class Activity(StrEnum):
    """What a session is doing; the live page and `echod top` use the same words."""

    HANDSHAKING = "handshaking"
    IDLE = "idle"
    ECHOING = "echoing"
    WAITING = "waiting for the peer"
    DRAINING = "draining"


class LogHealth(Protocol):
    """What the page shows of the log."""

    @property
    def dropped(self) -> int:
        """Lines that were lost."""

    @property
    def problem(self) -> str | None:
        """Why it can't be written now, if it can't."""


class Live:
    """Makes the snapshot of `server` that all requests of one moment share.

    `page` is for a `StatusServer`. A snapshot is kept for `SHARED_FOR` seconds, or longer where
    it was expensive: however many clients ask, they cost a bounded share of one processor. Between
    two snapshots it costs nothing.
    """

    def __init__(self, server: EchoServer, log: LogHealth) -> None:
        self._server = server
        self._log = log
        self.history = History(server)
        self._lock = threading.Lock()  # one thread makes the snapshot, the others wait for it
        self._snapshot = b""
        self._good_until = 0.0

    def page(self, accept: str) -> Answer:
        """Return the snapshot, a new one where the last has aged."""
        del accept
        with self._lock:
            if time.monotonic() >= self._good_until:
                began = time.thread_time()
                self._snapshot = self._take()
                cost = time.thread_time() - began
                self._good_until = time.monotonic() + max(SHARED_FOR, cost / PROCESSOR_SHARE)
            return Answer(self._snapshot, JSON)

    def _take(self) -> bytes:
        server = self._server
        return orjson.dumps(
            {
                "server": self._facts(),
                "listening": listening(server),
                "totals": {**server.state(), "log_dropped": self._log.dropped},
                "refused": _refused(server),
                "sessions": orjson.Fragment(_rows(server)),
                "ended": list(reversed(server.ends.copy())),
                "history": self.history.points(),
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
            "log_problem": self._log.problem,
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
    """Return how many connections wait for the accept thread, and how many may."""
    found = _tcp_info(sock, _QUEUE)
    return found or (None, BACKLOG)


def _refused(server: EchoServer) -> dict[str, dict[str, int]]:
    """Count the refused connections by reason, and by peer as far as the server counts those."""
    by_reason = {str(reason): count for reason, count in server.refusals.by_key.copy().items()}
    by_peer = dict(server.refused_by_peer.copy())
    return {"by_reason": by_reason, "by_peer": by_peer}


def _rows(server: EchoServer) -> bytes:
    """Describe the sessions in pieces: none holds the interpreter's lock for long.

    Threads that wait for the lock don't ask for it before a second has passed (the daemon's
    switch interval), and a sleep of 0 doesn't let them have it on one processor.
    """
    sessions = server.sessions.live()
    pieces = []
    for start in range(0, len(sessions), PIECE):
        if start:
            time.sleep(PAUSE)
        rows = (_row(session, server) for session in sessions[start : start + PIECE])
        pieces.append(orjson.dumps([row for row in rows if row])[1:-1])
    return b"[" + b",".join(filter(None, pieces)) + b"]"


def _row(session: Session, server: EchoServer) -> dict[str, Any] | None:
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
        "state": _activity(session, counts, server.draining),
        **session.proxy,
    }
    return {**row, "tls": session.tls} if session.tls else row


def _activity(session: Session, counts: Counts, draining: bool) -> Activity:
    """Derive what a session does from what is known anyway: it pays nothing for being looked at.

    The kernel tells an exchange under way from one that is stuck: bytes that it could not send
    yet wait for the peer to read. Where the system can't tell, all that is not sent does.
    """
    if session.state is State.HANDSHAKING:
        return Activity.HANDSHAKING
    if draining or session.reason is not None:
        return Activity.DRAINING
    silent_ms, unsent = _tcp_info(session.sock, _TRAFFIC) or (None, None)
    if counts.sent_bytes < counts.received_bytes and unsent != 0:
        return Activity.WAITING
    if counts.received_bytes and silent_ms is not None and silent_ms < ECHOING_FOR * 1000:
        return Activity.ECHOING
    return Activity.IDLE


def _tcp_info(sock: socket.socket, fields: struct.Struct) -> tuple[int, int] | None:
    """Return two fields of the kernel's `struct tcp_info`; None where the system has none."""
    if sys.platform != "linux":  # pragma: no cover - elsewhere the option means something else
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, fields.size)
        first, second = fields.unpack(info)
    except (OSError, struct.error):  # it is closed by now; the kernel is older than the field
        return None
    return first, second
