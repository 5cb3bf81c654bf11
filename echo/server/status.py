"""The read-only HTTP side: what the daemon knows of itself, read from its state when asked.

A page is a function that is called with the request's `Accept` header and returns an `Answer`.
Each connection carries one request and has a thread of its own; `StatusServer.finish_request`
is its story. Whatever a client sends, the work in Python that it causes has a bound: its bytes,
its header lines and the seconds of the whole exchange are counted, and h11 parses what is left.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from ipaddress import ip_address
from socketserver import BaseRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import h11

from echo.deadline import Deadline
from echo.server.listener import ListeningServer
from echo.server.slots import Connection, Slots
from echo.server.sockets import LINGER_TIMEOUT, linger
from echo.server.watchdog import WatchedThread

if TYPE_CHECKING:
    from types import TracebackType

    from echo.server.server import EchoServer

# Connections at once, and seconds for each from its acceptance to its end.
STATUS_CONNECTIONS = 16
STATUS_TIMEOUT = 5.0
# Seconds that a connection waits for a slot: threads that yield, or are at their page, soon end.
ROOM_TIMEOUT = 0.25
# What a request may have, as Apache has it: a browser's cookies for localhost fit.
REQUEST_BYTES = 16 * 1024
REQUEST_LINES = 100

TEXT = "text/plain; charset=utf-8"
# What a browser may do with a page: run the package's own files, ask this server, nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# A name or an address, and a port: nothing else is a host (RFC 9110, 7.2).
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\s:/?#@\[\]]+)(:\d*)?")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page returns: its content, and what that is."""

    body: bytes
    content_type: str = TEXT
    code: HTTPStatus = HTTPStatus.OK


Page = Callable[[str], Answer]
FAILED = Answer(b"this page failed; the log says why\n", code=HTTPStatus.INTERNAL_SERVER_ERROR)
FOREIGN = Answer(
    b"this address serves its own machine only: ask for it by an address or as localhost\n"
    b"(a proxy in front of it has to send such a Host, or the name given as --status-host)\n",
    code=HTTPStatus.MISDIRECTED_REQUEST,
)
READ_ONLY = Answer(b"the pages are read with GET\n", code=HTTPStatus.METHOD_NOT_ALLOWED)


def health_of(server: EchoServer) -> Page:
    """Return the page that says whether new clients are welcome: 200, or 503 once it drains."""

    def health(accept: str) -> Answer:
        del accept
        if server.draining:
            return Answer(b"draining\n", code=HTTPStatus.SERVICE_UNAVAILABLE)
        return Answer(b"ok\n")

    return health


def is_allowed_host(host: str, known: Collection[str] = ()) -> bool:
    """Return whether a request's `Host` is one that a loopback address is asked by.

    A page from elsewhere can let its own name lead to 127.0.0.1 (DNS rebinding) and would then
    be of one origin with this server; it can't do that with an address, nor with `localhost`.

    >>> is_allowed_host("127.0.0.1:9001"), is_allowed_host("[::1]"), is_allowed_host("")
    (True, True, True)
    >>> is_allowed_host("evil.example:9001"), is_allowed_host("me", known={"me"})
    (False, True)
    """
    found = _HOST.fullmatch(host.lower())
    name = found["name"].strip("[]") if found else host
    with suppress(ValueError):
        return bool(ip_address(name))
    return name in {"", "localhost", *known} or name.endswith(".localhost")


@dataclass(slots=True, eq=False)
class Exchange(Connection):
    """A connection to the status port, for one request and its answer.

    `deadline` is for all of it. `waiting` is true while its thread has nothing to do but to wait
    for the peer, which is when it may have to yield to another connection.
    """

    deadline: Deadline = field(default_factory=lambda: Deadline(STATUS_TIMEOUT))
    waiting: bool = False

    def receive(self, most: int) -> bytes:
        """Return the peer's next bytes, none at its end of stream; raise `OSError` if late."""
        return bytes(self._wait(self.sock.recv, most))

    def send(self, data: bytes) -> None:
        """Send all of `data`; raise `OSError` if the peer doesn't take it in time."""
        self._wait(self.sock.sendall, data)

    def _wait(self, call: Callable[[Any], Any], argument: Any) -> Any:
        left = self.deadline.left()
        if not left:
            raise TimeoutError
        self.sock.settimeout(left)
        self.waiting = True
        try:
            return call(argument)
        finally:
            self.waiting = False


class StatusServer(ListeningServer):
    """Serves `pages`, by their paths, while it is entered.

    `timeout` is in seconds, from a connection's acceptance to its end. On a loopback address it
    answers requests for an address, for `localhost` or for one of `names`. Its accept thread
    calls `each_iteration` twice a second or more often. Raises `OSError` when the address can't be
    bound.

    Of its `connections` slots one peer gets at most three quarters. Once half are taken, each new
    connection ends one that waits for its peer: the oldest of the peer that has most. So silent
    or stuck clients, however many, don't keep a health check from its answer.

    >>> from urllib.request import urlopen
    >>> with StatusServer(("127.0.0.1", 0), {"/hello": lambda accept: Answer(b"hello")}) as status:
    ...     urlopen(f"http://127.0.0.1:{status.server_address[1]}/hello", timeout=5).read()
    b'hello'
    """

    def __init__(
        self,
        server_address: tuple[str, int] | socket.socket,
        pages: Mapping[str, Page],
        *,
        log: Any = None,
        connections: int = STATUS_CONNECTIONS,
        timeout: float = STATUS_TIMEOUT,
        names: Collection[str] = (),
        each_iteration: Callable[[], None] = lambda: None,
    ) -> None:
        self.pages = pages
        self.names = names
        self.each_iteration = each_iteration
        self.seconds = timeout
        self._open: list[Exchange] = []  # the oldest first; the accept thread's own
        self._released = threading.Event()  # a slot, since the accept thread last looked
        self.thread = WatchedThread("status", self.serve_forever, lambda: self.heartbeat)
        slots = Slots(connections, per_peer=connections - connections // 4)
        super().__init__(server_address, BaseRequestHandler, slots=slots, log=log)
        self.is_local = ip_address(str(self.server_address[0])).is_loopback

    def __repr__(self) -> str:
        host, port = self.server_address[:2]
        slots = self.slots
        return f"<StatusServer {host!s}:{port} {slots.active}/{slots.limit} connections>"

    def __enter__(self) -> StatusServer:
        try:
            self.thread.start()
        except BaseException:  # the system has no thread left
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.server_close()

    # -- the accept thread --------------------------------------------------------------

    def connection(self, sock: socket.socket, peer_ip: str, peer_port: int) -> Exchange:
        """Return the exchange for an accepted socket; its time begins."""
        return Exchange(sock, peer_ip, peer_port, deadline=Deadline(self.seconds))

    def verify_request(self, exchange: Any, client_address: Any) -> bool:
        """Take a slot for an exchange; once half are taken, let an older one yield its own."""
        del client_address
        self._open = [each for each in self._open if each.networks is not None]
        if 2 * len(self._open) >= self.slots.limit:
            self._let_one_yield()
        patience = Deadline(ROOM_TIMEOUT)
        self._released.clear()
        while self.slots.acquire(exchange) is not None:
            if not self._released.wait(patience.left()):
                return False
            self._released.clear()
        self._open.append(exchange)
        return True

    def _let_one_yield(self) -> None:
        """End the oldest exchange that waits, of the peer that has most; its thread sees that."""
        with self.slots.lock:
            had = Counter(each.networks for each in self._open)
            waiting = [each for each in self._open if each.waiting and each.networks is not None]
            if waiting:
                yielding = max(waiting, key=lambda each: had[each.networks])
                self._open.remove(yielding)
                with suppress(OSError):  # the peer has ended it already
                    yielding.sock.shutdown(socket.SHUT_RDWR)

    def service_actions(self) -> None:
        """Write the lines that are due; do what recurs."""
        super().service_actions()
        self.each_iteration()

    # -- an exchange's own thread -------------------------------------------------------

    def finish_request(self, exchange: Any, client_address: Any) -> None:
        """Read one request, and send the answer of its page."""
        del client_address
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_BYTES - 1)
        request = None
        try:
            request = self._read_request(exchange, http)
            if request is None:
                return
            answer = self._answer(request)
        except h11.RemoteProtocolError as error:
            code = HTTPStatus(error.error_status_hint)
            answer = Answer(f"{code.phrase}\n".encode(), code=code)
        head = http.send(
            h11.Response(status_code=answer.code, reason=answer.code.phrase, headers=_head(answer))
        )
        has_body = request is None or request.method != b"HEAD"
        exchange.send((head or b"") + (answer.body if has_body else b""))

    def _read_request(self, exchange: Exchange, http: h11.Connection) -> h11.Request | None:
        """Return the head of the request, None if the peer went away without one.

        Raises `h11.RemoteProtocolError` for what is no request, or more than one may have. What
        comes after the head isn't read: no page wants a body.
        """
        room, lines = REQUEST_BYTES, 0
        while (event := http.next_event()) is h11.NEED_DATA:
            data = exchange.receive(room)
            room -= len(data)
            lines += data.count(b"\n")
            if lines > REQUEST_LINES:  # counted before anything is made of them
                raise h11.RemoteProtocolError("too many header lines", error_status_hint=431)
            http.receive_data(data)
        return event if isinstance(event, h11.Request) else None

    def _answer(self, request: h11.Request) -> Answer:
        headers = {name: value.decode("latin-1") for name, value in request.headers}
        if self.is_local and not is_allowed_host(headers.get(b"host", ""), self.names):
            return FOREIGN
        if request.method not in (b"GET", b"HEAD"):
            return READ_ONLY
        path = _path_of(request.target.decode("latin-1"))
        page = self.pages.get(path)
        if page is None:
            known = "\n".join(sorted(path for path in self.pages if path.count("/") == 1))
            return Answer(f"no such page; there is\n{known}\n".encode(), code=HTTPStatus.NOT_FOUND)
        try:
            return page(headers.get(b"accept", ""))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the client gets an answer
            self.report(error, f"page {path}")
            return FAILED

    def shutdown_request(self, exchange: Any) -> None:
        """Close a connection so that its peer can read the answer, however much it still sends."""
        exchange.waiting = True
        linger(exchange.sock, min(LINGER_TIMEOUT, exchange.deadline.left()))
        self.close_request(exchange)
        self._released.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report a fault of ours; a client that is late or gone is nothing to report."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _head(answer: Answer) -> list[tuple[str, str]]:
    """Return the headers of an answer: what it is, and what a browser may do with it."""
    headers = {
        "Server": "echod",
        "Date": formatdate(usegmt=True),
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Connection": "close",
        **HEADERS,
    }
    if answer.code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = "GET, HEAD"
    return list(headers.items())


def _path_of(target: str) -> str:
    """Return the path of a request's target, which may be a whole address, and a bad one."""
    with suppress(ValueError):
        return urlsplit(target).path
    return ""
