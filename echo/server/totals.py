"""The totals of the sessions that have been: how many, how they ended, how long they lasted."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Seconds: from a health check's few milliseconds to the longest session there is by default.
DURATION_BOUNDS = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 3600.0, 21600.0, 86400.0)


@dataclass(slots=True)
class Totals:
    """Counts of all sessions that were accepted, and sums over those that have ended.

    `durations` is a histogram: a count per bucket of `DURATION_BOUNDS`, then one for longer
    sessions. It has no lock of its own: the register changes it under its lock.

    >>> totals = Totals(accepted=1)
    >>> totals.add({"reason": "eof", "duration_s": 0.5, "received_bytes": 5, "sent_bytes": 5})
    >>> totals.closed, totals.reasons["eof"], totals.durations[DURATION_BOUNDS.index(1.0)]
    (1, 1, 1)
    """

    accepted: int = 0
    closed: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    durations: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS) + 1))
    duration_s: float = 0.0

    def add(self, line: Mapping[str, Any]) -> None:
        """Add a session that has ended, by the fields of its `session.closed`."""
        self.closed += 1
        self.received_bytes += line["received_bytes"]
        self.sent_bytes += line["sent_bytes"]
        self.reasons[line["reason"]] += 1
        duration_s = line["duration_s"]
        self.durations[bisect_left(DURATION_BOUNDS, duration_s)] += 1
        self.duration_s += duration_s
