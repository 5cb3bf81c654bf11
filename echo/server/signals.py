"""Signals, taken one after the other by the thread that asks for them."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

from echo.server.waiting import Waiter

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from echo.server.sessions import Sessions

STOPPING = frozenset({"SIGTERM", "SIGINT", "SIGBREAK"})
_TAKEN = ("SIGTERM", "SIGINT", "SIGBREAK", "SIGHUP", "SIGUSR1", "SIGUSR2")


class Signals:
    """Collects the daemon's signals while it is entered; only the main thread can.

    The interpreter's own handler, in C, writes each signal's number into a socket; nothing
    of ours runs at the moment of the signal, so that none can strike in the middle of a lock.
    Unlike `sigtimedwait` this works on macOS and Windows, too.
    """

    def __enter__(self) -> Signals:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        numbers = [getattr(signal, name) for name in _TAKEN if hasattr(signal, name)]
        self._old = {number: signal.signal(number, _ignore) for number in numbers}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._reader.close()
        self._writer.close()

    def wait(self, seconds: float, sessions: Sessions | None = None) -> str | None:
        """Give the name of the next signal, or None after `seconds`.

        With `sessions` it also ends, with None, when the last of them is gone.
        """
        Waiter(self._reader, sessions).readable(seconds)
        try:
            number = self._reader.recv(1)[0]  # the others wait for their turn
        except BlockingIOError:
            return None
        return signal.Signals(number).name


def _ignore(number: int, frame: FrameType | None) -> None:
    del number, frame
