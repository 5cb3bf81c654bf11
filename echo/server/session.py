"""One session: its facts, from its acceptance to its one closing line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from echo.events import Reason

if TYPE_CHECKING:
    import socket

    from echo.server.compiled_loop import CompiledLoop


class SessionEnd(Exception):
    """Raised in a handler to end its session for a reason other than the peer's end of stream.

    `detail` says what was wrong, where the reason alone can't; never in the peer's words.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)
class Counts:
    """Bytes of one session's payload: read by the loop, and taken back by the kernel."""

    received_bytes: int = 0
    sent_bytes: int = 0


@dataclass(slots=True, eq=False)
class Session:
    """The facts of one session, from its acceptance to its one closing line.

    Its own thread counts the bytes and sets `reason`; all others only read.
    """

    session_id: str
    request: socket.socket
    peer_ip: str
    peer_port: int
    thread: int = 0  # the system's number of its thread, once that has begun
    counts: Counts | CompiledLoop = field(default_factory=Counts)
    active_sessions: int = 0  # when it got its place, itself included
    reason: Reason = Reason.EOF
    # What only some sessions have to say in their lines, by the log's names.
    proxy: dict[str, str | int] = field(default_factory=dict)
    tls: dict[str, str] = field(default_factory=dict)
    detail: str = ""
    obstacle: SessionEnd | None = None  # ends it before its handler has run
    started: float = field(default_factory=time.monotonic)
    # The four below change under the register's lock only.
    placed: bool = False  # it counts against the limits
    opened: bool = False  # its thread has begun, and it counts as accepted
    ended: bool = False  # its last line is somebody's already
    cut: bool = False

    def __repr__(self) -> str:
        return (
            f"<Session {self.session_id} {self.peer_ip}:{self.peer_port} "
            f"{self.received_bytes} in, {self.sent_bytes} out>"
        )

    @property
    def received_bytes(self) -> int:
        """Bytes that the loop has read."""
        return self.counts.received_bytes

    @property
    def sent_bytes(self) -> int:
        """Bytes of them that the kernel has taken back."""
        return self.counts.sent_bytes

    @property
    def duration_s(self) -> float:
        """Seconds since it was accepted, on a clock that is never set back."""
        return round(time.monotonic() - self.started, 6)

    def counted(self) -> Counts:
        """Copy the counts while its thread, which may need no lock for that, goes on counting.

        In this order: so no more has been sent than was received.
        """
        sent = self.sent_bytes
        return Counts(self.received_bytes, sent)

    def first_line(self) -> dict[str, Any]:
        """Give the fields of `session.accepted`."""
        return {
            "session_id": self.session_id,
            "peer_ip": self.peer_ip,
            "peer_port": self.peer_port,
            "fd": self.request.fileno(),
            "active_sessions": self.active_sessions,
            **self.proxy,
        }

    def last_line(self) -> dict[str, Any]:
        """Give the fields of `session.closed`, as they are now."""
        counts = self.counts
        sent = counts.sent_bytes  # first, as in `counted`
        return {
            "session_id": self.session_id,
            "peer_ip": self.peer_ip,
            "peer_port": self.peer_port,
            "reason": str(self.reason),
            "received_bytes": counts.received_bytes,
            "sent_bytes": sent,
            "duration_s": self.duration_s,
            **self.tls,
            **({"detail": self.detail} if self.detail else {}),
        }
