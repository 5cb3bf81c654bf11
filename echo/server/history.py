"""The last minutes: how many sessions there were, and how many bytes had passed, at each step."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from echo.deadline import Deadline
from echo.limits import HISTORY_POINTS, HISTORY_STEP

if TYPE_CHECKING:
    from echo.server.server import EchoServer

    Point = tuple[float, int, int, int]


class History:
    """Notes the server's counts every `step` seconds, as long as somebody calls `tick` as often.

    `points` are uptime in seconds, active sessions, received and sent bytes; the newest last.
    """

    def __init__(self, server: EchoServer, step: float = HISTORY_STEP) -> None:
        self.points: deque[Point] = deque(maxlen=HISTORY_POINTS)
        self._server = server
        self._step = step
        self._next = Deadline(0)

    def __repr__(self) -> str:
        return f"<History {len(self.points)}/{self.points.maxlen} points>"

    def tick(self) -> None:
        """Note the counts, if it is time."""
        if not self._next.expired:
            return
        self._next = Deadline(self._step)
        uptime, totals = self._server.uptime_s, self._server.sessions.byte_totals()
        active = self._server.slots.active
        self.points.append((uptime, active, totals["received_bytes"], totals["sent_bytes"]))
