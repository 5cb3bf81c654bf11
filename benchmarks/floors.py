"""How fast the daemon has to be: the floors, and whether measured figures hold them."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.contestants import OURS, QUIET
from benchmarks.metrics import METRICS
from benchmarks.ratios import Key, Spread

AHEAD = 1.0
LEVEL = 0.95
"""Level with: the median is not further behind than rounds of one server are from each other."""


@dataclass(frozen=True)
class Floor:
    """A bound for a figure of ours or, where there is a peer, for its ratio to the peer's."""

    workload: str
    metric: str
    bound: float
    peer: str = OURS
    at_least: bool = True

    @property
    def key(self) -> Key:
        """The figure's or the ratio's key."""
        return (self.workload, self.metric, self.peer)

    def holds(self, figure: float) -> bool:
        """Return whether the figure is on the right side."""
        return figure >= self.bound if self.at_least else figure <= self.bound

    def shown(self, figure: float) -> str:
        """Return a figure, or a ratio, as a reader wants it."""
        return METRICS[self.metric].shown(figure) if self.peer == OURS else f"{figure:.2f}"


def rate_floors(workload: str, metric: str, **bounds: float) -> list[Floor]:
    """Return floors for the ratios to several peers."""
    return [Floor(workload, metric, bound, peer) for peer, bound in bounds.items()]


def tail_floors(workload: str, *peers: str) -> list[Floor]:
    """Return floors that say: the slowest round trips in 100 and in 1,000 are no slower."""
    metrics = ("p99_us", "p999_us")
    return [Floor(workload, m, 1.0, peer, at_least=False) for m in metrics for peer in peers]


def ceiling(workload: str, metric: str, bound: float) -> Floor:
    """Return a bound that a figure of ours may not exceed."""
    return Floor(workload, metric, bound, at_least=False)


FLOORS = (
    *rate_floors("rtt-1", "per_s", threads=LEVEL, epoll=LEVEL, asyncio=LEVEL, uvloop=LEVEL),
    *(
        floor
        for sessions in (10, 100, 1000)
        for floor in rate_floors(
            f"rtt-{sessions}", "per_s", threads=1.2, epoll=0.85, asyncio=AHEAD, uvloop=AHEAD
        )
    ),
    *tail_floors("rtt-10", "asyncio", "uvloop"),
    *tail_floors("rtt-100", "asyncio", "uvloop"),
    *tail_floors("rtt-1000", "threads"),
    *(
        floor
        for workload in ("churn-8", "churn-32")
        for floor in (
            *rate_floors(workload, "per_s", stock=10.0, asyncio=LEVEL, threads=0.7),
            Floor(workload, "per_s", 1.4, "asyncio-log"),
            Floor(workload, "per_s", 1.2, "uvloop-log"),
        )
    ),
    *rate_floors("bulk-1", "mb_per_s", threads=LEVEL, asyncio=AHEAD, uvloop=AHEAD),
    *rate_floors("bulk-10", "mb_per_s", threads=LEVEL, asyncio=AHEAD, uvloop=AHEAD),
    *(
        ceiling(f"memory-{sessions}", "bytes_per_session", 24 * 1024)
        for sessions in (1000, 5000, 10000)
    ),
    ceiling("wake-10000", "burst_s", 0.2),
    ceiling("wake-10000", "close_s", 3.0),
    ceiling("idle-5000", "idle_cpu", 0.01),
    *rate_floors("log-cost-churn", "per_s", **{QUIET: 0.75}),
    *rate_floors("log-cost-rtt", "per_s", **{QUIET: LEVEL}),
)


def measured(
    figures: Mapping[Key, Spread], ratios: Mapping[Key, Spread]
) -> list[tuple[Floor, Spread]]:
    """Return the floors that a run says something about, with what it says."""
    known = {**ratios, **{key: spread for key, spread in figures.items() if key[2] == OURS}}
    return [(floor, known[floor.key]) for floor in FLOORS if floor.key in known]
