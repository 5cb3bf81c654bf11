"""Refused connections in the log: all of them counted, at a bounded rate."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from echo.events import SESSION_REFUSED
from echo.limits import REFUSAL_PERIOD

if TYPE_CHECKING:
    from collections.abc import Callable

    from echo.events import Refusal


@dataclass(slots=True)
class _Flood:
    """Refusals for one reason that wait for their common line; it names the last of them."""

    due: float
    count: int = 0
    peer_ip: str = ""
    peer_port: int = 0


class Refusals:
    """Writes the first refusal for a reason at once, those that follow once a `period`.

    However many come, a reason has at most two lines a second, and the lines' counts add up
    to `total` after `flush`. `period` is in seconds.
    """

    def __init__(self, emit: Callable[..., None], period: float = REFUSAL_PERIOD) -> None:
        self.total = 0
        self.by_reason: dict[Refusal, int] = {}
        self._emit = emit
        self._period = period
        self._floods: dict[Refusal, _Flood] = {}
        self._lock = threading.Lock()

    def add(self, reason: Refusal, peer_ip: str, peer_port: int) -> None:
        """Count one refusal, and write its line if none has been written just now."""
        with self._lock:
            self.total += 1
            self.by_reason[reason] = self.by_reason.get(reason, 0) + 1
            flood = self._floods.setdefault(reason, _Flood(due=0.0))
            flood.count += 1
            flood.peer_ip, flood.peer_port = peer_ip, peer_port
        self.flush_due()

    def flush_due(self) -> None:
        """Write the lines whose time has come."""
        self._flush(time.monotonic())

    def flush(self) -> None:
        """Write all that is left."""
        self._flush(float("inf"))

    def _flush(self, now: float) -> None:
        with self._lock:
            lines = [self._line(reason, now) for reason in self._floods]
        for line in lines:
            if line is not None:
                self._emit(SESSION_REFUSED, **line)

    def _line(self, reason: Refusal, now: float) -> dict[str, Any] | None:
        flood = self._floods[reason]
        if not flood.count or now < flood.due:
            return None
        line = {
            "peer_ip": flood.peer_ip,
            "peer_port": flood.peer_port,
            "reason": reason.value,
            "count": flood.count,
        }
        flood.count = 0
        flood.due = time.monotonic() + self._period
        return line
