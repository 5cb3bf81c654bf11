"""What TCP asks of a server: addresses, options, classes of errors, the lingering close."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import select
import socket
import termios
from array import array
from typing import Any

from echo.deadline import Deadline
from echo.server.waiting import Waiter

KIB = 1024
# Seconds idle, seconds between probes, probes: a peer that vanished is found in two minutes.
KEEPALIVE = (60, 10, 6)
# A closing socket that still has input to come drops this much of it, and for this many seconds
# at the most: closing at once would send a reset, which destroys echo that is still on its way.
LINGER_TIMEOUT = 1.0
LINGER_BYTES = 16 * 1024 * KIB
# All lingering sessions drop their input into this one buffer, whose content nobody reads.
_DISCARD = bytearray(64 * KIB)
# What the network can report of a connection: its peer reset it, keepalive found it gone, or
# a router said so (Linux makes these errors of ICMP's answers).
_NETWORK = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPROTO,
        errno.ETIMEDOUT,
        getattr(errno, "ENONET", errno.EHOSTDOWN),
    }
)
# What accept(2) can say of the connection that was next in line: that one is gone, the
# listener is not. Linux hands over errors that are already pending on the new socket.
GONE_BEFORE_ACCEPT = _NETWORK | {
    errno.EAGAIN,
    errno.EINTR,
    errno.EPERM,  # a firewall's rule
    errno.EPROTONOSUPPORT,
    getattr(errno, "ESOCKTNOSUPPORT", errno.EPROTONOSUPPORT),
}
# The process or the system is full: the connection waits in the backlog until there is room.
# Every other error of accept(2) is the listener's own, and final.
OUT_OF_CAPACITY = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        getattr(errno, "ENOSR", errno.ENOBUFS),
    }
)
# The connection broke while it was used.
BROKEN = _NETWORK | {errno.ECONNREFUSED, errno.ENOTCONN, errno.EPIPE}


def resolve(
    host: str, port: int, flowinfo: int = 0, scope_id: int = 0
) -> tuple[socket.AddressFamily, Any]:
    """Return the address family and the address to listen on; raise `OSError` if there is none.

    No host is every IPv4 interface, as in the standard library. Of a name's addresses it is the
    first that is this machine's; 127.0.0.1 before ::1, since not all clients try ::1.

    >>> resolve("127.0.0.1", 9000)[1]
    ('127.0.0.1', 9000)
    """
    if not 0 <= port <= 65535:  # getaddrinfo would take it modulo 65,536
        raise OverflowError(f"port must be from 0 to 65535, not {port}")
    found = socket.getaddrinfo(
        host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    choices = [(family, address) for family, _, _, _, address in found]
    if len(choices) > 1:
        choices.sort(key=lambda choice: choice[1][0] != "127.0.0.1")
        choices = [choice for choice in choices if _is_local(*choice)] or choices
    family, address = choices[0]
    if scope_id and family == socket.AF_INET6:
        address = (*address[:2], flowinfo, scope_id)
    return family, address


def _is_local(family: socket.AddressFamily, address: Any) -> bool:
    """Return whether this machine has the address, as far as binding to it tells."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address[0], 0, *address[2:]))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


def peer_of(address: Any) -> tuple[str, int]:
    """Return a peer's IP address and port; an IPv4-mapped IPv6 address is written as IPv4.

    A link-local address is one only with its link, whose name follows behind a `%`.

    >>> peer_of(("::ffff:192.0.2.1", 40000, 0, 0))
    ('192.0.2.1', 40000)
    >>> peer_of(("2001:db8::1", 40000, 0, 0))
    ('2001:db8::1', 40000)
    >>> peer_of(("fe80::1", 40000, 0, 10**6))
    ('fe80::1%1000000', 40000)
    """
    peer_ip, peer_port = str(address[0]), int(address[1])
    if peer_ip.startswith("::ffff:"):
        mapped = ipaddress.IPv6Address(peer_ip).ipv4_mapped
        peer_ip = str(mapped or peer_ip)
    scope = address[3] if len(address) > 3 else 0
    if scope and "%" not in peer_ip:
        try:
            peer_ip += f"%{socket.if_indextoname(scope)}"
        except OSError:  # the link is gone by now
            peer_ip += f"%{scope}"
    return peer_ip, peer_port


def set_session_options(sock: socket.socket) -> None:
    """Send small echoes at once, and let keepalive find peers that vanished without an end."""
    idle, interval, probes = KEEPALIVE
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # An urgent byte is a byte of the stream: without this it would be missing in the echo.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    # macOS calls the first one TCP_KEEPALIVE.
    names = (("TCP_KEEPIDLE", "TCP_KEEPALIVE"), ("TCP_KEEPINTVL",), ("TCP_KEEPCNT",))
    for candidates, value in zip(names, (idle, interval, probes), strict=True):
        for option in [getattr(socket, name) for name in candidates if hasattr(socket, name)][:1]:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def is_gone(sock: socket.socket) -> bool:
    """Return whether a connection is over on both sides, as after a reset."""
    if sock.fileno() < 0:
        return False
    ends = select.poll()
    ends.register(sock, 0)
    return bool(ends.poll(0))


def unsent(sock: socket.socket) -> int:
    """Return how many bytes wait to be sent or to be acknowledged."""
    count = array("i", [0])
    fcntl.ioctl(sock, termios.TIOCOUTQ, count)
    return count[0]


def linger(
    sock: socket.socket, seconds: float = LINGER_TIMEOUT, budget: int = LINGER_BYTES
) -> None:
    """Send the end of the stream, then read and drop what the peer still sends, within bounds.

    Closing a socket while input is unread sends a reset, and a reset destroys what the peer has
    not read yet of the echo. All this is below any TLS: the input isn't decrypted.
    """
    if sock.fileno() < 0:  # the handler has closed it
        return
    deadline = Deadline(seconds)
    waiter = Waiter(sock)
    try:
        sock.shutdown(socket.SHUT_WR)
        while budget > 0 and waiter.readable(deadline.left()) and not deadline.expired:
            dropped = sock.recv_into(_DISCARD)
            if not dropped:
                return
            budget -= dropped
    except OSError:  # the peer is gone, and nothing can be lost any more
        return
