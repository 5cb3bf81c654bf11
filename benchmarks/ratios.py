"""From samples to medians: ours to a peer's in the same round, with the least and the greatest."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contestants import OURS
from benchmarks.metrics import METRICS
from benchmarks.rounds import Sample
from benchmarks.workloads import WORKLOADS


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, and between what it lies."""

    median: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(median(values), min(values), max(values), len(values))


Key = tuple[str, str, str]
"""A workload, a metric, a contestant."""


def figures(samples: Iterable[Sample]) -> dict[Key, Spread]:
    """Return each contestant's own figures."""
    return spreads(
        ((sample.workload, metric, sample.contestant), figure)
        for sample in samples
        for metric, figure in compared(sample).items()
    )


def ratios(samples: Sequence[Sample]) -> dict[Key, Spread]:
    """Return ours divided by each peer's of the same round; the contestant of a key is the peer."""
    ours = {(s.round, s.workload): compared(s) for s in samples if s.contestant == OURS}
    return spreads(
        ((sample.workload, metric, sample.contestant), own[metric] / figure)
        for sample in samples
        if sample.contestant != OURS and (own := ours.get((sample.round, sample.workload)))
        for metric, figure in compared(sample).items()
        if figure > 0
    )


def compared(sample: Sample) -> dict[str, float]:
    """Return those of a sample's figures that its workload is about."""
    (workload,) = (w for w in WORKLOADS if w.name == sample.workload)
    return {m: sample.figures[m] for m in workload.metrics if m in sample.figures}


def spreads(values: Iterable[tuple[Key, float]]) -> dict[Key, Spread]:
    """Group values by their key."""
    grouped: dict[Key, list[float]] = defaultdict(list)
    for key, value in values:
        grouped[key].append(value)
    return {key: Spread.of(group) for key, group in grouped.items()}


def advantage(metric: str, ratio: float) -> float:
    """Return a ratio turned so that more is better: 2 is twice as fast, or half the memory."""
    if METRICS[metric].more_is_better:
        return ratio
    return 1 / ratio if ratio > 0 else float("inf")
