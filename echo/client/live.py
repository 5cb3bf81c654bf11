"""The live sessions of a daemon, as its `/sessions` page tells them, and how fast they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class BadAnswer(Exception):
    """What answered is not the status page of a daemon; the text says why."""


@dataclass(frozen=True, slots=True)
class LiveSession:
    """One session as the daemon sees it; a rate is bytes a second, None until it is known.

    `via` says by which proxy it came and how it is encrypted, where it is.
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
        """The peer's address and port.

        >>> LiveSession("1", 5, "::1", 40000, "t", 0.1, 0, 0, "reading").peer
        '[::1]:40000'
        """
        return _address(self.peer_ip, self.peer_port)

    @property
    def searched(self) -> str:
        """What a filter looks at."""
        return f"{self.peer} {self.state} {self.via} {self.session_id}"


@dataclass(frozen=True, slots=True)
class EndedSession:
    """One session that is over, and why."""

    session_id: str
    peer: str
    reason: str
    duration_s: float
    received_bytes: int
    sent_bytes: int

    @property
    def searched(self) -> str:
        """What a filter looks at."""
        return f"{self.peer} {self.reason} {self.session_id}"


def _address(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What the page said at one moment: the daemon, its listening socket, its sessions.

    `ended` are the last ones that are over, the newest first. `rates` are those of the totals, by
    their names, None until they are known.
    """

    server: Mapping[str, Any]
    listening: Mapping[str, Any]
    totals: Mapping[str, int]
    sessions: list[LiveSession]
    ended: list[EndedSession]
    rates: Mapping[str, float] | None = None

    @property
    def uptime_s(self) -> float:
        """The daemon's own clock: a picture may have been taken before it was asked for."""
        return float(self.server["uptime_s"])

    def is_same(self, other: Sample) -> bool:
        """Whether both are one picture."""
        return self._of_one_daemon(other) and self.uptime_s == other.uptime_s

    def _of_one_daemon(self, other: Sample) -> bool:
        return bool(self.server["pid"] == other.server["pid"])

    def since(self, before: Sample) -> Sample:
        """Give this sample with its rates, if `before` is an earlier one of the same daemon."""
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
    """Sort the sessions whose peer, state, way or id contain `wanted`; equals stay in order.

    >>> one, two = (LiveSession("1", n, "::1", n, "t", 0.1, 0, 0, "reading") for n in (5, 6))
    >>> [session.fd for session in chosen([one, two], "::1]:6", "fd", descending=True)]
    [6]
    """
    return sorted(matching(sessions, wanted), key=SORT_KEYS[sort], reverse=descending)


def matching(rows: Iterable[Row], wanted: str) -> list[Row]:
    """Give the rows that contain `wanted`, whatever its capitals."""
    text = wanted.casefold()
    return [row for row in rows if not text or text in row.searched.casefold()]


# -- the page ----------------------------------------------------------------------------


def parsed(body: bytes) -> Sample:
    """Read the page; `BadAnswer` for what is none.

    >>> parsed(b"[]")
    Traceback (most recent call last):
        ...
    echo.client.live.BadAnswer: its answer is not a daemon's
    """
    try:
        page = orjson.loads(body)
        server = page["server"]
        return Sample(
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
