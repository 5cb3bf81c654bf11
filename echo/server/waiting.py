"""Waiting for one socket with a deadline, and a bell that wakes every waiter at once."""

from __future__ import annotations

import math
import select
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import HasFileno


class Bell:
    """Rings once and for good: from then on every wait that watches it ends at once.

    A pair of sockets of which nobody reads: the byte in it keeps the one side readable for
    every thread that polls it. `shutdown(SHUT_RD)` on a session's own socket would wake its
    thread, too, but then `recv` says end-of-stream as soon as the queue is empty, so that
    what the peer still sends can't be waited for and the closing resets it. Holds two
    descriptors until `close`.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)

    def ring(self) -> None:
        """Wake them all, now and later; ringing again, or after `close`, changes nothing."""
        try:
            self._writer.send(b"!")
        except OSError:
            return

    def fileno(self) -> int:
        """Give the descriptor that becomes readable."""
        return self._reader.fileno()

    def close(self) -> None:
        """Give the descriptors back."""
        self._reader.close()
        self._writer.close()


class PollWaiter:
    """Waits for one socket, and for a bell beside it, with poll(2): no descriptor of its own."""

    __slots__ = ("_out", "_poll")

    def __init__(self, sock: HasFileno, bell: HasFileno | None = None) -> None:
        inputs = select.poll()
        inputs.register(sock, select.POLLIN)
        if bell is not None:
            inputs.register(bell, select.POLLIN)
        self._poll = inputs.poll
        self._out = sock

    def readable(self, seconds: float) -> bool:
        """Wait for input, an end or the bell; False when nothing came in time."""
        return bool(self._poll(_milliseconds(seconds)))

    def writable(self, seconds: float) -> bool:
        """Wait for room to send, or an end; False when none came in time. The bell can wait."""
        outputs = select.poll()
        outputs.register(self._out, select.POLLOUT)
        return bool(outputs.poll(_milliseconds(seconds)))


class SelectWaiter:
    """The same where there is no poll(2), as on Windows."""

    __slots__ = ("_inputs", "_out")

    def __init__(self, sock: HasFileno, bell: HasFileno | None = None) -> None:
        self._inputs: list[HasFileno] = [sock] if bell is None else [sock, bell]
        self._out = [sock]

    def readable(self, seconds: float) -> bool:
        """Wait for input, an end or the bell; False when nothing came in time."""
        return _select(self._inputs, (), seconds)

    def writable(self, seconds: float) -> bool:
        """Wait for room to send, or an end; False when none came in time. The bell can wait."""
        return _select((), self._out, seconds)


Waiter: type[PollWaiter] | type[SelectWaiter] = (
    PollWaiter if hasattr(select, "poll") else SelectWaiter
)


def _milliseconds(seconds: float) -> int | None:
    # Rounded up: rounded down, the last fraction of a millisecond would be a busy loop.
    return None if seconds == math.inf else math.ceil(seconds * 1000)


def _select(inputs: Sequence[HasFileno], outputs: Sequence[HasFileno], seconds: float) -> bool:
    timeout = None if seconds == math.inf else seconds
    return any(select.select(inputs, outputs, (), timeout))
