"""A server for tests: on a free port, in this process, with its events at hand."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from echo.server import EchoHandler, EchoServer
from echo.server.faults import Faults, FaultyHandler, FaultyServer

if TYPE_CHECKING:
    import socketserver
    from collections.abc import Callable, Iterator

    from echo.limits import Limits
    from echo.server.proxy import Proxies
    from echo.server.session import Session
    from echo.server.tls import TlsConfig

# Seconds that the end of the `with` block waits for sessions before it cuts them.
DRAIN_TIMEOUT = 5.0


class EventList:
    """A logger, as structlog's are called, that keeps events in memory.

    >>> log = EventList()
    >>> log.info("session.closed", reason="eof")
    >>> log.named("session.closed")
    [{'event': 'session.closed', 'level': 'info', 'reason': 'eof'}]
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"<EventList {len(self.events)} events>"

    def named(self, event: str) -> list[dict[str, Any]]:
        """Give the events of one name, oldest first."""
        with self._changed:
            return [entry for entry in self.events if entry["event"] == event]

    def wait_for(self, event: str, count: int = 1, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Wait until there are `count` events of one name; `TimeoutError` after `timeout` s."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.named(event)) >= count, timeout):
                raise TimeoutError(f"{len(self.named(event))} of {count} {event} in {timeout} s")
            return self.named(event)

    def _add(self, level: str, event: str, fields: dict[str, Any]) -> None:
        with self._changed:
            self.events.append({"event": event, "level": level, **fields})
            self._changed.notify_all()

    def debug(self, event: str, **fields: Any) -> None:
        """Keep a debug event."""
        self._add("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Keep an event."""
        self._add("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Keep a warning."""
        self._add("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Keep an error."""
        self._add("error", event, fields)


class RunningServer:
    """A server that runs, and what it has logged."""

    def __init__(self, server: EchoServer, log: EventList) -> None:
        self.server = server
        self.log = log

    def __repr__(self) -> str:
        return f"<RunningServer {self.server!r}>"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as `EchoClient` takes them."""
        host, port = self.server.server_address[:2]
        return str(host), int(port)

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.address[0]

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.address[1]

    @property
    def sessions(self) -> list[Session]:
        """The sessions that are open now, oldest first; `events` tell of those before."""
        return self.server.sessions.live()

    @property
    def received_bytes(self) -> int:
        """Bytes that it has read from all its sessions so far."""
        return self.server.totals()["received_bytes"]

    @property
    def faults(self) -> Faults:
        """What it does wrong; set it while the server runs. `TypeError` for one without faults."""
        return self._faulty.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faulty.faults = faults

    @property
    def _faulty(self) -> FaultyServer:
        if not isinstance(self.server, FaultyServer):
            raise TypeError("this server has no faults: start it with faults=Faults()")
        return self.server

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events so far, oldest first."""
        return self.log.events


@contextmanager
def running_server(
    *,
    host: str = "127.0.0.1",
    handler: type[socketserver.BaseRequestHandler] = EchoHandler,
    server_class: type[EchoServer] = EchoServer,
    limits: Limits | None = None,
    log_payload: bool = False,
    faults: Faults | None = None,
    proxies: Proxies | None = None,
    tls: TlsConfig | None = None,
) -> Iterator[RunningServer]:
    """Run a server on a free port until the end of the `with` block, which drains it.

    With `faults` it is a server of its own kind, which does wrong what they say; even with
    `Faults()`, that can be switched later.

    >>> from echo import EchoClient
    >>> with running_server() as server:
    ...     with EchoClient(*server.address) as client:
    ...         client.echo(b"hello")
    ...     closed = server.log.wait_for("session.closed")
    b'hello'
    >>> closed[0]["reason"], closed[0]["received_bytes"], closed[0]["sent_bytes"]
    ('eof', 5, 5)
    """
    log = EventList()
    make: Callable[..., EchoServer] = server_class
    if faults is not None:
        make = partial(FaultyServer, faults=faults)
        handler = FaultyHandler if handler is EchoHandler else handler
    options = {"limits": limits, "log_payload": log_payload, "proxies": proxies, "tls": tls}
    server = make((host, 0), handler, log=log, **options)
    acceptor = threading.Thread(target=server.serve_forever, name="accept", daemon=True)
    with server:
        acceptor.start()
        try:
            yield RunningServer(server, log)
        finally:
            server.drain(DRAIN_TIMEOUT)
            acceptor.join(DRAIN_TIMEOUT)
