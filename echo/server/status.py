"""The read-only HTTP side: what the daemon knows of itself, read from its state when asked.

A page is a function that is asked with the request's `Accept` header and gives an `Answer`.
Each request is one connection, served by a thread of its own; the number of connections, and
the time that each may take, have bounds that sessions know nothing of.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from echo.deadline import Deadline
from echo.limits import STATUS_CONNECTIONS, STATUS_TIMEOUT
from echo.server.listener import ListeningServer
from echo.server.slots import Connection, Slots
from echo.server.watchdog import WatchedThread

if TYPE_CHECKING:
    from types import TracebackType

    from echo.server.server import EchoServer

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
FOREIGN = (
    b"this address serves its own machine only: ask for it by an address or as localhost\n"
    b"(a proxy in front of it has to send such a Host, or the name given as --status-host)\n"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page gives: its content, and what that is."""

    body: bytes
    content_type: str = TEXT
    code: HTTPStatus = HTTPStatus.OK


Page = Callable[[str], Answer]


def health_of(server: EchoServer) -> Page:
    """Make the page that says whether new clients are welcome: 200, or 503 once it drains."""

    def health(accept: str) -> Answer:
        del accept
        if server.draining:
            return Answer(b"draining\n", code=HTTPStatus.SERVICE_UNAVAILABLE)
        return Answer(b"ok\n")

    return health


def is_allowed_host(host: str, known: Collection[str] = ()) -> bool:
    """Say whether a request's `Host` is one that a loopback address is asked by.

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


class StatusServer(ListeningServer):
    """Serves `pages`, by their paths, while it is entered.

    `timeout` is in seconds, from the connection's first byte to its last. On a loopback address
    it answers who asks for an address, for `localhost` or for one of `names`. Its accept thread
    calls `each_turn` twice a second or more often. Raises `OSError` when the address can't be
    bound.

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
        each_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self.pages = pages
        self.names = names
        self.each_turn = each_turn
        self.connections = connections
        self.seconds = timeout
        self._open: dict[Connection, Deadline] = {}
        self._lock = threading.Lock()
        self.thread = WatchedThread("status", self.serve_forever, lambda: self.heartbeat)
        slots = Slots(connections, connections)
        super().__init__(server_address, _StatusHandler, slots=slots, log=log)
        self.is_local = ip_address(str(self.server_address[0])).is_loopback

    def __repr__(self) -> str:
        host, port = self.server_address[:2]
        return f"<StatusServer {host!s}:{port} {len(self._open)}/{self.connections} connections>"

    def __enter__(self) -> StatusServer:
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.server_close()

    def service_actions(self) -> None:
        """End the connections whose time is up, however busy they seem; do what recurs."""
        with self._lock:
            late = [request for request, deadline in self._open.items() if deadline.expired]
        for request in late:
            with suppress(OSError):
                request.sock.shutdown(socket.SHUT_RDWR)
        super().service_actions()
        self.each_turn()

    def verify_request(self, connection: Any, client_address: Any) -> bool:
        """Take no more connections than there are slots."""
        del client_address
        with self._lock:
            if self.slots.acquire(connection) is not None:
                return False
            self._open[connection] = Deadline(self.seconds)
            return True

    def finish_request(self, connection: Any, client_address: Any) -> None:
        """Run the handler on a connection's socket."""
        super().finish_request(connection.sock, client_address)

    def close_request(self, connection: Any) -> None:
        """Close a connection, and make room."""
        with self._lock:
            self._open.pop(connection, None)
        super().close_request(connection)

    def discard(self, connection: Any) -> None:
        """Close past the hooks, of which one has failed, and make room."""
        with self._lock:
            self._open.pop(connection, None)
        super().discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what is wrong with a page; a client that went away is nothing to report."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _StatusHandler(BaseHTTPRequestHandler):
    """One request, answered and closed."""

    server: StatusServer
    server_version = "echod"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self.request.settimeout(self.server.seconds)

    def do_GET(self) -> None:
        self._answer(self._page())

    def do_HEAD(self) -> None:
        self._answer(self._page(), body=False)

    def _page(self) -> Answer:
        if self.server.is_local and not is_allowed_host(
            self.headers.get("Host", ""), self.server.names
        ):
            return Answer(FOREIGN, code=HTTPStatus.MISDIRECTED_REQUEST)
        page = self.server.pages.get(_path_of(self.path))
        if page is None:
            known = "\n".join(sorted(path for path in self.server.pages if path.count("/") == 1))
            return Answer(f"no such page; there is\n{known}\n".encode(), code=HTTPStatus.NOT_FOUND)
        return page(self.headers.get("Accept", ""))

    def _answer(self, answer: Answer, *, body: bool = True) -> None:
        self.send_response(answer.code)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if body:
            self.wfile.write(answer.body)

    def end_headers(self) -> None:
        """Say with every answer, the framework's own errors too, what a browser may do with it."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing: stderr is the daemon's."""


def _path_of(target: str) -> str:
    """Give the path of a request's target, which may be a whole address, and a bad one."""
    with suppress(ValueError):
        return urlsplit(target).path
    return ""
