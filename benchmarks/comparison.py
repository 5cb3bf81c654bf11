"""Notice a slower commit: ratios of now beside stored ones, never seconds of two days."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.metrics import METRICS
from benchmarks.ratios import Key, Spread, advantage, ratios
from benchmarks.rounds import Sample


@dataclass(frozen=True)
class Change:
    """One ratio then and now."""

    key: Key
    stored: Spread
    fresh: Spread

    @property
    def factor(self) -> float:
        """How much better it is now; 0.8 is a fifth worse."""
        metric = self.key[1]
        return advantage(metric, self.fresh.median) / advantage(metric, self.stored.median)

    def is_worse(self, tolerance: float) -> bool:
        """Return whether it is worse by more than the tolerance, and beyond the noise.

        Noise is what the rounds of both runs have in common: where the best round of now is as
        good as the worst stored one, nothing was shown.
        """
        return self.factor < 1 - tolerance and self.best_now < self.worst_stored

    @property
    def best_now(self) -> float:
        """The best round of now."""
        return max(advantage(self.key[1], r) for r in (self.fresh.least, self.fresh.most))

    @property
    def worst_stored(self) -> float:
        """The worst round of then."""
        return min(advantage(self.key[1], r) for r in (self.stored.least, self.stored.most))


def changes(stored: Sequence[Sample], fresh: Sequence[Sample]) -> list[Change]:
    """Return how the ratios changed that both runs have, of metrics that repeat well."""
    before, after = ratios(stored), ratios(fresh)
    return [
        Change(key, before[key], after[key])
        for key in after
        if key in before and METRICS[key[1]].steady
    ]
