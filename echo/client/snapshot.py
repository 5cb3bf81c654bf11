"""The live sessions of a daemon: snapshots of its `/sessions` page, rates, sorting, filtering."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class BadAnswer(Exception):
    """Something else than a daemon's status page answered; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class LiveSession:
    """One session as the daemon sees it.

    Rates are in bytes a second, None until two snapshots are there. `via` names the TLS version
    and the proxy by which the session came, where there is one.
    """

    session_id: str
    fd: int
    peer_ip: str
    peer_port: int
    thread: str
    duration_s: float
    received_bytes: int
    sent_bytes: int
    state: str
    via: str = ""
    received_rate: float | None = None
    sent_rate: float | None = None

    @property
    def peer(self) -> str:
        """Return the peer's address and port.

        >>> LiveSession("1", 5, "::1", 40000, "t", 0.1, 0, 0, "idle").peer
        '[::1]:40000'
        """
        return _address(self.peer_ip, self.peer_port)

    @property
    def searched(self) -> str:
        """Return the text that a filter searches."""
        return f"{self.peer} {self.state} {self.via} {self.session_id}"


@dataclass(frozen=True, slots=True)
class EndedSession:
    """One session that has ended, and the reason."""

    session_id: str
    peer: str
    reason: str
    duration_s: float
    received_bytes: int
    sent_bytes: int

    @property
    def searched(self) -> str:
        """Return the text that a filter searches."""
        return f"{self.peer} {self.reason} {self.session_id}"


def _address(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The state of a daemon at one moment: its facts, its listening socket, its sessions.

    `ended` are the sessions that ended last, the newest first. `rates` are those of `totals`, a
    second, by the same names; None until two snapshots are there.
    """

    server: Mapping[str, Any]
    listening: Mapping[str, Any]
    totals: Mapping[str, int]
    sessions: list[LiveSession]
    ended: list[EndedSession]
    rates: Mapping[str, float] | None = None

    @property
    def uptime_s(self) -> float:
        """Return the daemon's own clock; a snapshot may be older than the request for it."""
        return float(self.server["uptime_s"])

    def is_same(self, other: Snapshot) -> bool:
        """Return whether both are the same snapshot, sent twice."""
        return self._of_one_daemon(other) and self.uptime_s == other.uptime_s

    def _of_one_daemon(self, other: Snapshot) -> bool:
        return bool(self.server["pid"] == other.server["pid"])

    def since(self, before: Snapshot) -> Snapshot:
        """Return this snapshot with rates, if `before` is an earlier one of the same daemon."""
        seconds = self.uptime_s - before.uptime_s
        if seconds <= 0 or not self._of_one_daemon(before):
            return self
        known = {session.session_id: session for session in before.sessions}
        return replace(
            self,
            sessions=[_rated(now, known.get(now.session_id), seconds) for now in self.sessions],
            rates={
                name: (count - before.totals.get(name, 0)) / seconds
                for name, count in self.totals.items()
            },
        )


def _rated(now: LiveSession, before: LiveSession | None, seconds: float) -> LiveSession:
    received, sent = (before.received_bytes, before.sent_bytes) if before else (0, 0)
    return replace(
        now,
        received_rate=(now.received_bytes - received) / seconds,
        sent_rate=(now.sent_bytes - sent) / seconds,
    )


Row = TypeVar("Row", LiveSession, EndedSession)

# -- sorting, filtering -------------------------------------------------------------------

SORT_KEYS: dict[str, Callable[[LiveSession], Any]] = {
    "peer": lambda session: (session.peer_ip, session.peer_port),
    "fd": lambda session: session.fd,
    "state": lambda session: session.state,
    "time": lambda session: session.duration_s,
    "received": lambda session: session.received_bytes,
    "sent": lambda session: session.sent_bytes,
    "received_rate": lambda session: session.received_rate or 0,
    "sent_rate": lambda session: session.sent_rate or 0,
    "thread": lambda session: session.thread,
    "id": lambda session: session.session_id,
    "via": lambda session: session.via,
}


def chosen(
    sessions: list[LiveSession], wanted: str, sort: str, *, descending: bool
) -> list[LiveSession]:
    """Return the sessions that contain `wanted`, sorted by a column; equals stay in order.

    >>> one, two = (LiveSession("1", n, "::1", n, "t", 0.1, 0, 0, "idle") for n in (5, 6))
    >>> [session.fd for session in chosen([one, two], "::1]:6", "fd", descending=True)]
    [6]
    """
    return sorted(matching(sessions, wanted), key=SORT_KEYS[sort], reverse=descending)


def matching(rows: Iterable[Row], wanted: str) -> list[Row]:
    """Return the rows that contain `wanted`, in upper or lower case."""
    text = wanted.casefold()
    return [row for row in rows if not text or text in row.searched.casefold()]


# -- the page ----------------------------------------------------------------------------


def parsed(body: bytes) -> Snapshot:
    """Parse the body of `/sessions`; raise `BadAnswer` where it is something else.

    >>> parsed(b"[]")
    Traceback (most recent call last):
        ...
    echo.client.snapshot.BadAnswer: its answer is not a daemon's
    """
    try:
        page = orjson.loads(body)
        server = page["server"]
        return Snapshot(
            server={**server, "pid": int(server["pid"]), "uptime_s": float(server["uptime_s"])},
            listening=dict(page["listening"]),
            totals={str(name): int(count) for name, count in page["totals"].items()},
            sessions=[_session(row) for row in page["sessions"]],
            ended=[_ended(row) for row in page["ended"]],
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise BadAnswer("its answer is not a daemon's") from error


def _session(row: Mapping[str, Any]) -> LiveSession:
    return LiveSession(
        session_id=str(row["session_id"]),
        fd=int(row["fd"]),
        peer_ip=str(row["peer_ip"]),
        peer_port=int(row["peer_port"]),
        thread=str(row["thread"]),
        duration_s=float(row["duration_s"]),
        received_bytes=int(row["received_bytes"]),
        sent_bytes=int(row["sent_bytes"]),
        state=str(row["state"]),
        via=_via(row),
    )


def _ended(row: Mapping[str, Any]) -> EndedSession:
    return EndedSession(
        session_id=str(row["session_id"]),
        peer=_address(str(row["peer_ip"]), int(row["peer_port"])),
        reason=str(row["reason"]),
        duration_s=float(row["duration_s"]),
        received_bytes=int(row["received_bytes"]),
        sent_bytes=int(row["sent_bytes"]),
    )


def _via(row: Mapping[str, Any]) -> str:
    words = [str(word) for word in row["tls"].values()][:1] if "tls" in row else []
    if "proxy_ip" in row:
        words.append(f"from {row['proxy_ip']}:{row['proxy_port']}")
    return " ".join(words)
