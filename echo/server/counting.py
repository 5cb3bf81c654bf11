"""A socket that counts a session's bytes for a handler that uses the socket itself."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from echo.events import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from echo.server.session import Session


class CountingSocket:
    """A session's socket, as a handler written for socketserver uses it; what passes is counted.

    Has all of the socket's own methods, with TLS or without. `timed_out` is the reason to end
    the session for, once one of the socket's own time-outs has been raised. It lives as long as
    its session, and leaves the closing to the server.
    """

    _closed = False
    _io_refs = 0

    def __init__(self, session: Session) -> None:
        self.timed_out: Reason | None = None
        self._session = session
        self._sock: Any = session.stream
        self._counts = session.counts

    def __repr__(self) -> str:
        return f"<CountingSocket {self._sock!r}>"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def __enter__(self) -> CountingSocket:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: the server closes the socket."""

    # -- receiving ----------------------------------------------------------------------

    def recv(self, *arguments: Any) -> Any:
        """Receive as `socket.recv` does."""
        return self._received(self._sock.recv, len, arguments)

    def recv_into(self, *arguments: Any, **more: Any) -> Any:
        """Receive as `socket.recv_into` does."""
        return self._received(self._sock.recv_into, int, arguments, more)

    def recvfrom(self, *arguments: Any) -> Any:
        """Receive as `socket.recvfrom` does."""
        return self._received(self._sock.recvfrom, lambda found: len(found[0]), arguments)

    def recvfrom_into(self, *arguments: Any, **more: Any) -> Any:
        """Receive as `socket.recvfrom_into` does."""
        return self._received(self._sock.recvfrom_into, lambda found: found[0], arguments, more)

    def recvmsg(self, *arguments: Any) -> Any:
        """Receive as `socket.recvmsg` does."""
        return self._received(self._sock.recvmsg, lambda found: len(found[0]), arguments)

    def recvmsg_into(self, *arguments: Any) -> Any:
        """Receive as `socket.recvmsg_into` does."""
        return self._received(self._sock.recvmsg_into, lambda found: found[0], arguments)

    def _received(
        self,
        method: Callable[..., Any],
        size: Callable[[Any], int],
        arguments: tuple[Any, ...],
        more: dict[str, Any] | None = None,
    ) -> Any:
        result = self._timed(method, Reason.IDLE_TIMEOUT, arguments, more)
        self._counts.received_bytes += size(result)
        self._session.peer_ended = not size(result)
        return result

    # -- sending ------------------------------------------------------------------------

    def send(self, *arguments: Any) -> Any:
        """Send as `socket.send` does."""
        return self._sent(self._sock.send, arguments)

    def sendmsg(self, *arguments: Any) -> Any:
        """Send as `socket.sendmsg` does."""
        return self._sent(self._sock.sendmsg, arguments)

    def sendto(self, *arguments: Any) -> Any:
        """Send as `socket.sendto` does."""
        return self._sent(self._sock.sendto, arguments)

    def sendall(self, data: Any, *flags: int) -> None:
        """Send all of `data`; what was sent before an error is counted, too."""
        left = memoryview(data).cast("B")
        while left:
            left = left[self.send(left, *flags) :]

    def sendfile(self, *arguments: Any, **more: Any) -> Any:
        """Send a file as `socket.sendfile` does."""
        return self._sent(self._sock.sendfile, arguments, more)

    def _sent(
        self,
        method: Callable[..., int],
        arguments: tuple[Any, ...],
        more: dict[str, Any] | None = None,
    ) -> int:
        count: int = self._timed(method, Reason.WRITE_TIMEOUT, arguments, more)
        self._counts.sent_bytes += count
        return count

    def _timed(
        self,
        method: Callable[..., Any],
        reason: Reason,
        arguments: tuple[Any, ...],
        more: dict[str, Any] | None,
    ) -> Any:
        try:
            return method(*arguments, **(more or {}))
        except TimeoutError as error:
            if error.errno is None:  # the socket's own, not the network's
                self.timed_out = reason
            raise

    # -- files and the end --------------------------------------------------------------

    def makefile(self, *arguments: Any, **more: Any) -> Any:
        """Return a file over this socket, as `socket.makefile` does."""
        make: Any = socket.socket.makefile  # which only uses methods that are here
        return make(self, *arguments, **more)

    def close(self) -> None:
        """Leave the closing to the server."""

    def _decref_socketios(self) -> None:
        """Do nothing: no closing waits here for the files over this socket."""
