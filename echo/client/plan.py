"""What a load is to be: how many sessions, how long, how fast; and when each exchange is due."""

from __future__ import annotations

from dataclasses import dataclass

from echo.client.sizes import parse_sizes
from echo.limits import LONGEST, BadLimit

NS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """What to do to a server, and for how long. A value that makes no sense raises `BadLimit`.

    >>> LoadPlan(sessions=0)
    Traceback (most recent call last):
        ...
    echo.limits.BadLimit: sessions must be from 1 to 100000, not 0
    """

    sessions: int = 10
    """Sessions at once."""

    size: str = "512"
    """Bytes of an exchange: 512, a range 1-4k, a choice 64*9,1m with weights, or exp:1000."""

    duration: float = 10.0
    """Seconds in which exchanges begin; those under way at the end are finished."""

    rate: float = 0.0
    """Exchanges due per second in all, whatever the server does; 0: each follows the last."""

    ramp: float = 0.0
    """Seconds over which the sessions are opened."""

    churn: bool | int = False
    """Exchanges after which a session ends and another begins; alone: after each."""

    timeout: float = 10.0
    """Seconds that a connection, an exchange, and a session's end may take."""

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        parse_sizes(self.size)
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:  # in these words NaN fails, too
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
    """When the exchanges of an open-loop load are due: evenly, whatever the server does.

    Moments are nanoseconds. What isn't taken in time stays due: its number is kept, not a
    queue, so that a server that stalls costs no memory.

    >>> schedule = Schedule(rate=2.0, start_ns=0, end_ns=2 * NS)
    >>> [schedule.take() for _ in range(3)], schedule.left, schedule.next_ns
    ([0, 500000000, 1000000000], 1, 1500000000)
    """

    def __init__(self, rate: float, start_ns: int, end_ns: int) -> None:
        self._start_ns = start_ns
        self._gap_ns = min(NS / rate, 1e18)  # of the slowest rates, only the first is due
        self._taken = 0
        self.left = max(1, round((end_ns - start_ns) / self._gap_ns))

    def __repr__(self) -> str:
        return f"<Schedule {self._taken} taken, {self.left} left>"

    @property
    def next_ns(self) -> int:
        """When the next exchange is due."""
        return self._start_ns + int(self._taken * self._gap_ns)

    def take(self, count: int = 1) -> int:
        """Take the next exchange, or several; give when the first of them was due."""
        due = self.next_ns
        self._taken += count
        self.left -= count
        return due
