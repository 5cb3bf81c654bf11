"""Signals, taken one after the other by the thread that asks for them."""

from __future__ import annotations

import signal
import socket
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from echo.server.waiting import Waiter

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from echo.server.register import Register

STOPPING = frozenset({"SIGTERM", "SIGINT"})
_TAKEN = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")


class Signals:
    """Collects the daemon's signals while it is entered; only the main thread can.

    The interpreter's own handler, in C, writes each signal's number into a socket; so little of
    ours runs at the moment of the signal that none can strike in the middle of a lock. The
    socket has room for 278 of them, and a flood fills it: a request to stop is noted beside it.
    Unlike `sigtimedwait` this works on macOS, too.
    """

    def __enter__(self) -> Signals:
        self._stops: deque[str] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        taken = {name: getattr(signal, name) for name in _TAKEN}
        self._old = {
            number: signal.signal(number, self._note if name in STOPPING else _ignore)
            for name, number in taken.items()
        }
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

    def wait(self, seconds: float, sessions: Register | None = None) -> str | None:
        """Return the name of the next signal, a stop first, or None after `seconds` or sooner.

        With `sessions` it also ends, with None, when the last of them is gone.
        """
        if not self._stops:
            Waiter(self._reader, sessions).readable(seconds)
        if self._stops:
            return self._stops.popleft()
        try:
            number = self._reader.recv(1)[0]  # the others wait for the next call
        except BlockingIOError:
            return None
        name = signal.Signals(number).name if number else None
        return None if name in STOPPING else name  # which has been noted, or will be

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Keep a request to stop, and see to it that `wait` looks."""
        del frame
        self._stops.append(signal.Signals(number).name)
        with suppress(BlockingIOError):  # then there is enough in it to wake anybody
            self._writer.send(b"\0")


def _ignore(number: int, frame: FrameType | None) -> None:
    del number, frame
