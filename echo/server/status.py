"""The read-only HTTP side: what the daemon knows of itself, read from its state when asked.

A page is a function that is asked with the request's `Accept` header and gives an `Answer`.
Each request is one connection, served by a thread of its own; the number of connections, and
the time that each may take, have bounds that sessions know nothing of.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from echo.deadline import Deadline
from echo.limits import STATUS_CONNECTIONS, STATUS_TIMEOUT
from echo.server.listener import ListeningServer

if TYPE_CHECKING:
    from types import TracebackType

    from echo.server.server import EchoServer

TEXT = "text/plain; charset=utf-8"


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


class StatusServer(ListeningServer):
    """Serves `pages`, by their paths, while it is entered.

    `timeout` is in seconds, from the connection's first byte to its last. Raises `OSError` when
    the address can't be bound.

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
    ) -> None:
        self.pages = pages
        self.connections = connections
        self.seconds = timeout
        self._open: dict[socket.socket, Deadline] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, name="status", daemon=True)
        super().__init__(server_address, _StatusHandler, log=log)

    def __repr__(self) -> str:
        host, port = self.server_address[:2]
        return f"<StatusServer {host!s}:{port} {len(self._open)}/{self.connections} connections>"

    def __enter__(self) -> StatusServer:
        self._thread.start()
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
        """End the connections whose time is up, however busy they seem."""
        with self._lock:
            late = [request for request, deadline in self._open.items() if deadline.expired]
        for request in late:
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take no more connections than there is room for."""
        del client_address
        with self._lock:
            if len(self._open) >= self.connections:
                return False
            self._open[request] = Deadline(self.seconds)
            return True

    def close_request(self, request: Any) -> None:
        """Close a connection, and make room."""
        with self._lock:
            self._open.pop(request, None)
        request.close()

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
        page = self.server.pages.get(_path_of(self.path))
        if page is None:
            known = "\n".join(sorted(self.server.pages))
            return Answer(f"no such page; there is\n{known}\n".encode(), code=HTTPStatus.NOT_FOUND)
        return page(self.headers.get("Accept", ""))

    def _answer(self, answer: Answer, *, body: bool = True) -> None:
        self.send_response(answer.code)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if body:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing: stderr is the daemon's."""


def _path_of(target: str) -> str:
    """Give the path of a request's target, which may be a whole address, and a bad one."""
    with suppress(ValueError):
        return urlsplit(target).path
    return ""
