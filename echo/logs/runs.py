"""Which daemon wrote what: each run's start, its sessions, its stop, and why it ended.

A session's id begins with the id of its run; `server.started` and `server.stopped` don't name it.
A stop belongs to the run whose sessions add up to its totals, and to the start that is its
uptime before it. So runs are distinguished whether they follow each other in a log, share one, or
come in the wrong order; where that is not certain, nothing is compared.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

# A hostile log may start a daemon in each line; only this many runs are distinguished.
MOST_RUNS = 100_000
# The uptime is taken a moment before the stop is stamped.
_TOLERANCE = timedelta(seconds=2)
TOTALS = ("accepted", "closed", "received_bytes", "sent_bytes")

LATE = "it began in a file that is not here"
CLOCK = "no server.started fits its uptime: the clock was changed, or its beginning is not here"
DROPPED = "log.dropped stands for lines that could not be written"
CRASHED = "ended without server.stopped"
RUNNING = "may still run"


@dataclass
class RunStart:
    """A `server.started`: its row, time, process id, and the log it stands in."""

    row: int
    at: datetime | None
    pid: int | None
    log: str = ""
    claimed: bool = False


@dataclass
class RunStop:
    """A `server.stopped`: its row, time, what it says; `start` is the one that its uptime names."""

    row: int
    at: datetime | None
    uptime_s: float | None
    refused: int | None
    totals: tuple[int | None, ...]
    log: str = ""
    start: RunStart | None = None
    claimed: bool = False


@dataclass
class Run:
    """One daemon's life as far as the log shows it: from row `first_row` to `last_row`.

    `sums` is what its sessions add up to, by the names of `TOTALS`. `why` says why its stop can't
    be compared with them. `shared` says that another run's lines stand between its own.
    """

    run_id: str | None
    first_row: int
    last_row: int
    first_at: datetime | None = None
    last_at: datetime | None = None
    sums: tuple[int, ...] = (0, 0, 0, 0)
    log: str = ""
    started: RunStart | None = None
    stopped: RunStop | None = None
    state: str = "running"
    why: str = ""
    shared: bool = False
    end_row: int = field(default=0)

    @property
    def ended_at(self) -> datetime | None:
        """The time of the last thing that is known of it."""
        return (self.stopped and self.stopped.at) or self.last_at or self.first_at


def match_runs(starts: list[RunStart], stops: list[RunStop], runs: list[Run]) -> list[Run]:
    """Return all runs, in the order of their first rows, each with its start and stop.

    `runs` has one for each run id that a session names; a run without a session is added.
    """
    _match_by_totals(stops, runs)
    # Of daemons that were started at once, the one whose stop is certain comes first.
    _match_by_uptime(starts, sorted(stops, key=lambda stop: not stop.claimed))
    for run in sorted(runs, key=lambda run: not (run.stopped and run.stopped.start)):
        _find_start(run, starts)
    _match_by_times(stops, runs)
    by_start = {id(stop.start): stop for stop in stops if stop.start and not stop.claimed}
    for run in runs:
        if not run.stopped and run.started and (stop := by_start.get(id(run.started))):
            _stop(run, stop)
    runs += [_without_sessions(start, by_start) for start in starts if not start.claimed]
    _match_the_rest(stops, runs)
    runs.sort(key=lambda run: run.first_row)
    _find_states(starts, runs)
    return runs


def _stop(run: Run, stop: RunStop, why: str = "") -> None:
    run.stopped, stop.claimed, run.state, run.why = stop, True, "stopped", why
    run.last_row = max(run.last_row, stop.row)


def _start(run: Run, start: RunStart) -> None:
    run.started, start.claimed = start, True
    run.first_row = min(run.first_row, start.row)
    run.first_at = start.at or run.first_at


def _match_by_uptime(starts: list[RunStart], stops: list[RunStop]) -> None:
    timed = sorted((start for start in starts if start.at), key=lambda start: start.at or 0)
    times: list[Any] = [start.at for start in timed]
    taken: set[int] = set()
    for stop in stops:
        if stop.at is None or stop.uptime_s is None or not 0 <= stop.uptime_s < 1e9:
            continue
        began = stop.at - timedelta(seconds=stop.uptime_s)
        first = bisect_left(times, began - _TOLERANCE)
        last = bisect_right(times, began + _TOLERANCE)
        near = [start for start in timed[first:last][:100] if id(start) not in taken]
        if near:
            # Of several at once, the one of the same log, then the nearest in time.
            stop.start = min(near, key=lambda s: (s.log != stop.log, abs((s.at or began) - began)))
            taken.add(id(stop.start))


def _match_by_totals(stops: list[RunStop], runs: list[Run]) -> None:
    by_sums: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        by_sums[run.sums].append(run)
    for stop in stops:
        equal = by_sums.get(stop.totals, [])[:1000]
        ended = [r for r in equal if r.last_at and stop.at and r.last_at <= stop.at] or [
            r for r in equal if r.last_row < stop.row
        ]
        if ended:
            run = max(ended, key=lambda r: (r.log == stop.log, r.last_at or datetime.min))
            by_sums[stop.totals].remove(run)
            _stop(run, stop)


def _find_start(run: Run, starts: list[RunStart]) -> None:
    """Find the start of a run: by its stop's uptime, or the last one before its first line."""
    if run.stopped and run.stopped.start and not run.stopped.start.claimed:
        _start(run, run.stopped.start)
        return
    number = bisect_left(starts, run.first_row, key=lambda start: start.row)
    before = starts[max(number - 100, 0) : number][::-1]
    if run.stopped:  # whose uptime knows of no start here: only the clock may have been changed
        before = before[:1]
    # Where pieces were joined in the wrong order, it stands between the lines of its run.
    after = [s for s in starts[number : number + 100] if s.row < run.last_row and s.log == run.log]
    for start in (*before, *after[::-1]):
        in_time = not (start.at and run.first_at) or start.at <= run.first_at
        if not start.claimed and in_time and (start.log == run.log or start is before[0]):
            _start(run, start)
            return


def _match_by_times(stops: list[RunStop], runs: list[Run]) -> None:
    """Match a start and a stop of one uptime with the last run whose sessions lie between them."""
    lone = [run for run in runs if not run.started and not run.stopped and run.last_at]
    for stop in stops:
        start = stop.start
        if stop.claimed or start is None or start.claimed or not any(stop.totals):
            continue
        between = [
            run
            for run in lone[:1000]
            if run.log == stop.log and not run.started and _lies_between(run, start, stop)
        ]
        if between:
            _start(between[-1], start)


def _lies_between(run: Run, start: RunStart, stop: RunStop) -> bool:
    times = (start.at, run.first_at, run.last_at, stop.at)
    return all(times) and list(times) == sorted(times)  # type: ignore[type-var]


def _without_sessions(start: RunStart, by_start: dict[int, RunStop]) -> Run:
    run = Run(None, start.row, start.row, start.at, start.at, log=start.log)
    _start(run, start)
    if (stop := by_start.get(id(start))) and not stop.claimed:
        _stop(run, stop)
    return run


def _match_the_rest(stops: list[RunStop], runs: list[Run]) -> None:
    """Match each stop that is left with the late run before it, or with a run of its own."""
    waiting = sorted((run for run in runs if not run.stopped), key=lambda run: run.last_row)
    rows = [run.last_row for run in waiting]
    for stop in stops:
        if stop.claimed:
            continue
        number = bisect_left(rows, stop.row) - 1
        before = waiting[number] if number >= 0 else None
        if before and not before.stopped and not before.started and before.log == stop.log:
            _stop(before, stop, LATE)
            continue
        lone = Run(None, stop.row, stop.row, stop.at, stop.at, log=stop.log)
        _stop(lone, stop, CLOCK if before and before.started else LATE)
        runs.append(lone)


def _find_states(starts: list[RunStart], runs: list[Run]) -> None:
    last_start: dict[str, int] = {}
    for start in starts:
        last_start[start.log] = start.row
    before: Run | None = None
    for run in runs:
        if run.stopped is None:
            # The next daemon that writes to a log has taken the place of the one before.
            replaced = last_start.get(run.log, -1) > run.last_row
            alive = not replaced and may_run(run.started.pid if run.started else None)
            run.state, run.why = ("running", RUNNING) if alive else ("crashed", CRASHED)
        if before and run.first_row < before.last_row:
            run.shared = before.shared = True
        if before is None or run.last_row > before.last_row:
            before = run
    rows = [start.row for start in starts]
    for run in runs:
        number = bisect_right(rows, run.last_row)
        run.end_row = rows[number] - 1 if number < len(rows) else 1 << 62


def may_run(pid: int | None) -> bool:
    """Return whether a daemon without a stop may still run, as far as this machine knows.

    A log that doesn't begin with its start names no process.
    """
    if pid is None:
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
