"""A stream of any length through an echo server: one thread sends, another receives."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from echo.client.client import READ_BYTES
from echo.client.connecting import Selector
from echo.client.errors import EchoEnded, EchoError, EchoTimeout
from echo.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from echo.client.client import EchoClient

# Bytes that may be in flight: a server that takes all and sends nothing back can't make the
# client keep more than this for its comparison.
WINDOW = 16 * 1024 * 1024


class EchoStream:
    """Sends what `read` returns until that is nothing, then half-closes; writes what comes back.

    `read` is called in a thread of its own and may wait for any time; `write` is called in the
    caller's thread. With `verify` every byte is compared, and what is wrong raises an
    `EchoError`; without it any answer will do, but all has to be sent. `sent` and `returned`
    count bytes so far. For one run.

    The client's `timeout` counts while there is something to wait for: bytes that are missing,
    or, once all is sent, the server's end of the stream.
    """

    def __init__(self, client: EchoClient, *, verify: bool = True, window: int = WINDOW) -> None:
        self.sent = 0
        self.returned = 0
        self._client = client
        self._verify = verify
        self._window = window
        self._room = threading.Condition()
        self._failure: OSError | None = None
        self._all_sent = False
        self._send_failed = False
        self._over = False
        self._patience = Deadline(0)  # begins anew with what arrives, and with what becomes due

    def __repr__(self) -> str:
        return f"<EchoStream {self.sent} sent, {self.returned} returned>"

    def run(self, read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
        """Stream until both ends are over; an `OSError` of `read` or `write` is raised as it is."""
        self._sender = threading.Thread(target=self._send_all, args=(read,), daemon=True)
        self._sender.start()
        try:
            self._receive_all(write)
        finally:
            with self._room:
                self._over = True
                self._room.notify()
        self._sender.join(self._client.timeout if self._all_sent else 0)

    # -- the caller's thread ------------------------------------------------------------

    def _receive_all(self, write: Callable[[bytes], object]) -> None:
        with Selector() as selector:
            selector.register(self._client.sock, selectors.EVENT_READ)
            while data := self._receive(selector):
                if self._verify:
                    self._client.ledger.received(data)
                write(data)
                with self._room:
                    self.returned += len(data)
                    self._patience = Deadline(self._client.timeout)
                    self._room.notify()
        if not self._verify:  # an answer may be over before the question is
            self._sender.join(self._client.timeout)
        if self._failure is not None:
            raise self._failure
        if not self._all_sent or self._send_failed or self._missing():
            how = "broke" if self._send_failed else "ended"
            raise EchoEnded(self.returned, self._missing(), how)

    def _receive(self, selector: selectors.BaseSelector) -> bytes:
        while True:
            if not selector.select(self._patience.left() or self._client.timeout):
                self._check_timeout()
                continue
            try:
                with suppress(BlockingIOError):
                    return self._client.sock.recv(READ_BYTES)
            except ConnectionError as error:
                raise self._broken() from error

    def _check_timeout(self) -> None:
        if (self._all_sent or self._missing()) and self._patience.expired:
            raise EchoTimeout(self.returned, self._missing(), self._client.timeout)

    def _missing(self) -> int:
        """Return how many bytes are due; without verification none are, once all is sent."""
        if self._verify:
            return self._client.ledger.missing
        return 0 if self._all_sent else max(0, self.sent - self.returned)

    def _broken(self) -> OSError | EchoError:
        return self._failure or EchoEnded(self.returned, self._missing(), "broke")

    # -- the sender's thread ------------------------------------------------------------

    def _send_all(self, read: Callable[[], bytes]) -> None:
        try:
            while data := self._read(read):
                self._send(data)
            self._patience = Deadline(self._client.timeout)
            self._all_sent = True
            self._end()
        except (OSError, ValueError):
            # The connection broke; or the caller's thread has found a fault and closed it, and a
            # selector refuses a closed socket with ValueError. That thread raises the error.
            self._send_failed = True

    def _end(self) -> None:
        """Send the end of the stream: under TLS when all has come back, as the client says."""
        with self._room:
            done = self._client.tls is None
            self._room.wait_for(lambda: done or self._over or self.returned >= self.sent)
        self._client.sock.shutdown(socket.SHUT_WR)

    def _read(self, read: Callable[[], bytes]) -> bytes:
        with self._room:
            self._room.wait_for(lambda: self._over or self.sent - self.returned < self._window)
        if self._over:
            return b""
        try:
            return read()
        except OSError as error:
            self._failure = error
            self._client.sock.shutdown(socket.SHUT_RDWR)
            raise

    def _send(self, data: bytes) -> None:
        if not self._missing():
            self._patience = Deadline(self._client.timeout)
        if self._verify:
            self._client.ledger.sent(data)
        left = memoryview(data)
        with Selector() as selector:
            selector.register(self._client.sock, selectors.EVENT_WRITE)
            while left and not self._over:
                selector.select(self._client.timeout)
                with suppress(BlockingIOError):
                    count = self._client.sock.send(left)
                    left = left[count:]
                    with self._room:
                        self.sent += count
