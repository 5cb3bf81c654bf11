"""A socket that counts a session's bytes for a handler that uses the socket itself."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echo.server.session import Session


class CountingSocket:
    """A session's socket, as a handler written for socketserver uses it; what passes is counted.

    Has all of the socket's own methods, with TLS or without. It lives as long as its session.
    """

    _closed = False
    _io_refs = 0

    def __init__(self, session: Session) -> None:
        self._sock = session.stream
        self._counts = session.counts

    def __repr__(self) -> str:
        return f"<CountingSocket {self._sock!r}>"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, *arguments: Any) -> bytes:
        """Receive as `socket.recv` does."""
        data = self._sock.recv(*arguments)
        self._counts.received_bytes += len(data)
        return data

    def recv_into(self, *arguments: Any) -> int:
        """Receive as `socket.recv_into` does."""
        count = self._sock.recv_into(*arguments)
        self._counts.received_bytes += count
        return count

    def send(self, *arguments: Any) -> int:
        """Send as `socket.send` does."""
        count = self._sock.send(*arguments)
        self._counts.sent_bytes += count
        return count

    def sendall(self, data: Any, *flags: int) -> None:
        """Send all of `data`; what was sent before an error is counted, too."""
        left = memoryview(data).cast("B")
        while left:
            left = left[self.send(left, *flags) :]

    def sendfile(self, *arguments: Any, **more: Any) -> int:
        """Send a file as `socket.sendfile` does."""
        count = self._sock.sendfile(*arguments, **more)
        self._counts.sent_bytes += count
        return count

    def makefile(self, *arguments: Any, **more: Any) -> Any:
        """Return a file over this socket, as `socket.makefile` does."""
        make: Any = socket.socket.makefile  # which only uses methods that are here
        return make(self, *arguments, **more)

    def close(self) -> None:
        """Leave the closing to the server."""

    def _decref_socketios(self) -> None:
        """Do nothing: no closing waits here for the files over this socket."""
