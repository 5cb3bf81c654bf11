"""The register of the sessions that are alive, and the totals of those that were."""

from __future__ import annotations

import socket
import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from echo.events import Refusal
from echo.server.sockets import network_of
from echo.server.waiting import Bell, Waiter

if TYPE_CHECKING:
    from echo.events import Reason
    from echo.limits import Limits
    from echo.server.session import Session


# Seconds: from a health check's few milliseconds to the longest session there is by default.
DURATION_BOUNDS = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 3600.0, 21600.0, 86400.0)


@dataclass(slots=True)
class Durations:
    """How long sessions lasted: so many up to each bound, so many beyond, so many seconds in all.

    >>> durations = Durations()
    >>> durations.add(0.5)
    >>> durations.counts[DURATION_BOUNDS.index(1.0)], durations.total
    (1, 0.5)
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one session."""
        self.counts[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.total += seconds


class Sessions:
    """The register: who has a place, what has been in all, and when the last one is gone.

    A session has a place from `enter` to `give_back`, which comes just before its socket
    closes: a peer that sees its session end can open another at once. It stays in the
    register until `forget`, which comes after its last line: whoever waits for the register
    to be empty has all the lines.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.accepted = 0
        self.reasons: Counter[Reason] = Counter()
        self.durations = Durations()
        self._received_bytes = 0
        self._sent_bytes = 0
        self._live: dict[socket.socket, Session] = {}
        self._places: dict[str, int] = {}
        self._placed = 0
        self._lock = threading.Lock()
        self._draining = False
        self._empty = Bell()  # rings when draining has come to its end

    def __repr__(self) -> str:
        return f"<Sessions {self._placed}/{self.limits.max_sessions}>"

    def __getitem__(self, request: socket.socket) -> Session:
        return self._live[request]

    @property
    def active(self) -> int:
        """Sessions that have a place now."""
        return self._placed

    @property
    def closed(self) -> int:
        """Sessions that have ended."""
        return sum(self.reasons.values())

    def live(self) -> list[Session]:
        """Give the sessions in the register, oldest first."""
        with self._lock:
            return list(self._live.values())

    def byte_totals(self) -> dict[str, int]:
        """Count the payload of all sessions, live ones included, by the log's names."""
        with self._lock:
            received, sent = self._received_bytes, self._sent_bytes
            alive = [session for session in self._live.values() if not session.ended]
        # Whichever ends from here on isn't in the sums above: each is counted once, and nobody
        # who opens or closes waits for the counting of thousands.
        for session in alive:
            sent += session.sent_bytes  # first, so that no more was sent than received
            received += session.received_bytes
        return {"received_bytes": received, "sent_bytes": sent}

    def refusal(self, peer_ip: str | None) -> Refusal | None:
        """Say why one more session of this peer, None for one unknown, can't be had."""
        if self._placed >= self.limits.max_sessions:
            return Refusal.MAX_SESSIONS
        if peer_ip is None:
            return None
        if self._places.get(network_of(peer_ip), 0) >= self.limits.max_sessions_per_peer:
            return Refusal.MAX_SESSIONS_PER_PEER
        return None

    def enter(self, session: Session) -> None:
        """Give it a place."""
        with self._lock:
            self._live[session.request] = session
            self._take_place(session)

    def open(self, session: Session) -> bool:
        """Count it as accepted: its thread has begun. False when a stop has given it up before."""
        with self._lock:
            session.opened = not session.ended
            self.accepted += session.opened
            return session.opened

    def rename(self, session: Session, peer_ip: str, peer_port: int) -> Refusal | None:
        """Count it as the session of the peer that its proxy names, unless that has too many."""
        with self._lock:
            session.proxy = {"proxy_ip": session.peer_ip, "proxy_port": session.peer_port}
            self._free_place(session)
            session.peer_ip, session.peer_port = peer_ip, peer_port
            self._take_place(session)
            full = self._places[network_of(peer_ip)] > self.limits.max_sessions_per_peer
            return Refusal.MAX_SESSIONS_PER_PEER if full else None

    def exchange(self, session: Session, request: socket.socket) -> None:
        """Put another socket in the place of a session's own, which it was made from."""
        with self._lock:
            del self._live[session.request]
            session.request = request
            self._live[request] = session
            if session.cut:  # while there was neither the one nor the other
                _wake(request)

    def give_back(self, request: socket.socket) -> None:
        """Give a socket's place back, before the socket is closed; twice is once.

        From here on the descriptor's number may soon be somebody else's: `cut` leaves it alone.
        """
        with self._lock:
            session = self._live.get(request)
            if session is not None:
                self._free_place(session)

    def end(self, session: Session, reason: Reason) -> dict[str, Any] | None:
        """Add it to the totals; give its last line's fields to the one who is to write it.

        They are its facts now: the thread of a session that was given up may still be counting.
        A session whose thread has never begun has no line at all.
        """
        with self._lock:
            if session.ended:
                return None
            session.ended = True
            session.reason = reason
            if not session.opened:
                self._forget(session)
                return None
            line = session.last_line()
            self.reasons[reason] += 1
            self.durations.add(line["duration_s"])
            self._received_bytes += line["received_bytes"]
            self._sent_bytes += line["sent_bytes"]
            return line

    def forget(self, session: Session) -> None:
        """Take it out of the register: nothing more will be heard of it."""
        with self._lock:
            self._forget(session)

    def _forget(self, session: Session) -> None:
        self._free_place(session)
        self._live.pop(session.request, None)
        self._ring_if_empty()

    def _take_place(self, session: Session) -> None:
        self._placed += 1
        network = network_of(session.peer_ip)
        self._places[network] = self._places.get(network, 0) + 1
        session.placed = True
        session.active_sessions = self._placed

    def _free_place(self, session: Session) -> None:
        if not session.placed:
            return
        session.placed = False
        self._placed -= 1
        network = network_of(session.peer_ip)
        left = self._places[network] - 1
        if left:
            self._places[network] = left
        else:
            del self._places[network]

    def drain(self) -> None:
        """Expect no more sessions: from now on the last one to go rings."""
        with self._lock:
            self._draining = True
            self._ring_if_empty()

    def _ring_if_empty(self) -> None:
        if self._draining and not self._live:
            self._empty.ring()

    def fileno(self) -> int:
        """Give a descriptor that is readable once `drain` has come to its end."""
        return self._empty.fileno()

    def wait(self, seconds: float) -> bool:
        """Wait for the end of `drain`; False if it did not come in time."""
        return not self._live or Waiter(self._empty).readable(seconds)

    def cut(self) -> None:
        """End at once every session that still has its socket.

        The call goes past any TLS layer: its own `shutdown` would drop the encryption and let
        the session's next send go out in the clear.
        """
        with self._lock:
            for session in self._live.values():
                if session.placed:
                    session.cut = True
                    _wake(session.request)

    def close(self) -> None:
        """Give the register's own descriptors back."""
        self._empty.close()


def _wake(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:  # it is not connected any more, which wakes its thread as well
        return
