"""The figures: exact where they can be, to three digits where a histogram gives them."""

from __future__ import annotations

import statistics

from hypothesis import given, settings
from hypothesis import strategies as st

from echo.client.latency import BATCH, HIGHEST, NS_PER_MS, UNIT_NS, Latencies

NANOSECONDS = st.integers(1, 60 * 10**9)


def collected(values: list[int]) -> Latencies:
    """Collect latencies."""
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    return latencies


@given(values=st.lists(NANOSECONDS, min_size=1, max_size=50))
def test_figures_are_those_of_the_values(values: list[int]) -> None:
    """Minimum, mean, maximum and deviation are exact."""
    latencies = collected(values)
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)

    assert latencies.count == len(values)
    assert latencies.min_ms == min(values) / NS_PER_MS
    assert latencies.max_ms == max(values) / NS_PER_MS
    assert latencies.avg_ms is not None
    assert abs(latencies.avg_ms - mean / NS_PER_MS) <= 1e-9 * latencies.avg_ms
    assert latencies.stddev_ms is not None
    assert abs(latencies.stddev_ms - deviation / NS_PER_MS) <= 1e-6 * (1 + latencies.avg_ms)


@given(values=st.lists(NANOSECONDS, min_size=1, max_size=50), percent=st.floats(0.1, 100))
def test_a_percentile_is_a_value_to_three_digits(values: list[int], percent: float) -> None:
    """A percentile is exceeded by no more values than its percentage leaves."""
    got = collected(values).percentile(percent)
    rank = max(1, int(percent * len(values) / 100 + 0.5))
    want = sorted(values)[rank - 1]

    assert got is not None
    assert abs(got * NS_PER_MS - want) <= max(want / 1000, UNIT_NS)


def test_batches_change_nothing() -> None:
    """More values than are counted at once, and equal ones at once, add up."""
    latencies = collected([NS_PER_MS] * (2 * BATCH + 1))
    latencies.add(2 * NS_PER_MS, 3)

    assert latencies.count == 2 * BATCH + 4
    assert latencies.max_ms == 2
    assert latencies.percentile(50) == 1.0007
    assert repr(latencies) == f"<Latencies {2 * BATCH + 4}>"


def test_nothing_has_no_figures() -> None:
    """Without latencies all figures are None."""
    latencies = Latencies()

    assert latencies.min_ms is latencies.avg_ms is latencies.max_ms is None
    assert latencies.stddev_ms is latencies.percentile(99) is latencies.recent_ms(99) is None
    assert latencies.bands() == []


def test_recent_ones_are_the_last() -> None:
    """What a terminal shows meanwhile are the latest latencies, not the whole run's."""
    latencies = collected([NS_PER_MS] * (5 * BATCH) + [9 * NS_PER_MS] * BATCH)

    assert latencies.recent_ms(50) == 9


def test_an_hour_is_the_most() -> None:
    """A longer latency counts as an hour in the percentiles, and is the maximum as it is."""
    two_hours = 2 * HIGHEST * UNIT_NS
    latencies = collected([NS_PER_MS, two_hours])

    assert latencies.max_ms == two_hours / NS_PER_MS
    percentile = latencies.percentile(99)
    assert percentile is not None
    assert percentile >= HIGHEST * UNIT_NS / NS_PER_MS


@settings(max_examples=10)
@given(values=st.lists(NANOSECONDS, min_size=1, max_size=50))
def test_bands_hold_every_value(values: list[int]) -> None:
    """The bands double, and together hold all."""
    bands = collected(values).bands()

    assert sum(band.count for band in bands) == len(values)
    assert bands[-1].below_ms * NS_PER_MS >= max(values) * 0.998
