"""One session of a load: it connects, exchanges, verifies, ends; never waits."""

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
from echo.tls import TlsSocket

if TYPE_CHECKING:
    import ssl
    from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Trouble(StrEnum):
    """What goes wrong with a session; each kind is counted apart."""

    MISMATCHES = "mismatches"  # a byte came back that was not sent
    RESETS = "resets"  # the connection broke
    TIMEOUTS = "timeouts"
    REFUSED = "refused"  # there was no connection, or it ended before a byte came back
    OTHER = "other"  # an early end of stream, or no descriptor, no port, no route left


class State(StrEnum):
    """Where a session is in its life; in words, what it waits for."""

    CLOSED = "closed"
    CONNECTING = "connecting"
    SHAKING = "in TLS's handshake"
    FREE = "with nothing to do"
    BUSY = "in an exchange"
    ENDING = "waiting for the server's end of stream"


class Owner(Protocol):
    """Whom a session tells what became of it; each call may give it something new to do."""

    host: str
    tls: ssl.SSLContext | None
    selector: selectors.BaseSelector
    timeout_ns: int

    def is_free(self, session: LoadSession) -> None:
        """Hear that it is connected, and has nothing to do."""

    def has_finished(self, session: LoadSession) -> None:
        """Hear that its exchange is over, every byte verified."""

    def has_ended(self, session: LoadSession) -> None:
        """Hear that it is closed, as it should be."""

    def has_failed(self, session: LoadSession, trouble: Trouble, error: Exception) -> None:
        """Hear that it is closed, since something went wrong."""


class LoadSession:
    """A session that is used again and again: one connection after the other.

    `began_ns` is when its exchange began, or was due, 0 where there is none to wait for;
    `exchanges` counts those on this connection. All times are `perf_counter_ns`.
    """

    def __init__(self, number: int, owner: Owner) -> None:
        self.number = number
        self.state = State.CLOSED
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
        return self.state not in (State.CLOSED, State.CONNECTING, State.SHAKING)

    @property
    def closed(self) -> bool:
        """Whether it has no socket."""
        return self.state is State.CLOSED

    def overdue(self, now: int) -> bool:
        """Say whether it has waited too long for its peer; without anything to do it may wait."""
        return self.state not in (State.CLOSED, State.FREE) and now > self.deadline_ns

    # -- what its owner asks for --------------------------------------------------------

    def connect(self, family: int, address: Any) -> None:
        """Begin to connect."""
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            self._fail(error)
            return
        sock.setblocking(False)
        self._take(sock, State.CONNECTING, WRITE)
        code = sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            self._fail(OSError(code, os.strerror(code)))

    def adopt(self, sock: socket.socket | TlsSocket) -> None:
        """Use a connection that is there already."""
        sock.setblocking(False)
        self._take(sock, State.CONNECTING, WRITE)

    def begin(self, data: bytes, due_ns: int = 0) -> None:
        """Begin an exchange, which was due at a moment before, or is due now."""
        self.state = State.BUSY
        self._offset += self._got
        self._data, self._sent, self._got = data, 0, 0
        now = time.perf_counter_ns()
        self.began_ns = due_ns or now
        self.deadline_ns = now + self._owner.timeout_ns
        self._send()

    def end(self) -> None:
        """Send the end of the stream; when the server's is there, the session is over."""
        self.state = State.ENDING
        self.began_ns = 0
        self.deadline_ns = time.perf_counter_ns() + self._owner.timeout_ns
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:  # "not connected": it was reset, and nobody has read that yet
            self._fail(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    def ready(self, events: int) -> None:
        """Go on, since the socket is ready."""
        if self.state is State.CONNECTING:
            self._connected()
            return
        if self.state is State.SHAKING:
            self._shake_hands()
            return
        if events & READ:
            self._receive()
        if events & WRITE and self.state is State.BUSY:
            self._send()

    def give_up(self) -> None:
        """End it: what it waits for is overdue."""
        self._fail(TimeoutError(errno.ETIMEDOUT, f"timed out {self.state}"))

    def close(self) -> None:
        """Close the connection, whatever it is doing; again is nothing."""
        if self._sock is not None:
            self._owner.selector.unregister(self._sock)
            self._sock.close()
            self._sock = None
        self.state = State.CLOSED

    # -- its life -----------------------------------------------------------------------

    @property
    def _socket(self) -> socket.socket | TlsSocket:
        assert self._sock is not None
        return self._sock

    def _take(self, sock: socket.socket | TlsSocket, state: State, events: int) -> None:
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
            self.state = State.SHAKING
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
        """Give the socket with its TLS layer, which the first time is put on it."""
        sock, context = self._socket, self._owner.tls
        if not isinstance(sock, TlsSocket):
            assert context is not None
            self._owner.selector.unregister(sock)
            self._sock = sock = TlsSocket(sock, context, server_hostname=self._owner.host)
            self._owner.selector.register(sock, READ, self)
        return sock

    def _is_free(self) -> None:
        self._watch(READ)
        self.state = State.FREE
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
        elif self.state is State.ENDING:
            self.close()
            self._owner.has_ended(self)
        else:
            self._fail(EOFError("the server ended the stream"))

    def _compare(self, piece: bytes) -> None:
        end = min(self._got + len(piece), self._sent)
        due = self._data[self._got : end] if self.state is State.BUSY else b""
        if piece != due:
            self._fail(self._mismatch(piece, due))
            return
        self._got += len(piece)
        if self._got == len(self._data):
            self.state = State.FREE
            self.exchanges += 1
            self._owner.has_finished(self)

    def _mismatch(self, piece: bytes, due: bytes) -> EchoMismatch:
        same = (i for i in range(min(len(piece), len(due))) if piece[i] != due[i])
        wrong = next(same, len(due))
        expected = due[wrong] if wrong < len(due) else None
        return EchoMismatch(self._offset + self._got + wrong, expected, piece[wrong])

    def _fail(self, error: Exception) -> None:
        trouble = self._kind(error)
        self.close()
        self._owner.has_failed(self, trouble, error)

    def _kind(self, error: Exception) -> Trouble:
        if isinstance(error, EchoMismatch):
            return Trouble.MISMATCHES
        if isinstance(error, TimeoutError):
            return Trouble.TIMEOUTS
        ended = isinstance(error, ConnectionError | EOFError)
        if ended and not self._offset + self._got:
            return Trouble.REFUSED
        return Trouble.RESETS if isinstance(error, ConnectionError) else Trouble.OTHER

    def _watch(self, events: int) -> None:
        sock = self._socket
        if self._owner.selector.get_key(sock).events != events:
            self._owner.selector.modify(sock, events, self)
