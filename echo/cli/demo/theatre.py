"""The demo's server and clients, all in this process, and the state of their sockets."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echo.cli.demo import kernel
from echo.cli.failure import Failure
from echo.deadline import Deadline
from echo.server import EchoHandler, EchoServer
from echo.testing import EventList

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from echo.cli.demo.kernel import Address, TcpSocket
    from echo.server.session import Session

HOST = "127.0.0.1"
# All of 127.0.0.0/8 is this machine's on Linux; elsewhere it may be the first address alone.
OTHER_HOST = "127.0.0.2"
# Seconds for whatever has to happen next: on loopback it takes microseconds.
PATIENCE = 5.0
# Seconds between two looks at the kernel's table, which can't be waited for.
_LOOK_INTERVAL = 0.002


class _HeldHandler(EchoHandler):
    """The real handler, which the demo can hold just before it reads."""

    server: _HeldServer

    def wait_for_input(self) -> None:
        super().wait_for_input()
        self.server.gate.wait()


class _HeldServer(EchoServer):
    """The real server, with a gate before its handlers' reads."""

    def __init__(self, address: Address, log: EventList) -> None:
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(address, _HeldHandler, log=log, log_payload=True)


@dataclass(frozen=True, slots=True)
class Row:
    """One socket of a table; a field that the system doesn't show is None.

    `side` is `server` or `client`; `role` is `listening`, or `queued`, `session` or `ended`, and
    `name` its client's.
    """

    side: str
    fd: int | None
    role: str
    name: str
    local: Address
    peer: Address | None
    state: str | None = None
    unread: int | None = None


class Theatre:
    """A server that doesn't accept yet, and its clients; all of them end with the `with` block.

    Raises `Failure` where something has not happened within `PATIENCE`.
    """

    def __init__(self) -> None:
        self.log = EventList()
        self.server = _HeldServer((HOST, 0), self.log)
        self.address: Address = (HOST, int(self.server.server_address[1]))
        self.clients: dict[str, socket.socket] = {}
        self._names: dict[Address, str] = {}

    def __enter__(self) -> Theatre:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.gate.set()
        for client in self.clients.values():
            client.close()
        self.server.server_close()

    def accept(self) -> None:
        """Start the server's accept loop."""
        threading.Thread(target=self.server.serve_forever, name="accept", daemon=True).start()

    def connect(self, name: str, host: str = HOST) -> socket.socket:
        """Connect a client, from `host` where that can be had."""
        try:
            client = socket.create_connection(self.address, PATIENCE, source_address=(host, 0))
        except OSError:
            if host == HOST:
                raise
            return self.connect(name)
        self.clients[name] = client
        self._names[client.getsockname()] = name
        return client

    # -- waiting ------------------------------------------------------------------------

    def until(self, true: Callable[[], bool], what: str, now: Callable[[], object]) -> None:
        """Wait until something is true; a `Failure` names what was expected and what there is."""
        deadline = Deadline(PATIENCE)
        pause = threading.Event()
        while not true():
            if deadline.expired:
                raise Failure(f"demo: not within {PATIENCE:g} s: {what}, not {now()}")
            pause.wait(_LOOK_INTERVAL)

    def until_states(self, name: str, *, server: str | None, client: str | None) -> None:
        """Wait for the states of a connection's two ends, None for one that is gone.

        Where the kernel doesn't show its states there is nothing to wait for. A full table
        of those in TIME_WAIT (`net.ipv4.tcp_max_tw_buckets`) has no place for another, ever.
        """
        if kernel.known():
            wanted = [(server, client)]
            if "TIME_WAIT" in wanted[0]:
                wanted.append((None, None))
            what = f"the ends of {name}'s connection are {(server, client)}"
            self.until(lambda: self.states(name) in wanted, what, lambda: self.states(name))

    def states(self, name: str) -> tuple[str | None, str | None]:
        """Return the states of the server's end and of the client's."""
        address, rows = self.address_of(name), self._known()
        return (
            next((row.state for row in rows if row.peer == address), None),
            next((row.state for row in rows if row.local == address), None),
        )

    def server_end(self, name: str) -> TcpSocket | None:
        """Return the kernel's view of the server's end of a client's connection."""
        address = self.address_of(name)
        return next((row for row in self._known() if row.peer == address), None)

    def client_end(self, name: str) -> TcpSocket | None:
        """Return the kernel's view of a client's end."""
        address = self.address_of(name)
        return next((row for row in self._known() if row.local == address), None)

    def listener(self) -> TcpSocket | None:
        """Return the kernel's view of the listening socket."""
        return next((row for row in self._known() if row.state == "LISTEN"), None)

    def _known(self) -> list[TcpSocket]:
        """Read the sockets of this demo; others may have used its port before, and be ending."""
        return [row for row in kernel.sockets(self.address[1]) if self._is_ours(row)]

    def _is_ours(self, row: TcpSocket) -> bool:
        if row.local == self.address:
            return row.state == "LISTEN" or row.peer in self._names
        return row.peer == self.address and row.local in self._names

    def address_of(self, name: str) -> Address:
        """Return the address of a client, which may be closed by now."""
        return next(address for address, owner in self._names.items() if owner == name)

    def session(self, name: str) -> Session:
        """Return the live session of a client."""
        peer = self.address_of(name)
        return next(
            session
            for session in self.server.sessions.live()
            if (session.peer_ip, session.peer_port) == peer
        )

    # -- the table ----------------------------------------------------------------------

    def sockets(self) -> list[Row]:
        """Return all sockets: the listening one, the sessions', the clients'."""
        known = map(self._row, self._all()) if kernel.known() else self._from_python()
        return sorted(known, key=lambda row: (row.side != "server", row.name))

    def _all(self) -> list[TcpSocket]:
        """Read the table until it has all that is open here: it changes while it is read."""
        deadline = Deadline(PATIENCE)
        while True:
            rows = self._known()
            if self._open() <= {row.fd for row in rows} or deadline.expired:
                return rows

    def _open(self) -> set[int]:
        found = {self.server.fileno(), *(client.fileno() for client in self.clients.values())}
        return found - {-1}

    def _row(self, found: TcpSocket) -> Row:
        facts = (found.local, found.peer, found.state, found.unread)
        if found.state == "LISTEN":
            return Row("server", found.fd, "listening", "", *facts)
        if found.local != self.address:
            return Row("client", found.fd, "client", self._names[found.local], *facts)
        role = "session"
        if found.fd is None:
            role = "queued" if found.state == "ESTABLISHED" else "ended"
        return Row("server", found.fd, role, self._names[found.peer], *facts)

    def _from_python(self) -> list[Row]:
        rows = []
        if self.server.fileno() >= 0:
            rows.append(Row("server", self.server.fileno(), "listening", "", self.address, None))
        for session in self.server.sessions.live():
            peer, fd = (session.peer_ip, session.peer_port), session.sock.fileno()
            rows.append(Row("server", fd, "session", self._names[peer], self.address, peer))
        for name, client in self.clients.items():
            if client.fileno() >= 0:
                own = client.getsockname()
                rows.append(Row("client", client.fileno(), "client", name, own, self.address))
        return rows
