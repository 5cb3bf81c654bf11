"""Latencies in an HdrHistogram, and the figures that ping and load show."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

NS_PER_MS = 1_000_000
# The histogram's unit is a tenth of a microsecond; it goes up to an hour, to three digits.
UNIT_NS = 100
HIGHEST = 3600 * 10**9 // UNIT_NS
DIGITS = 3
# Values are recorded in batches of this many: one by one, recording costs six times as much,
# and delays the next measurement.
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Band:
    """A bucket of the histogram: `count` latencies below `below_ms`, and not in an earlier one."""

    below_ms: float
    count: int


class Latencies:
    """Collects latencies in nanoseconds, and reports figures in milliseconds.

    Percentiles come from the histogram, to three digits; `count`, `min_ms`, `avg_ms`,
    `max_ms` and `stddev_ms` are exact. Without latencies, figures are None. It takes about
    200 KB of memory, whatever the count.

    >>> latencies = Latencies()
    >>> for milliseconds in (1, 2, 3, 4):
    ...     latencies.add(milliseconds * NS_PER_MS)
    >>> latencies.min_ms, latencies.avg_ms, latencies.max_ms, round(latencies.percentile(50), 2)
    (1.0, 2.5, 4.0, 2.0)
    """

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, HIGHEST, DIGITS)
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
        value = self._histogram.get_value_at_percentile(percent) * UNIT_NS
        return float(min(max(value, self._least), self._most) / NS_PER_MS)

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
        for entry in self._histogram.get_recorded_iterator():
            ns = self._histogram.get_lowest_equivalent_value(entry.value_iterated_to) * UNIT_NS
            counts[max(0, math.ceil(math.log2((ns + 1) / 1000)))] += (
                entry.count_at_value_iterated_to
            )
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
            self._histogram.record_value(min(value // UNIT_NS, HIGHEST), times)
