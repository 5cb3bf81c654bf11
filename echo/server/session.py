"""One session: its facts, from its acceptance to its one closing line."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from echo.server.slots import Connection

if TYPE_CHECKING:
    from echo.events import Reason
    from echo.tls import TlsSocket

# The places in a server's `flags`: reads are to be logged; sessions are to end. The compiled
# loop knows them by the same names.
PAYLOAD, DRAINING = 0, 1


class SessionEnd(Exception):
    """Raised in a handler to end its session for a reason other than the peer's end of stream.

    `detail` says what was wrong, where the reason alone can't; never in the peer's words.

    >>> from echo.events import Reason
    >>> raise SessionEnd(Reason.BYTE_LIMIT)
    Traceback (most recent call last):
        ...
    echo.server.session.SessionEnd: byte_limit
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail


class SessionOver(Exception):
    """Raised in a session's thread that finds its session ended: it has nothing more to say."""


class State(Enum):
    """How far a session has come. It only moves forward, under the register's lock."""

    HANDSHAKING = auto()
    """Accepted by the kernel; its thread, PROXY header and TLS handshake are still to come."""
    OPEN = auto()
    """`session.accepted` is written, and its handler runs or its socket lingers."""
    ENDED = auto()
    """A thread has claimed writing `session.closed`."""


@dataclass(slots=True)
class Counts:
    """Bytes of one session's payload: read by the loop, and taken back by the kernel."""

    received_bytes: int = 0
    sent_bytes: int = 0


@dataclass(eq=False, kw_only=True, repr=False)
class Session(Connection):
    """The facts of one session.

    Each has one owner. The thread that echoes for it counts the bytes; its own thread sets
    `reason` when the handler has ended; the register moves `state`; a stop sets `cut`. All
    other threads only read.
    """

    session_id: str
    # A compiled loop replaces these counts with its own, which are read by the same names.
    counts: Any = field(default_factory=Counts)
    started: float = field(default_factory=time.monotonic)
    # The defaults of these stay the class's until they change: that takes a third of the time.
    thread: int = field(init=False, default=0)  # the system's number of it, once it has begun
    state: State = field(init=False, default=State.HANDSHAKING)
    active_sessions: int = field(init=False, default=0)  # when it was admitted, itself included
    reason: Reason | None = field(init=False, default=None)  # why its handler has ended, if it has
    peer_ended: bool = field(init=False, default=False)  # its end of stream was read
    cut: bool = field(init=False, default=False)  # a stop has shut its socket down
    tls_socket: TlsSocket | None = field(init=False, default=None)
    # What only some sessions have in their lines, by the log's names.
    proxy: dict[str, str | int] = field(init=False, default_factory=dict)
    tls: dict[str, str] = field(init=False, default_factory=dict)
    detail: str = field(init=False, default="")

    def __repr__(self) -> str:
        return (
            f"<Session {self.session_id} {self.peer_ip}:{self.peer_port} "
            f"{self.received_bytes} in, {self.sent_bytes} out>"
        )

    @property
    def stream(self) -> socket.socket | TlsSocket:
        """What its handler reads from and sends to: its socket, or TLS over it."""
        return self.tls_socket or self.sock

    @property
    def received_bytes(self) -> int:
        """Bytes of payload that were read from the peer."""
        return int(self.counts.received_bytes)

    @property
    def sent_bytes(self) -> int:
        """Bytes of payload that the kernel has taken to send back."""
        return int(self.counts.sent_bytes)

    @property
    def duration_s(self) -> float:
        """Seconds since it was accepted, on a clock that is never set back."""
        # In whole microseconds: `round` to six digits takes ten times as long.
        return int((time.monotonic() - self.started) * 1e6) / 1e6

    def counted(self) -> Counts:
        """Return a copy of the counts, while its thread goes on counting without a lock.

        `sent_bytes` is read first, so that no more was sent than received.
        """
        sent = self.counts.sent_bytes
        return Counts(self.counts.received_bytes, sent)

    def shut_down(self, how: int = socket.SHUT_RDWR) -> None:
        """End the connection below any TLS, which wakes the session's thread.

        Call it under the slots' lock and only while the session holds its slot:
        afterwards the descriptor's number may belong to another connection.
        """
        try:
            self.sock.shutdown(how)
        except OSError:  # it is not connected any more, which wakes its thread as well
            return

    def last_line(self, reason: Reason) -> dict[str, Any]:
        """Return the fields of `session.closed`, as they are now."""
        counts = self.counts
        sent = counts.sent_bytes  # first, as in `counted`
        line = {
            "session_id": self.session_id,
            "peer_ip": self.peer_ip,
            "peer_port": self.peer_port,
            "reason": str(reason),
            "received_bytes": counts.received_bytes,
            "sent_bytes": sent,
            "duration_s": self.duration_s,
            **self.tls,
        }
        if self.detail:
            line["detail"] = self.detail
        return line
