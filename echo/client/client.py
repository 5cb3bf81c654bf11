"""A client for echo servers, which reads while it writes and verifies every byte."""

from __future__ import annotations

import selectors
import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from echo.client.connecting import Selector, open_connection
from echo.client.errors import EchoEnded, EchoTimeout
from echo.client.ledger import Ledger
from echo.deadline import Deadline
from echo.tls import TlsError, TlsSocket, wrap

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

READ_BYTES = 64 * 1024


class EchoClient:
    """One connection to an echo server, from `connect` (or `with`) to `close`.

    `timeout` is in seconds: after so long without progress, connecting, sending and receiving
    give up. Every byte that comes back is compared with what was sent. A wrong echo raises an
    `EchoError`, which has the offset in the connection; an error of the network (no such host,
    connection refused) raises `OSError`; a port that can't be raises `OverflowError`. A client
    is for one thread.

    `host` and `port` may be followed by `flowinfo` and `scope_id`, so that an IPv6 server's
    address fits: `EchoClient(*server.server_address)`.

    With `tls`, a context such as `echo.client.tls.trusting` returns, the connection is encrypted,
    and the server's certificate must be valid for `host`. Half-closing then waits for the rest
    of the echo first: a TLS 1.2 peer may drop what it has not sent yet when the end arrives.

    >>> from echo.testing import running_server
    >>> with running_server() as server, EchoClient(*server.address) as client:
    ...     client.echo(b"hello")
    b'hello'
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 9000,
        flowinfo: int = 0,
        scope_id: int = 0,
        *,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._address = (host, port, flowinfo, scope_id)
        self.timeout = timeout
        self.tls = tls
        self.ledger = Ledger()
        self.ended = False  # the server has sent its end of stream
        self._half_closed = False
        self._sock: socket.socket | TlsSocket | None = None
        self._early = bytearray()  # came back before it was asked for
        self._selector = Selector()
        self._watched = selectors.EVENT_READ
        self.limit(None)

    def __repr__(self) -> str:
        return f"<EchoClient {self.host}:{self.port} {self.ledger!r}>"

    def __enter__(self) -> EchoClient:
        if self._sock is None:
            self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def sock(self) -> socket.socket | TlsSocket:
        """The connected socket, which is non-blocking; raises `OSError` where there is none."""
        if self._sock is None:
            raise ConnectionError("not connected")
        return self._sock

    def connect(self) -> float:
        """Connect, and return the seconds that took, TLS's handshake included.

        Where the name has several addresses, they are those of the one that answered.
        """
        self._sock, began = open_connection(self._address, self.timeout)
        if self.tls is not None:
            self._sock = wrap(self._sock, self.tls, server_hostname=self.host)
        took = time.perf_counter() - began
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setblocking(False)
        self._selector.register(self._sock, self._watched)
        return took

    def echo(self, data: bytes) -> bytes:
        """Send `data` of any size, and return the echo."""
        self.send(data)
        return self.receive(len(data))

    def limit(self, seconds: float | None) -> None:
        """Set the seconds that all waiting from now on may take together; `None` is no limit."""
        self._deadline = Deadline(seconds)
        self._limit = (seconds, self.ledger.offset)

    def round_trip(self, data: bytes, within: float) -> int:
        """Echo `data` within that many seconds in all, and return the nanoseconds that it took.

        They count from just before the first send to the receipt of the last byte; comparing
        is done before and after.
        """
        sock = self.sock
        self.ledger.sent(data)
        self.limit(within)
        began = time.perf_counter_ns()
        self._send(sock, data)
        self._wait(selectors.EVENT_READ)
        piece = self._recv()
        took = time.perf_counter_ns() - began
        self._settle(piece)
        if len(self._early) < len(data):
            self._await(len(data))
            took = time.perf_counter_ns() - began
        self.limit(None)
        self.receive(len(data))
        return took

    def send(self, data: bytes) -> None:
        """Send all of `data`; what comes back meanwhile is kept for `receive`."""
        sock = self.sock
        self.ledger.sent(data)
        self._send(sock, data)

    def receive(self, count: int) -> bytes:
        """Return exactly the next `count` bytes of the echo."""
        self._await(count)
        data = bytes(self._early[:count])
        del self._early[:count]
        return data

    def check_silence(self) -> None:
        """Raise `EchoMismatch` if more has come back by now than was sent."""
        self._take_in()

    def half_close(self) -> None:
        """Send the end of the stream; the rest of the echo can still be received."""
        if self._half_closed:
            return
        self._half_closed = True
        while self.tls is not None and self.ledger.missing and not self.ended:
            self._wait(selectors.EVENT_READ)
            self._take_in()
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._broken(error) from error

    def finish(self) -> bytes:
        """Half-close, and return the rest of the echo, up to the server's end of stream."""
        self.half_close()
        while not self.ended:
            self._wait(selectors.EVENT_READ)
            self._take_in()
        if self.ledger.missing:
            raise EchoEnded(self.ledger.offset, self.ledger.missing)
        return self.receive(len(self._early))

    def reset(self) -> None:
        """Close with a reset (RST) instead of an end of stream."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close()

    def close(self) -> None:
        """Close the connection; closing it again does nothing."""
        if isinstance(self._sock, TlsSocket):
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
        self._close()

    def _close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._selector.close()

    def _send(self, sock: socket.socket | TlsSocket, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[sock.send(left) :]
            except BlockingIOError:
                self._wait(selectors.EVENT_WRITE | (0 if self.ended else selectors.EVENT_READ))
                self._take_in()
            except ConnectionError as error:
                raise self._broken(error) from error

    def _await(self, count: int) -> None:
        while len(self._early) < count:
            if self.ended:
                raise EchoEnded(self.ledger.offset, count - len(self._early))
            self._wait(selectors.EVENT_READ)
            self._take_in()

    def _take_in(self) -> None:
        self._settle(self._recv())

    def _recv(self) -> bytes | None:
        """Return what has arrived; None where nothing has."""
        try:
            return self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except ConnectionError as error:
            raise self._broken(error) from error

    def _settle(self, data: bytes | None) -> None:
        if data is not None:
            self.ended = not data
            self.ledger.received(data)
            self._early += data

    def _wait(self, events: int) -> None:
        if events != self._watched:  # modify() costs a tenth of a small round trip
            self._selector.modify(self.sock, events)
            self._watched = events
        left = self._deadline.left()
        if not self._selector.select(min(self.timeout, left)):
            raise self._late(limited=left < self.timeout)

    def _late(self, *, limited: bool) -> EchoTimeout:
        """Return the error for a wait that was too long: without progress, or past `limit`."""
        seconds, offset = self._limit
        slow = limited and self.ledger.offset > offset
        limit = seconds if slow and seconds is not None else self.timeout
        return EchoTimeout(self.ledger.offset, self.ledger.missing, limit, slow=slow)

    def _broken(self, error: OSError) -> EchoEnded:
        how = f"broke ({error})" if isinstance(error, TlsError) else "broke"
        return EchoEnded(self.ledger.offset, self.ledger.missing, how)
