"""A server for tests: on a free port of this process, with its events in memory."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Generic

from echo.events import EVENTS
from echo.server import EchoHandler, EchoServer
from echo.server.faults import Faults, FaultyHandler, FaultyServer

if TYPE_CHECKING:
    import socketserver
    from collections.abc import Iterator

    from echo.limits import Limits
    from echo.server.proxy import Proxies
    from echo.server.session import Session
    from echo.server.tls import TlsConfig

if TYPE_CHECKING:  # Python 3.11 has no TypeVar with a default, which spares users a parameter
    from typing_extensions import TypeVar

    ServerT = TypeVar("ServerT", bound=EchoServer, default=EchoServer)
else:
    from typing import TypeVar

    ServerT = TypeVar("ServerT")

# Seconds that the end of the `with` block waits for sessions before it cuts them.
DRAIN_TIMEOUT = 5.0


class EventList:
    """A logger, called as structlog's are, that keeps events in memory.

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
        """Return the events of one name, oldest first; `ValueError` for one that there isn't."""
        with self._changed:
            found = [entry for entry in self.events if entry["event"] == event]
        if not found and (meant := _meant(event)):
            raise ValueError(f"no event is called {event}: did you mean {meant}?")
        return found

    def wait_for(self, event: str, count: int = 1, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Wait until there are `count` events of one name, and return them all.

        Raises `TimeoutError` after `timeout` seconds, and `ValueError` for a name that no event
        has. In asyncio: `await asyncio.to_thread(log.wait_for, "session.closed")`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.named(event)) >= count, timeout):
                raise TimeoutError(f"{len(self.named(event))} of {count} {event} in {timeout} s")
            return self.named(event)

    def _add(self, level: str, event: str, fields: dict[str, Any]) -> None:
        with self._changed:
            self.events.append({"event": event, "level": level, **fields})
            self._changed.notify_all()

    def debug(self, event: str, **fields: Any) -> None:
        """Add a debug event."""
        self._add("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Add an event."""
        self._add("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Add a warning."""
        self._add("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Add an error."""
        self._add("error", event, fields)


def _meant(event: str) -> str:
    """Return the event that was meant, for a name that looks like one of ours and is none.

    Handlers of one's own may log events of their own, whose names nobody knows beforehand.

    >>> _meant("session.close"), _meant("session.closed"), _meant("game.over")
    ('session.closed', '', '')
    """
    if event in EVENTS:
        return ""
    ours = event.partition(".")[0] in {name.partition(".")[0] for name in EVENTS}
    return next(iter(get_close_matches(event, EVENTS, 1, 0 if ours else 0.6)), "")


class RunningServer(Generic[ServerT]):
    """A running server, and what it has logged."""

    def __init__(self, server: ServerT, log: EventList) -> None:
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
        """The sessions that are open now, oldest first; `events` has those before."""
        return self.server.sessions.live()

    @property
    def received_bytes(self) -> int:
        """Bytes that it has received in all its sessions so far."""
        return self.server.totals()["received_bytes"]

    @property
    def faults(self) -> Faults:
        """What it does wrong; may be set at any time. `TypeError` for a server without faults."""
        return self._faulty.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faulty.faults = faults

    @property
    def _faulty(self) -> FaultyServer:
        server: EchoServer = self.server
        if not isinstance(server, FaultyServer):
            raise TypeError("this server has no faults: start it with faults=Faults()")
        return server

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events so far, oldest first."""
        return self.log.events


@contextmanager
def running_server(
    *,
    host: str = "127.0.0.1",
    handler: type[socketserver.BaseRequestHandler] = EchoHandler,
    server_class: type[ServerT] = EchoServer,  # type: ignore[assignment]
    limits: Limits | None = None,
    log_payload: bool = False,
    faults: Faults | None = None,
    proxies: Proxies | None = None,
    tls: TlsConfig | None = None,
) -> Iterator[RunningServer[ServerT]]:
    """Run a server on a free port until the end of the `with` block, which drains it.

    With `faults` it does wrong what they say, and they can be changed later; even `Faults()`
    can. They are the doing of a server and a handler of their own, so that `faults` together
    with a `handler` or a `server_class` without them raises `TypeError`.

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
    options: dict[str, Any] = {
        "limits": limits,
        "log_payload": log_payload,
        "proxies": proxies,
        "tls": tls,
    }
    make: type[Any] = server_class
    if faults is not None:
        options["faults"] = faults
        handler = FaultyHandler if handler is EchoHandler else handler
        make = FaultyServer if make is EchoServer else make
        if not (issubclass(handler, FaultyHandler) and issubclass(make, FaultyServer)):
            raise TypeError(
                "faults need a handler and a server that can do wrong: leave yours out, or derive "
                "them from FaultyHandler and FaultyServer"
            )
    server = make((host, 0), handler, log=log, **options)
    acceptor = threading.Thread(target=server.serve_forever, name="accept", daemon=True)
    with server:
        acceptor.start()
        try:
            yield RunningServer(server, log)
        finally:
            server.drain(DRAIN_TIMEOUT)
            acceptor.join(DRAIN_TIMEOUT)
