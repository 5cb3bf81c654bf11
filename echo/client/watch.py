"""Asking a daemon for its live sessions: once, or again and again."""

from __future__ import annotations

import http.client
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from echo.client.live import BadAnswer, Sample, parsed
from echo.deadline import Deadline
from echo.limits import MIB

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

# A million sessions fit in; whatever sends more is no daemon.
MOST_BYTES = 512 * MIB
_PIECE_BYTES = MIB


class BadUrl(ValueError):
    """No URL that a status page can have."""


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
