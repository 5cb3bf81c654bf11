"""One session of a load: it connects, exchanges, verifies and ends, and never blocks."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from echo.client.client import READ_BYTES
from echo.client.errors import EchoMismatch
from echo.client.ledger import compare
from echo.tls import TlsSocket

if TYPE_CHECKING:
    import ssl
    from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class FailureKind(StrEnum):
    """What can go wrong with a session; each kind has its own count."""

    MISMATCHES = "mismatches"  # a byte came back that was not sent
    RESETS = "resets"  # the connection broke
    TIMEOUTS = "timeouts"
    REFUSED = "refused"  # there was no connection, or it ended before a byte came back
    OTHER = "other"  # an early end of stream, or no descriptor, no port, no route left


class LoadState(StrEnum):
    """The state of a session; the value completes "timed out ..."."""

    CLOSED = "closed"
    CONNECTING = "connecting"
    SHAKING = "in TLS's handshake"
    FREE = "with nothing to do"
    BUSY = "in an exchange"
    ENDING = "waiting for the server's end of stream"


class Owner(Protocol):
    """The load that a session belongs to; each callback may start the session's next step."""

    host: str
    tls: ssl.SSLContext | None
    selector: selectors.BaseSelector
    timeout_ns: int

    def is_free(self, session: LoadSession) -> None:
        """Handle a session that is connected and has nothing to do."""

    def has_finished(self, session: LoadSession) -> None:
        """Handle the end of an exchange, every byte verified."""

    def has_ended(self, session: LoadSession) -> None:
        """Handle a session that has closed in order."""

    def has_failed(self, session: LoadSession, kind: FailureKind, error: Exception) -> None:
        """Handle a session that was closed because of an error."""


class LoadSession:
    """A session of a load, used for one connection after another.

    `began_ns` is when its exchange began or was due, 0 without one; `exchanges` counts those on
    this connection. All times are those of `time.perf_counter_ns`.
    """

    def __init__(self, number: int, owner: Owner) -> None:
        self.number = number
        self.state = LoadState.CLOSED
        self.exchanges = 0
        self.began_ns = 0
        self.deadline_ns = 0
        self._owner = owner
        self._data = b""
        self._sent = 0
        self._got = 0
        self._offset = 0  # in the connection, of the exchange's first byte
        self._sock: socket.socket | TlsSocket | None = None

    def __repr__(self) -> str:
        return f"<LoadSession {self.number} {self.state.name}>"

    @property
    def size(self) -> int:
        """Bytes of its exchange."""
        return len(self._data)

    @property
    def open(self) -> bool:
        """Whether it is connected."""
        return self.state not in (LoadState.CLOSED, LoadState.CONNECTING, LoadState.SHAKING)

    @property
    def closed(self) -> bool:
        """Whether it has no socket."""
        return self.state is LoadState.CLOSED

    def overdue(self, now: int) -> bool:
        """Return whether it has waited too long for its peer; an idle session never has."""
        return self.state not in (LoadState.CLOSED, LoadState.FREE) and now > self.deadline_ns

    # -- called by the owner ------------------------------------------------------------

    def connect(self, family: int, address: Any) -> None:
        """Begin to connect."""
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            self._fail(error)
            return
        sock.setblocking(False)
        self._take(sock, LoadState.CONNECTING, WRITE)
        code = sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            self._fail(OSError(code, os.strerror(code)))

    def adopt(self, sock: socket.socket | TlsSocket) -> None:
        """Use an existing connection."""
        sock.setblocking(False)
        self._take(sock, LoadState.CONNECTING, WRITE)

    def begin(self, data: bytes, due_ns: int = 0) -> None:
        """Begin an exchange, which was due at `due_ns`, or is due now."""
        self.state = LoadState.BUSY
        self._offset += self._got
        self._data, self._sent, self._got = data, 0, 0
        now = time.perf_counter_ns()
        self.began_ns = due_ns or now
        self.deadline_ns = now + self._owner.timeout_ns
        self._send()

    def end(self) -> None:
        """Send the end of the stream; the session is over when the server's end arrives."""
        self.state = LoadState.ENDING
        self.began_ns = 0
        self.deadline_ns = time.perf_counter_ns() + self._owner.timeout_ns
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:  # "not connected": it was reset, and nobody has read that yet
            self._fail(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    def ready(self, events: int) -> None:
        """Handle a socket that is ready for `events`."""
        if self.state is LoadState.CONNECTING:
            self._connected()
            return
        if self.state is LoadState.SHAKING:
            self._shake_hands()
            return
        if events & READ:
            self._receive()
        if events & WRITE and self.state is LoadState.BUSY:
            self._send()

    def give_up(self) -> None:
        """Close it because of a time-out."""
        self._fail(TimeoutError(errno.ETIMEDOUT, f"timed out {self.state}"))

    def close(self) -> None:
        """Close the connection, in any state; closing it again does nothing."""
        if self._sock is not None:
            self._owner.selector.unregister(self._sock)
            self._sock.close()
            self._sock = None
        self.state = LoadState.CLOSED

    # -- internals ----------------------------------------------------------------------

    @property
    def _socket(self) -> socket.socket | TlsSocket:
        assert self._sock is not None
        return self._sock

    def _take(self, sock: socket.socket | TlsSocket, state: LoadState, events: int) -> None:
        self._sock = sock
        self.state = state
        self.exchanges = self.began_ns = self._offset = self._got = 0
        self._data = b""
        self.deadline_ns = time.perf_counter_ns() + self._owner.timeout_ns
        self._owner.selector.register(sock, events, self)

    def _connected(self) -> None:
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(OSError(code, os.strerror(code)))
            return
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._owner.tls is None or isinstance(self._sock, TlsSocket):
            self._is_free()
        else:
            self.state = LoadState.SHAKING
            self._shake_hands()

    def _shake_hands(self) -> None:
        try:
            self._encrypted().do_handshake()
        except BlockingIOError:
            self._watch(READ)
        except OSError as error:
            self._fail(error)
        else:
            self._is_free()

    def _encrypted(self) -> TlsSocket:
        """Return the socket with its TLS layer, which is added at the first call."""
        sock, context = self._socket, self._owner.tls
        if not isinstance(sock, TlsSocket):
            assert context is not None
            self._owner.selector.unregister(sock)
            self._sock = sock = TlsSocket(sock, context, server_hostname=self._owner.host)
            self._owner.selector.register(sock, READ, self)
        return sock

    def _is_free(self) -> None:
        self._watch(READ)
        self.state = LoadState.FREE
        self._owner.is_free(self)

    def _send(self) -> None:
        try:
            self._sent += self._socket.send(memoryview(self._data)[self._sent :])
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(error)
            return
        self._watch(READ if self._sent == len(self._data) else READ | WRITE)

    def _receive(self) -> None:
        try:
            piece = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        if piece:
            self._compare(piece)
        elif self.state is LoadState.ENDING:
            self.close()
            self._owner.has_ended(self)
        else:
            self._fail(EOFError("the server ended the stream"))

    def _compare(self, piece: bytes) -> None:
        end = min(self._got + len(piece), self._sent)
        due = self._data[self._got : end] if self.state is LoadState.BUSY else b""
        try:
            compare(due, piece, self._offset + self._got)
        except EchoMismatch as error:
            self._fail(error)
            return
        self._got += len(piece)
        if self._got == len(self._data):
            self.state = LoadState.FREE
            self.exchanges += 1
            self._owner.has_finished(self)

    def _fail(self, error: Exception) -> None:
        kind = self._kind(error)
        self.close()
        self._owner.has_failed(self, kind, error)

    def _kind(self, error: Exception) -> FailureKind:
        if isinstance(error, EchoMismatch):
            return FailureKind.MISMATCHES
        if isinstance(error, TimeoutError):
            return FailureKind.TIMEOUTS
        ended = isinstance(error, ConnectionError | EOFError)
        if ended and not self._offset + self._got:
            return FailureKind.REFUSED
        return FailureKind.RESETS if isinstance(error, ConnectionError) else FailureKind.OTHER

    def _watch(self, events: int) -> None:
        sock = self._socket
        if self._owner.selector.get_key(sock).events != events:
            self._owner.selector.modify(sock, events, self)
