"""The last hour: how many sessions there were, and how much had passed, at each step."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from echo.deadline import Deadline

if TYPE_CHECKING:
    from echo.server.server import EchoServer

    Point = tuple[float, int, int, int, int, int]

# The last five minutes have a point every two seconds, the rest of the hour every twelfth of them.
STEP = 2.0
FINE_POINTS = 150
THINNING = 12
COARSE_POINTS = 138


class History:
    """Notes the server's counts every `step` seconds, as long as somebody calls `tick` as often.

    A point is uptime in seconds, active sessions, received and sent bytes, accepted sessions,
    refused connections.
    """

    def __init__(self, server: EchoServer, step: float = STEP) -> None:
        self._server = server
        self._step = step
        self._next = Deadline(0)
        self._fine: deque[Point] = deque(maxlen=FINE_POINTS)
        self._coarse: deque[Point] = deque(maxlen=COARSE_POINTS)
        self._thinned = 0

    def __repr__(self) -> str:
        return f"<History {len(self._coarse)} + {len(self._fine)} points>"

    def points(self) -> list[Point]:
        """Return the points, the newest last."""
        return [*self._coarse.copy(), *self._fine.copy()]

    def tick(self) -> None:
        """Note the counts, if it is time."""
        if not self._next.expired:
            return
        self._next = Deadline(self._step)
        if len(self._fine) == FINE_POINTS:
            if self._thinned % THINNING == 0:
                self._coarse.append(self._fine[0])
            self._thinned += 1
        uptime, active, totals = self._server.uptime_s, self._server.slots.active, self._totals()
        self._fine.append((uptime, active, *totals))

    def _totals(self) -> tuple[int, int, int, int]:
        totals = self._server.totals()
        return (
            totals["received_bytes"],
            totals["sent_bytes"],
            totals["accepted"],
            totals["refused"],
        )
