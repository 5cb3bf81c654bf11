"""The plan of a load: how many sessions, how long, how fast; and when each exchange is due."""

from __future__ import annotations

from dataclasses import dataclass

from echo.client.sizes import parse_sizes
from echo.limits import LONGEST, BadLimit

NS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """The load to put on a server. A value out of range raises `BadLimit`.

    >>> LoadPlan(sessions=0)
    Traceback (most recent call last):
        ...
    echo.limits.BadLimit: sessions must be from 1 to 100000, not 0
    """

    sessions: int = 10
    """Sessions at once."""

    size: str = "512"
    """Bytes of an exchange: 512, a range 1-4k, weighted sizes 64*9,1M, or exp:1000 (exponential
    with that mean)."""

    duration: float = 10.0
    """Seconds in which exchanges begin; those begun by then are finished."""

    rate: float = 0.0
    """Exchanges due per second in all, even if the server is slow; 0 starts each session's next
    exchange after its last."""

    ramp: float = 0.0
    """Seconds over which the sessions are opened."""

    churn: bool | int = False
    """Reconnect after this many exchanges; without a number, after each."""

    timeout: float = 10.0
    """Seconds that connecting, an exchange, or the end of a session may take."""

    def __post_init__(self) -> None:
        """Raise `BadLimit` for values out of range."""
        parse_sizes(self.size)
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:  # written so that NaN fails, too
                raise BadLimit(name, f"must be from {least} to {most}, not {value}")


_RANGES: dict[str, tuple[float, float]] = {
    "sessions": (1, 100_000),
    "duration": (0.01, LONGEST),
    "rate": (0, 1_000_000),
    "ramp": (0, LONGEST),
    "churn": (0, 2**31),
    "timeout": (0.001, LONGEST),
}


class Schedule:
    """When the exchanges of an open-loop load are due: at even intervals.

    Times are in nanoseconds. Exchanges that aren't taken in time stay due; they are a count, not
    a queue, so that a stalled server costs no memory.

    >>> schedule = Schedule(rate=2.0, start_ns=0, end_ns=2 * NS)
    >>> [schedule.take() for _ in range(3)], schedule.left, schedule.next_ns
    ([0, 500000000, 1000000000], 1, 1500000000)
    """

    def __init__(self, rate: float, start_ns: int, end_ns: int) -> None:
        self._start_ns = start_ns
        self._gap_ns = min(NS / rate, 1e18)  # at the slowest rates only the first exchange is due
        self._taken = 0
        self.left = max(1, round((end_ns - start_ns) / self._gap_ns))

    def __repr__(self) -> str:
        return f"<Schedule {self._taken} taken, {self.left} left>"

    @property
    def next_ns(self) -> int:
        """When the next exchange is due."""
        return self._start_ns + int(self._taken * self._gap_ns)

    def take(self, count: int = 1) -> int:
        """Take the next exchange, or several; return when the first of them was due."""
        due = self.next_ns
        self._taken += count
        self.left -= count
        return due
