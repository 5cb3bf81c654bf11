"""`echod load`: many sessions at once, every byte of every echo verified."""

from __future__ import annotations

import os
import resource
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from echo.cli.failure import USAGE, Failure
from echo.cli.output import check_output, milliseconds, show, show_json
from echo.cli.target import Target
from echo.client.load import Load
from echo.client.plan import LoadPlan
from echo.errors import problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

# Seconds between two updates of the progress line.
PROGRESS_INTERVAL = 0.5
# Descriptors that are not sessions' sockets.
SPARE_DESCRIPTORS = 16
BAR_WIDTH = 50
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def load(
    target: Annotated[Target, Parameter(name="*")] = Target(),
    *,
    plan: Annotated[LoadPlan, Parameter(name="*")] = LoadPlan(),
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Load a server.

    Parameters
    ----------
    json
        Show only the figures, as one JSON object.
    """
    check_output("load")
    _fit_descriptors(plan.sessions)
    load = Load(target.host, target.port, plan, tls=target.context("load"))
    try:
        with _progress(load), suppress(KeyboardInterrupt):
            load.run()
    except OSError as error:
        raise target.unreachable("load", error) from error
    if json:
        show_json(load.as_dict())
    else:
        show(_table(load, target), *_histogram(load))
    _judge(load, target)


def _fit_descriptors(sessions: int) -> None:
    """Raise the soft limit on descriptors to what the sessions need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sessions + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and wanted > hard:
        most = hard - SPARE_DESCRIPTORS
        raise Failure(f"load: --sessions must be at most {most} here: raise ulimit -Hn", USAGE)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# -- progress -----------------------------------------------------------------------------


@contextmanager
def _progress(load: Load) -> Iterator[None]:
    """Show the figures so far in one line of the terminal, from a thread of its own.

    A stopped terminal (Ctrl-S) blocks that thread, not the load. It is plain text, since rich
    would take some milliseconds for each update, which the latencies would show.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    painter = threading.Thread(target=_paint, args=(load, over), daemon=True)
    painter.start()
    try:
        yield
    finally:
        over.set()
        painter.join(PROGRESS_INTERVAL)


def _paint(load: Load, over: threading.Event) -> None:
    before, elapsed = 0, 0.0
    with suppress(OSError):
        while not over.wait(PROGRESS_INTERVAL):
            count, now = load.exchanges, load.elapsed_s
            rate = (count - before) / max(now - elapsed, PROGRESS_INTERVAL)
            before, elapsed = count, now
            _show(f"\r{_status(load, rate)}\x1b[K")
        _show("\r\x1b[K")


def _show(text: str) -> None:
    # Not through the stream's buffer, which the main thread would flush at exit: a stopped
    # terminal would block it there.
    os.write(sys.stderr.fileno(), text.encode())


def _status(load: Load, rate: float) -> str:
    p99 = milliseconds(load.latencies.recent_ms(99))
    return (
        f"{load.elapsed_s:.0f} s: {load.open_sessions}/{load.plan.sessions} sessions, "
        f"{rate:.0f}/s, p99 {p99} ms, {load.errors} errors"
    )


# -- the results --------------------------------------------------------------------------


def _table(load: Load, target: Target) -> Table:
    from rich.table import Table

    figures = load.as_dict()
    table = Table(title=str(target), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("sessions", str(load.plan.sessions))
    table.add_row("exchanges", f"{load.exchanges:,}")
    table.add_row("per second", f"{figures['rate_per_s']:,.0f}")
    table.add_row("bytes received", f"{load.received_bytes:,}")
    for percent in PERCENTILES:
        table.add_row(f"p{percent:g} ms", milliseconds(load.latencies.percentile(percent)))
    table.add_row("max ms", milliseconds(load.latencies.max_ms))
    for kind, count in load.failures.items():
        table.add_row(kind.value, f"{count:,}")
    return table


def _histogram(load: Load) -> Iterator[str]:
    """Draw how the latencies are distributed, a line for each doubling."""
    bands = load.latencies.bands()
    most = max((band.count for band in bands), default=0)
    mark = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    for band in bands:
        bar = mark * -(-band.count * BAR_WIDTH // most)
        yield f"{band.below_ms:>12.3f} ms {band.count:>10,} {bar}"


def _judge(load: Load, target: Target) -> None:
    """Fail where anything went wrong, or nothing was done."""
    counts = ", ".join(f"{count} {kind}" for kind, count in load.failures.items() if count)
    if load.first_mismatch is not None:
        text = f"load: {counts}: {load.first_mismatch}"
        raise Failure(target.explain(text, load.first_mismatch))
    if load.errors:
        text = f"load: {counts}"
        if load.first_error is None:  # exchanges that never had a free session
            raise Failure(text)
        session, error = load.first_error
        raise Failure(
            target.explain(f"{text}: first session {session}: {problem_of(error)}", error)
        )
    if not load.exchanges:
        raise Failure("load: stopped before the first exchange was over")
