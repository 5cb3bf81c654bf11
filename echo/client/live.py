"""The live sessions of a daemon, as its `/sessions` page tells them, and how fast they are."""

from __future__ import annotations

import http.client
import socket
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from echo.deadline import Deadline
from echo.limits import MIB

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

# A million sessions fit in; whatever sends more is no daemon.
MOST_BYTES = 512 * MIB
_PIECE_BYTES = MIB


class BadAnswer(Exception):
    """What answered is not the status page of a daemon; the text says why."""


class BadUrl(ValueError):
    """No URL that a status page can have."""


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
        ip = f"[{self.peer_ip}]" if ":" in self.peer_ip else self.peer_ip
        return f"{ip}:{self.peer_port}"


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What the page said at one moment: the daemon, its listening socket, its sessions.

    `rates` are those of the totals, by their names, None until they are known.
    """

    server: Mapping[str, Any]
    listening: Mapping[str, Any]
    totals: Mapping[str, int]
    sessions: list[LiveSession]
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
    text = wanted.casefold()
    found = [session for session in sessions if not text or text in _searched(session)]
    return sorted(found, key=SORT_KEYS[sort], reverse=descending)


def _searched(session: LiveSession) -> str:
    return f"{session.peer} {session.state} {session.via} {session.session_id}".casefold()


# -- reading ------------------------------------------------------------------------------


class Source:
    """A daemon's `/sessions` page, below `url`; each `read` is a connection of its own.

    `timeout` is in seconds, for all of one reading. Raises `BadUrl`.
    """

    def __init__(
        self, url: str, *, timeout: float = 5.0, tls: ssl.SSLContext | None = None
    ) -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise BadUrl(str(error)) from error
        if parts.scheme not in ("http", "https"):
            raise BadUrl("it has to begin with http:// or https://")
        if not host or parts.query or parts.fragment or parts.username is not None:
            raise BadUrl("there is no host in it, or more than a host, a port and a path")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self.timeout = timeout
        self._path = f"{parts.path.rstrip('/')}/sessions"
        self._connection: Callable[[], http.client.HTTPConnection]
        if parts.scheme == "https":
            self._connection = lambda: http.client.HTTPSConnection(
                host, port, timeout=timeout, context=tls
            )
        else:
            self._connection = lambda: http.client.HTTPConnection(host, port, timeout=timeout)

    def read(self) -> Sample:
        """Ask; `OSError` where nobody answers, `BadAnswer` for somebody else's answer."""
        return parsed(self.raw())

    def raw(self) -> bytes:
        """Give the page as it is."""
        deadline = Deadline(self.timeout)
        connection = self._connection()
        try:
            _connect(connection)
            connection.request("GET", self._path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise BadAnswer(f"it answers {answer.status} {answer.reason}")
            return _whole(answer, deadline)
        except http.client.HTTPException as error:
            raise BadAnswer(f"it doesn't answer in HTTP: {error!r}") from error
        finally:
            connection.close()


def _connect(connection: http.client.HTTPConnection) -> None:
    try:
        connection.connect()
    except UnicodeError as error:  # a name that no name server can be asked for
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from error


def _whole(answer: http.client.HTTPResponse, deadline: Deadline) -> bytes:
    """Read to the end, which has to come in time: a trickle would never time out by itself."""
    body = bytearray()
    while piece := answer.read1(_PIECE_BYTES):
        body += piece
        if deadline.expired:
            raise TimeoutError("it took too long to answer")
        if len(body) > MOST_BYTES:
            raise BadAnswer("its answer is too long")
    return bytes(body)


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


def _via(row: Mapping[str, Any]) -> str:
    words = [str(word) for word in row["tls"].values()][:1] if "tls" in row else []
    if "proxy_ip" in row:
        words.append(f"from {row['proxy_ip']}:{row['proxy_port']}")
    return " ".join(words)


# -- again and again ----------------------------------------------------------------------


class Feed:
    """Reads a source every `interval` seconds in a thread of its own, while it is entered.

    `sample` is the newest one, with its rates; `problem` says why there is no newer one, empty
    where all is well. After each reading `changed` is called, in that thread.
    """

    def __init__(
        self, source: Source, first: Sample, interval: float, changed: Callable[[], None]
    ) -> None:
        self.sample = first
        self.problem = ""
        self._source = source
        self._interval = interval
        self._changed = changed
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()  # a reading under way is left to itself

    def _run(self) -> None:
        while not self._over.wait(self._interval):
            try:
                sample = self._source.read()
            except (OSError, BadAnswer) as error:
                self.problem = getattr(error, "strerror", None) or str(error)
            else:
                self.problem = ""
                if not sample.is_same(self.sample):
                    self.sample = sample.since(self.sample)
            self._changed()
