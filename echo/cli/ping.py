"""`echod ping`: round-trip time, like ping(8)."""

from __future__ import annotations

import socket
import sys
import time
from itertools import count as counting
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.connect import Port
from echo.cli.failure import Failure
from echo.cli.output import check_output, milliseconds, show, show_json, unreachable
from echo.cli.tls import ClientTls
from echo.client.ping import Pinger
from echo.deadline import Deadline
from echo.limits import LONGEST, PAYLOAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.client.ping import Reply

Seconds = Annotated[float, Parameter(validator=Number(gt=0, lte=LONGEST))]


def ping(
    host: str = "127.0.0.1",
    port: Port = 9000,
    /,
    *,
    count: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    interval: Annotated[float, Parameter(validator=Number(gte=0, lte=LONGEST))] = 1.0,
    size: Annotated[int, Parameter(validator=Number(gte=1, lte=PAYLOAD_BYTES))] = 64,
    timeout: Seconds = 10.0,
    reconnect: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    tls: Annotated[ClientTls, Parameter(name="*")] = ClientTls(),
) -> None:
    """Measure round-trip times.

    Parameters
    ----------
    host
        Address or name of the server.
    port
        Its TCP port.
    count
        Pings to send; 0 goes on until Ctrl-C.
    interval
        Seconds from one ping to the next.
    size
        Bytes of each ping.
    timeout
        Seconds to wait for the connection, and for each reply.
    reconnect
        Open a new connection for each ping; its time is not in the round trip's.
    quiet
        Show only the summary.
    json
        Show only the summary, as one JSON object.
    """
    check_output("ping")
    numbers = range(count) if count else counting()
    with Pinger(
        host, port, size=size, timeout=timeout, reconnect=reconnect, tls=tls.context("ping")
    ) as pinger:
        last = None
        try:
            if not (quiet or json):
                show(f"PING {host} port {port}: {size} bytes each")
            for reply in _replies(pinger, iter(numbers), interval):
                last = reply
                if not (quiet or json):
                    show(_line(pinger, reply))
        except KeyboardInterrupt:
            _end_line()
        if json:
            show_json(pinger.as_dict())
        else:
            show(*_summary(pinger))
    _judge(pinger, last)


def _replies(pinger: Pinger, numbers: Iterator[int], interval: float) -> Iterator[Reply]:
    """Ping once an interval; one that took longer is followed at once."""
    pause = Deadline(0)
    for _ in numbers:
        time.sleep(pause.left())
        pause = Deadline(interval)
        try:
            yield pinger.ping()
        except socket.gaierror as error:
            raise unreachable("ping", pinger.host, pinger.port, error) from error


def _end_line() -> None:
    """Begin another line where the terminal has written ^C."""
    if sys.stdout.isatty():
        show("")


def _line(pinger: Pinger, reply: Reply) -> str:
    peer = f"{pinger.host} port {pinger.port}: seq={reply.number}"
    if reply.ms is None:
        return f"no reply from {peer}: {reply.problem}"
    return f"{pinger.size} bytes from {peer} time={milliseconds(reply.ms)} ms"


def _summary(pinger: Pinger) -> Iterator[str]:
    percent = 100 * pinger.lost / max(pinger.sent, 1)
    connect = milliseconds(pinger.connects.avg_ms)
    names = ("min", "avg", "p50", "p95", "p99", "max", "stddev")
    figures = pinger.as_dict()
    times = "/".join(milliseconds(figures[f"{name}_ms"]) for name in names)
    yield f"--- {pinger.host} port {pinger.port}: echo statistics ---"
    yield (
        f"{pinger.sent} sent, {pinger.received} received, {pinger.lost} lost ({percent:.0f}%), "
        f"connect {connect} ms"
    )
    yield f"round trip {'/'.join(names)} = {times} ms"


def _judge(pinger: Pinger, last: Reply | None) -> None:
    """Fail where nothing came back, or where something came back wrong."""
    where = f"{pinger.host} port {pinger.port}"
    if pinger.mismatches:
        raise Failure(f"ping: {pinger.mismatches} of {pinger.sent} replies of {where} were wrong")
    if not pinger.received:
        why = last.problem if last else "stopped before the first reply"
        raise Failure(f"ping: no reply from {where}: {why}; is an echo server running there?")
