"""The PROXY protocol: the client's address, as a trusted load balancer reports it."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING

import proxyprotocol
from proxyprotocol.detect import ProxyProtocolDetect
from proxyprotocol.result import is_ipv4, is_ipv6

from echo.deadline import Deadline
from echo.events import Reason
from echo.server.session import SessionEnd
from echo.server.sockets import peer_of
from echo.server.waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network

    from _typeshed import HasFileno
    from proxyprotocol import ProxyProtocolWantRead
    from proxyprotocol.result import ProxyResult

# A header comes with the first packet, and may be sent again once or twice: the protocol asks
# for three seconds at least.
PROXY_TIMEOUT = 5.0
# A header of version 2 with all that HAProxy can add, a client certificate included.
PROXY_HEADER_BYTES = 4 * 1024
# Version 1 is one line; the protocol says how long it can be.
PROXY_LINE_BYTES = 107
_PARSER = ProxyProtocolDetect()


class Proxies:
    """The load balancers whose PROXY header, version 1 or 2, is believed.

    `networks` are theirs; a connection from anywhere else is refused. The header may take
    `timeout` seconds and `PROXY_HEADER_BYTES`.
    """

    def __init__(
        self, networks: Iterable[IPv4Network | IPv6Network], timeout: float = PROXY_TIMEOUT
    ) -> None:
        self.networks = tuple(networks)
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"<Proxies {', '.join(map(str, self.networks))}>"

    def trusts(self, ip: str) -> bool:
        """Return whether a header from this address is believed.

        >>> from ipaddress import ip_network
        >>> Proxies([ip_network("10.0.0.0/8")]).trusts("10.1.2.3")
        True
        """
        address = ip_address(ip)
        return any(address in network for network in self.networks)

    def read(self, sock: socket.socket, ip: str, wakeup: HasFileno) -> tuple[str, int] | None:
        """Read the header, and nothing behind it, from a connection that comes from `ip`.

        Returns the peer's address and port, or None where the proxy speaks for itself (its own
        health check) or can't say. Raises `SessionEnd`: `proxy_error` for what is wrong,
        `drained` where `wakeup` was set meanwhile.
        """
        if not self.trusts(ip):
            raise _bad("not from a proxy that is trusted")
        sock.setblocking(False)
        try:
            result = _Reading(sock, wakeup, Deadline(self.timeout)).result()
        except OSError as error:
            raise _bad("no header") from error
        if getattr(result, "protocol", None) == socket.SOCK_DGRAM:
            raise _bad("not of a TCP connection")
        if is_ipv4(result) or is_ipv6(result):
            return peer_of(result.peername)
        return None


class _Reading:
    """The reading of one header."""

    def __init__(self, sock: socket.socket, wakeup: HasFileno, deadline: Deadline) -> None:
        self._sock = sock
        self._wakeup = Waiter(wakeup)
        self._waiter = Waiter(sock, wakeup)
        self._deadline = deadline
        self._data = b""

    def result(self) -> ProxyResult:
        """Read as far as the parser wants."""
        while True:
            try:
                return _PARSER.unpack(self._data)
            except proxyprotocol.ProxyProtocolIncompleteError as error:
                self._data += self._more(error.want_read)
            except (ValueError, struct.error) as error:
                raise _bad("no valid header") from error

    def _more(self, want: ProxyProtocolWantRead) -> bytes:
        """Wait for some of what is wanted, and take not a byte more."""
        most = PROXY_LINE_BYTES if want.want_line else PROXY_HEADER_BYTES
        room = most - len(self._data)
        if room <= 0 or (want.want_bytes or 0) > room:
            raise _bad("a header that is too long")
        self._wait()
        count = want.want_bytes or self._line_length(room)
        data = self._sock.recv(count)
        if not data:
            raise _bad("a torn header" if self._data else "no header")
        return data

    def _line_length(self, room: int) -> int:
        """Look how long the line is, as far as it has come: the payload behind it stays."""
        seen = self._sock.recv(room, socket.MSG_PEEK)
        return seen.find(b"\n") + 1 or len(seen) or 1

    def _wait(self) -> None:
        if not self._waiter.readable(self._deadline.left()) or self._deadline.expired:
            raise _bad("no whole header in time")
        if self._wakeup.readable(0):
            raise SessionEnd(Reason.DRAINED)


def _bad(what: str) -> SessionEnd:
    return SessionEnd(Reason.PROXY_ERROR, what)
