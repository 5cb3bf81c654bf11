"""`echod ping`: round-trip time, like ping(8)."""

from __future__ import annotations

import socket
import sys
import time
from itertools import count as counting
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.failure import Failure
from echo.cli.output import check_output, milliseconds, show, show_json
from echo.cli.target import Target
from echo.client.ping import Pinger
from echo.deadline import Deadline
from echo.limits import LONGEST, PAYLOAD_BYTES
from echo.units import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.client.ping import Reply


def ping(
    target: Annotated[Target, Parameter(name="*")] = Target(),
    *,
    count: Annotated[int, Parameter(alias="-c", validator=Number(gte=0))] = 0,
    interval: Annotated[float, Parameter(alias="-i", validator=Number(gte=0, lte=LONGEST))] = 1.0,
    size: Annotated[int, Parameter(alias="-s", validator=Number(gte=1, lte=PAYLOAD_BYTES))] = 64,
    timeout: Annotated[float, Parameter(alias="-W", validator=Number(gt=0, lte=LONGEST))] = 10.0,
    reconnect: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Measure round-trip times.

    Parameters
    ----------
    count
        Pings to send; 0 goes on until Ctrl-C.
    interval
        Time from one ping to the next.
    size
        Size of each ping's payload.
    timeout
        Time to wait for the connection, and for each reply.
    reconnect
        Open a new connection for each ping; connecting is not part of the round trip.
    quiet
        Show only the summary.
    json
        Show only the summary, as one JSON object.
    """
    check_output("ping")
    numbers = range(count) if count else counting()
    with Pinger(
        target.host,
        target.port,
        size=size,
        timeout=timeout,
        reconnect=reconnect,
        tls=target.context("ping"),
    ) as pinger:
        last = None
        try:
            if not (quiet or json):
                show(f"PING {target}: {plural(size, 'byte')} each")
            for reply in _replies(pinger, iter(numbers), interval):
                last = reply
                if not (quiet or json):
                    show(_line(pinger, target, reply))
        except socket.gaierror as error:
            raise target.unreachable("ping", error) from error
        except KeyboardInterrupt:
            _end_line()
        if json:
            show_json(pinger.as_dict())
        else:
            show(*_summary(pinger, target))
    _judge(pinger, target, last)


def _replies(pinger: Pinger, numbers: Iterator[int], interval: float) -> Iterator[Reply]:
    """Ping once an interval; one that took longer is followed at once."""
    pause = Deadline(0)
    for _ in numbers:
        time.sleep(pause.left())
        pause = Deadline(interval)
        yield pinger.ping()


def _end_line() -> None:
    """Begin another line where the terminal has written ^C."""
    if sys.stdout.isatty():
        show("")


def _line(pinger: Pinger, target: Target, reply: Reply) -> str:
    peer = f"{target}: seq={reply.number}"
    if reply.ms is None:
        return f"no reply from {peer}: {reply.problem}"
    return f"{plural(pinger.size, 'byte')} from {peer} time={milliseconds(reply.ms)} ms"


def _summary(pinger: Pinger, target: Target) -> Iterator[str]:
    percent = 100 * pinger.lost / max(pinger.sent, 1)
    connect = milliseconds(pinger.connects.avg_ms)
    names = ("min", "avg", "p50", "p95", "p99", "max", "stddev")
    figures = pinger.as_dict()
    times = "/".join(milliseconds(figures[f"{name}_ms"]) for name in names)
    yield f"--- {target}: echo statistics ---"
    yield (
        f"{pinger.sent} sent, {pinger.received} received, {pinger.lost} lost ({percent:.0f}%), "
        f"connect {connect} ms"
    )
    yield f"round trip {'/'.join(names)} = {times} ms"


def _judge(pinger: Pinger, target: Target, last: Reply | None) -> None:
    """Fail where nothing came back, or where something came back wrong."""
    if last is None:
        raise Failure(f"ping: no reply from {target}: stopped before the first reply")
    if pinger.mismatches:
        text = f"ping: {pinger.mismatches} of {pinger.sent} replies of {target} were wrong"
        raise Failure(target.explain(text, last.error))
    if not pinger.received:
        text = f"ping: no reply from {target}: {last.problem}"
        raise Failure(target.explain(text, last.error, "is an echo server running there?"))
