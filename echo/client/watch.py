"""Reading a daemon's `/sessions` page over HTTP: once, or again and again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import h11

from echo.client.client import READ_BYTES
from echo.client.connecting import open_connection
from echo.client.snapshot import BadAnswer, Snapshot, parsed
from echo.client.tls import trusting
from echo.deadline import Deadline
from echo.errors import problem_of
from echo.limits import MIB
from echo.tls import TlsSocket, wrap

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

# All that is read of one answer, headers included: about 170,000 sessions. Parsed, it may take
# some ten times as much memory.
MOST_BYTES = 32 * MIB
_OK = 200


class BadUrl(ValueError):
    """The URL can't be that of a status page; the text says why."""


class StatusPage:
    """A daemon's `/sessions` page, below `url`; each read is a connection of its own.

    `HOST:PORT` will do as well, and `:PORT` for 127.0.0.1.
    `timeout` is in seconds, for a whole read: connecting, the TLS handshake, the request and the
    answer. Raises `BadUrl`.
    """

    def __init__(
        self, url: str, *, timeout: float = 5.0, tls: ssl.SSLContext | None = None
    ) -> None:
        if url.removeprefix(":").isdecimal():
            url = f"127.0.0.1:{url.removeprefix(':')}"
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise BadUrl(str(error)) from error
        if parts.scheme not in ("http", "https"):
            raise BadUrl("it has to begin with http:// or https://")
        only_port = host and host.isdecimal() and port is None
        if not host or only_port or parts.query or parts.fragment or parts.username is not None:
            raise BadUrl("it needs a host, and has room for a port and a path only")
        path = parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{parts.netloc}{path}"
        self.timeout = timeout
        self._netloc = parts.netloc
        self._target = quote(f"{path}/sessions", safe="/%:@!$&'()*+,;=~")
        self._address = host, port or (443 if parts.scheme == "https" else 80)
        self._tls = (tls or trusting()) if parts.scheme == "https" else None

    def read(self) -> Snapshot:
        """Return a new snapshot.

        Raises `OSError` where nobody answers in time, `BadAnswer` for something else's answer.
        """
        return parsed(self.raw())

    def raw(self) -> bytes:
        """Return the page's body as it is; raises what `read` raises."""
        deadline = Deadline(self.timeout)
        try:
            sock: socket.socket | TlsSocket
            sock = plain = open_connection(self._address, self.timeout)[0]
            try:
                if self._tls is not None:
                    sock.settimeout(_left(deadline))
                    sock = wrap(plain, self._tls, server_hostname=self._address[0])
                return self._exchange(sock, deadline)
            finally:
                sock.close()
        except TimeoutError as error:
            raise TimeoutError("it took too long to answer") from error
        except h11.ProtocolError as error:
            raise BadAnswer("it doesn't answer in HTTP") from error

    def _exchange(self, sock: socket.socket | TlsSocket, deadline: Deadline) -> bytes:
        """Send the request, and read the answer to its end.

        Whatever arrives counts towards `MOST_BYTES` and all waiting towards one deadline: headers,
        interim answers and chunk extensions have no other end when a server drips them.
        """
        host = self._netloc.encode("idna").decode()
        headers = [("Host", host), ("Accept", "application/json"), ("Connection", "close")]
        http = h11.Connection(h11.CLIENT)
        request = http.send(h11.Request(method="GET", target=self._target, headers=headers))
        sock.settimeout(_left(deadline))
        sock.sendall((request or b"") + (http.send(h11.EndOfMessage()) or b""))
        body, received = bytearray(), 0
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                sock.settimeout(_left(deadline))
                data = sock.recv(READ_BYTES)
                received += len(data)
                if received > MOST_BYTES:
                    raise BadAnswer(f"its answer is longer than {MOST_BYTES // MIB} MiB")
                http.receive_data(data)
            elif isinstance(event, h11.Response) and event.status_code != _OK:
                why = bytes(event.reason).decode("latin-1")
                raise BadAnswer(f"it answers {event.status_code} {why}")
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)


def _left(deadline: Deadline) -> float:
    """Return the seconds that are left; a socket takes a time-out of 0 for "don't block"."""
    left = deadline.left()
    if not left:
        raise TimeoutError
    return left


class Poller:
    """Reads a page every `interval` seconds in a thread of its own, while it is entered.

    `snapshot` is the newest one, with its rates; `problem` says why there is no newer one, and is
    empty while all is well. After each read `changed` is called, in that thread.
    """

    def __init__(
        self, page: StatusPage, first: Snapshot, interval: float, changed: Callable[[], None]
    ) -> None:
        self.snapshot = first
        self.problem = ""
        self._page = page
        self._interval = interval
        self._changed = changed
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def __enter__(self) -> Poller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()  # a read under way ends by its own time-out

    def _run(self) -> None:
        while not self._over.wait(self._interval):
            try:
                snapshot = self._page.read()
            except (OSError, BadAnswer) as error:
                self.problem = problem_of(error)
            else:
                self.problem = ""
                if not snapshot.is_same(self.snapshot):
                    self.snapshot = snapshot.since(self.snapshot)
            self._changed()
