"""Latencies: a histogram of them, and the figures that ping and load show."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

NS_PER_MS = 1_000_000
# The histogram counts in tenths of a microsecond, up to an hour. As in HdrHistogram, a bucket
# holds the values that share their leading binary digits: eleven are three decimal ones.
UNIT_NS = 100
HIGHEST = 3600 * 10**9 // UNIT_NS
LEADING_BITS = 11
# Values that wait to be counted together: one by one, counting costs six times as much, and
# what it costs is in the way of the next measurement.
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Band:
    """A bucket of the histogram: `count` latencies below `below_ms`, and not in an earlier one."""

    below_ms: float
    count: int


class Latencies:
    """Collects latencies in nanoseconds, and reports figures in milliseconds.

    Percentiles come from the histogram, to three digits; `count`, `min_ms`, `avg_ms`,
    `max_ms` and `stddev_ms` are exact. Without latencies, figures are None. It takes 3 MB of
    memory at the most, however many latencies there are.

    >>> latencies = Latencies()
    >>> for milliseconds in (1, 2, 3, 4):
    ...     latencies.add(milliseconds * NS_PER_MS)
    >>> latencies.min_ms, latencies.avg_ms, latencies.max_ms, round(latencies.percentile(50), 2)
    (1.0, 2.5, 4.0, 2.0)
    """

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()  # by the lowest value that belongs there
        self._new: list[int] = []
        self._last: list[int] = []
        self._count = 0
        self._total = 0
        self._squares = 0
        self._least = 0
        self._most = 0

    def __repr__(self) -> str:
        return f"<Latencies {self.count}>"

    def add(self, nanoseconds: int, times: int = 1) -> None:
        """Add one latency, or several equal ones."""
        if times == 1:
            self._new.append(nanoseconds)
            if len(self._new) >= BATCH:
                self._take_in()
        else:
            self._take_in()
            self._record(Counter({nanoseconds: times}))

    @property
    def count(self) -> int:
        """Number of latencies."""
        return self._count + len(self._new)

    @property
    def min_ms(self) -> float | None:
        """Smallest latency."""
        self._take_in()
        return self._least / NS_PER_MS if self._count else None

    @property
    def max_ms(self) -> float | None:
        """Largest latency."""
        self._take_in()
        return self._most / NS_PER_MS if self._count else None

    @property
    def avg_ms(self) -> float | None:
        """Mean latency."""
        self._take_in()
        return self._total / self._count / NS_PER_MS if self._count else None

    @property
    def stddev_ms(self) -> float | None:
        """Standard deviation of the population."""
        self._take_in()
        if not self._count:
            return None
        variance = self._squares * self._count - self._total**2  # whole numbers: nothing is lost
        return math.sqrt(variance) / self._count / NS_PER_MS

    def percentile(self, percent: float) -> float | None:
        """Return the latency that `percent` of all do not exceed."""
        self._take_in()
        if not self._count:
            return None
        rank, seen, lowest = max(1, int(percent * self._count / 100 + 0.5)), 0, 0
        for lowest in sorted(self._buckets):
            seen += self._buckets[lowest]
            if seen >= rank:
                break
        highest = (lowest + (1 << _shift(lowest)) - 1) * UNIT_NS
        return min(max(highest, self._least), self._most) / NS_PER_MS

    def recent_ms(self, percent: float) -> float | None:
        """Return a percentile of the last 1,000 to 2,000; another thread may call it."""
        values = sorted(self._last + self._new)
        if not values:
            return None
        return values[min(len(values) - 1, int(len(values) * percent / 100))] / NS_PER_MS

    def bands(self) -> list[Band]:
        """Return the histogram, smallest first; each band goes up to twice the one before.

        >>> latencies = Latencies()
        >>> for microseconds in (900, 1500, 1900, 7000):
        ...     latencies.add(microseconds * 1000)
        >>> [(band.below_ms, band.count) for band in latencies.bands()]
        [(1.024, 1), (2.048, 2), (4.096, 0), (8.192, 1)]
        """
        self._take_in()
        counts: Counter[int] = Counter()
        for lowest, count in self._buckets.items():
            counts[max(0, math.ceil(math.log2((lowest * UNIT_NS + 1) / 1000)))] += count
        exponents = range(min(counts, default=0), max(counts, default=-1) + 1)
        return [Band(2**exponent / 1000, counts[exponent]) for exponent in exponents]

    def _take_in(self) -> None:
        if self._new:
            batch, self._new = self._new, []
            self._last = batch
            self._record(Counter(batch))

    def _record(self, values: Counter[int]) -> None:
        least, most = min(values), max(values)
        self._least = min(least, self._least) if self._count else least
        self._most = max(most, self._most)
        for value, times in values.items():
            self._count += times
            self._total += value * times
            self._squares += value * value * times
            units = min(value // UNIT_NS, HIGHEST)
            self._buckets[units >> _shift(units) << _shift(units)] += times


def _shift(units: int) -> int:
    """Return how many of a value's trailing binary digits its bucket leaves out."""
    return max(0, units.bit_length() - LEADING_BITS)
