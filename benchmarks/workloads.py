"""What is measured, each on a fresh process of a contestant that was warmed up first."""

import fnmatch
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contestants import OURS, QUIET
from benchmarks.loadgen import Figures, held, load
from benchmarks.servers import Server

SIZE = 512
WARM_S = 0.4
"""How long sessions come and go before anything is measured: asyncio, for one, is several times
slower until its first session has ended."""
SETTLE_S = 1.0
"""How long sessions are idle before their memory or their CPU is looked at."""
ALL = 10_000


@dataclass(frozen=True)
class Timing:
    """How long a rate is measured, and run before that, in seconds."""

    duration: float
    warmup: float


@dataclass(frozen=True)
class Workload:
    """One thing to measure."""

    name: str
    title: str
    metrics: tuple[str, ...]
    """Of the figures that it gives, those that are compared."""
    measure: Callable[[Server, Timing], Figures]
    only: tuple[str, ...] | None = None
    """The contestants it is for, where not for all."""


def warm(server: Server) -> None:
    """Bring a server to its steady state."""
    load("churn", server, sessions=8, size=SIZE, duration=WARM_S)


def round_trips(sessions: int) -> Callable[[Server, Timing], Figures]:
    """Measure messages that go there and back, one at a time on each session."""
    return rate("rtt", sessions, SIZE)


def churn(sessions: int) -> Callable[[Server, Timing], Figures]:
    """Measure sessions a second, so many at once: connect, one exchange, close."""
    return rate("churn", sessions, SIZE)


def bulk(sessions: int) -> Callable[[Server, Timing], Figures]:
    """Measure streams that send and read as fast as they can."""
    return rate("bulk", sessions, SIZE)


def rate(mode: str, sessions: int, size: int) -> Callable[[Server, Timing], Figures]:
    """Measure what one of the generator's timed modes gives."""

    def measure(server: Server, timing: Timing) -> Figures:
        warm(server)
        span = {"duration": timing.duration, "warmup": timing.warmup}
        return load(mode, server, sessions=sessions, size=size, **span)

    return measure


def memory(sessions: int) -> Callable[[Server, Timing], Figures]:
    """Measure the resident memory that sessions add, each idle after one exchange."""

    def measure(server: Server, _timing: Timing) -> Figures:
        warm(server)
        before = server.resident_bytes()
        with held(server, sessions):
            time.sleep(SETTLE_S)
            after = server.resident_bytes()
        added = (after - before) / sessions
        return {"bytes_per_session": added, "before_bytes": before, "after_bytes": after}

    return measure


def wake_all(server: Server, _timing: Timing) -> Figures:
    """Measure one message on every session at once, then the end of them all."""
    warm(server)
    figures = load("burst", server, sessions=ALL, size=SIZE)
    return figures | {"burst_s": figures["run_s"]}


def idle_cpu(sessions: int) -> Callable[[Server, Timing], Figures]:
    """Measure the CPU that open sessions cost while nothing is sent, as a share of a core."""

    def measure(server: Server, timing: Timing) -> Figures:
        warm(server)
        with held(server, sessions):
            time.sleep(SETTLE_S)
            began, used = time.monotonic(), server.cpu_seconds()
            time.sleep(max(timing.duration, 2.0))
            used, lasted = server.cpu_seconds() - used, time.monotonic() - began
        return {"idle_cpu": used / lasted}

    return measure


def startup(server: Server, _timing: Timing) -> Figures:
    """Measure the time from the start of the process to its first echo."""
    return {"startup_s": server.startup_s}


RATE = ("per_s", "p50_us", "p99_us", "p999_us")
LOG_COST = (OURS, QUIET)

WORKLOADS = (
    Workload("rtt-1", "Round trips, 1 session", RATE, round_trips(1)),
    Workload("rtt-10", "Round trips, 10 sessions", RATE, round_trips(10)),
    Workload("rtt-100", "Round trips, 100 sessions", RATE, round_trips(100)),
    Workload("rtt-1000", "Round trips, 1,000 sessions", RATE, round_trips(1000)),
    Workload("churn-8", "Sessions a second, 8 at once", ("per_s",), churn(8)),
    Workload("churn-32", "Sessions a second, 32 at once", ("per_s",), churn(32)),
    Workload("bulk-1", "Bulk, 1 stream", ("mb_per_s",), bulk(1)),
    Workload("bulk-10", "Bulk, 10 streams", ("mb_per_s",), bulk(10)),
    Workload("memory-1000", "Memory, 1,000 idle", ("bytes_per_session",), memory(1000)),
    Workload("memory-5000", "Memory, 5,000 idle", ("bytes_per_session",), memory(5000)),
    Workload("memory-10000", "Memory, 10,000 idle", ("bytes_per_session",), memory(ALL)),
    Workload("wake-10000", "10,000 sessions", ("burst_s", "close_s"), wake_all),
    Workload("idle-5000", "Idle, 5,000 sessions", ("idle_cpu",), idle_cpu(5000)),
    Workload("startup", "Start-up", ("startup_s",), startup),
    Workload("log-cost-churn", "Log on/off, 32 at once", ("per_s",), churn(32), LOG_COST),
    Workload("log-cost-rtt", "Log on/off, 10 sessions", ("per_s",), round_trips(10), LOG_COST),
)
QUICK = ("rtt-1", "rtt-10", "rtt-100", "churn-32", "bulk-10", "memory-1000")


def chosen(patterns: tuple[str, ...]) -> list[Workload]:
    """Return the workloads that a pattern matches, as ``rtt-*``, or all where there is none.

    Raises:
        ValueError: a pattern matches none.

    """
    names = [workload.name for workload in WORKLOADS]
    wanted = {name for pattern in patterns or ("*",) for name in fnmatch.filter(names, pattern)}
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ValueError(f"no workload is called {pattern}; there are {', '.join(names)}")
    return [workload for workload in WORKLOADS if workload.name in wanted]
