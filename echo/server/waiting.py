"""Waiting for one socket with a deadline, and a wakeup that ends every wait at once."""

from __future__ import annotations

import math
import select
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import HasFileno


class Wakeup:
    """A flag that poll(2) can see: once it is set, every wait that watches it ends at once.

    It is a pair of sockets of which nobody reads, so that the byte in it keeps the one side
    readable for every thread that polls it (a self-pipe, as asyncio and libuv have one).
    `shutdown(SHUT_RD)` on a session's own socket would wake its thread, too, but after it
    `recv` reports the end of the stream as soon as the queue is empty, so that what the peer
    still sends can't be waited for, and closing the socket resets it. Holds two descriptors
    until `close`.

    >>> wakeup = Wakeup()
    >>> Waiter(wakeup).readable(0)
    False
    >>> wakeup.set()
    >>> Waiter(wakeup).readable(0), Waiter(wakeup).readable(0)
    (True, True)
    >>> wakeup.close()
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)

    def set(self) -> None:
        """End the waits of now and of later; a second time, or after `close`, it does nothing."""
        try:
            self._writer.send(b"!")
        except OSError:
            return

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._reader.fileno()

    def close(self) -> None:
        """Close both descriptors."""
        self._reader.close()
        self._writer.close()


class Waiter:
    """Waits for one socket, and for a wakeup beside it, with poll(2).

    Holds no descriptor of its own. A TLS socket may have decrypted input that poll can't see:
    it counts as readable.
    """

    __slots__ = ("_inputs", "_pending", "_sock")

    def __init__(self, sock: HasFileno, wakeup: HasFileno | None = None) -> None:
        self._inputs = select.poll()
        self._inputs.register(sock, select.POLLIN)
        if wakeup is not None:
            self._inputs.register(wakeup, select.POLLIN)
        self._sock = sock
        self._pending = getattr(sock, "pending", None)

    def readable(self, seconds: float) -> bool:
        """Wait for input, an end of stream or the wakeup; return False if none came in time."""
        if self._pending is not None and self._pending():
            return True
        # Rounded up: rounded down, the last fraction of a millisecond would be a busy loop.
        return bool(self._inputs.poll(None if seconds == math.inf else math.ceil(seconds * 1000)))

    def writable(self, seconds: float) -> bool:
        """Wait for room to send, or an end; return False if none came in time.

        The wakeup is not watched: what has been read is still to be sent.
        """
        outputs = select.poll()
        outputs.register(self._sock, select.POLLOUT)
        return bool(outputs.poll(None if seconds == math.inf else math.ceil(seconds * 1000)))
