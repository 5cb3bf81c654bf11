"""`echod load`: many sessions at once, every byte of every echo verified."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from echo.cli.connect import Port
from echo.cli.failure import USAGE, Failure
from echo.cli.output import check_output, milliseconds, show, show_json, unreachable
from echo.cli.tls import ClientTls
from echo.client.load import Load
from echo.client.plan import LoadPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

# Seconds between two looks at the figures.
LOOK_INTERVAL = 0.5
# Descriptors that are not sessions.
SPARE_DESCRIPTORS = 16
PICTURE_WIDTH = 50
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def load(
    host: str = "127.0.0.1",
    port: Port = 9000,
    /,
    *,
    plan: Annotated[LoadPlan, Parameter(name="*")] = LoadPlan(),
    json: Annotated[bool, Parameter(negative="")] = False,
    tls: Annotated[ClientTls, Parameter(name="*")] = ClientTls(),
) -> None:
    """Load a server.

    Parameters
    ----------
    host
        Address or name of the server.
    port
        Its TCP port.
    json
        Show only the figures, as one JSON object.
    """
    check_output("load")
    _fit_descriptors(plan.sessions)
    load = Load(host, port, plan, tls=tls.context("load"))
    try:
        with _progress(load), suppress(KeyboardInterrupt):
            load.run()
    except OSError as error:
        raise unreachable("load", host, port, error) from error
    if json:
        show_json(load.as_dict())
    else:
        show(_table(load), *_picture(load))
    _judge(load)


def _fit_descriptors(sessions: int) -> None:
    """Raise the soft limit on descriptors to what the sessions take."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sessions + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and wanted > hard:
        most = hard - SPARE_DESCRIPTORS
        raise Failure(f"load: --sessions must be at most {most} here: raise ulimit -Hn", USAGE)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# -- meanwhile ----------------------------------------------------------------------------


@contextmanager
def _progress(load: Load) -> Iterator[None]:
    """Show the figures so far in one line of the terminal, from a thread of its own.

    A terminal that is stopped stops that thread, not the load. Plain text: what rich draws
    costs a few milliseconds each time, which the latencies would show.
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
        painter.join(LOOK_INTERVAL)


def _paint(load: Load, over: threading.Event) -> None:
    before, elapsed = 0, 0.0
    with suppress(OSError):
        while not over.wait(LOOK_INTERVAL):
            count, now = load.exchanges, load.elapsed_s
            rate = (count - before) / max(now - elapsed, LOOK_INTERVAL)
            before, elapsed = count, now
            _show(f"\r{_status(load, rate)}\x1b[K")
        _show("\r\x1b[K")


def _show(text: str) -> None:
    # Past the stream's buffer: what waits in it would be written at the process's very end, by
    # the main thread, and a terminal that is stopped would stop that, too.
    os.write(sys.stderr.fileno(), text.encode())


def _status(load: Load, rate: float) -> str:
    p99 = milliseconds(load.latencies.recent_ms(99))
    return (
        f"{load.elapsed_s:.0f} s: {load.open_sessions}/{load.plan.sessions} sessions, "
        f"{rate:.0f}/s, p99 {p99} ms, {load.errors} errors"
    )


# -- the results --------------------------------------------------------------------------


def _table(load: Load) -> Table:
    from rich.table import Table

    figures = load.as_dict()
    table = Table(title=f"{load.host} port {load.port}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("sessions", str(load.plan.sessions))
    table.add_row("exchanges", f"{load.exchanges:,}")
    table.add_row("per second", f"{figures['rate_per_s']:,.0f}")
    table.add_row("bytes received", f"{load.received_bytes:,}")
    for percent in PERCENTILES:
        table.add_row(f"p{percent:g} ms", milliseconds(load.latencies.percentile(percent)))
    table.add_row("max ms", milliseconds(load.latencies.max_ms))
    for kind, count in load.troubles.items():
        table.add_row(kind.value, f"{count:,}")
    return table


def _picture(load: Load) -> Iterator[str]:
    """Draw how the latencies are distributed, a line for each doubling."""
    bands = load.latencies.bands()
    most = max((band.count for band in bands), default=0)
    mark = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    for band in bands:
        bar = mark * -(-band.count * PICTURE_WIDTH // most)
        yield f"{band.below_ms:>12.3f} ms {band.count:>10,} {bar}"


def _judge(load: Load) -> None:
    """Fail where anything went wrong, or nothing was done."""
    counts = ", ".join(f"{count} {kind}" for kind, count in load.troubles.items() if count)
    if load.first_mismatch is not None:
        raise Failure(f"load: {counts}: {load.first_mismatch}")
    if load.errors:
        raise Failure(f"load: {counts}: first {load.first_error}")
    if not load.exchanges:
        raise Failure("load: stopped before the first exchange was over")
