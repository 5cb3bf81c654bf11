"""The kernel's view of TCP: the sockets in /proc/net/tcp, which ss(8) shows, too."""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

Address = tuple[str, int]

TABLE = Path("/proc/net/tcp")
_DESCRIPTORS = Path("/proc/self/fd")
# In the order of the kernel's include/net/tcp_states.h, which counts from 1.
_STATES = (
    *("ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE"),
    *("CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"),
)
# Where struct tcp_info of linux/tcp.h has the greatest length of a listening socket's queue.
_BACKLOG_OFFSET = 28
_MOST_READS = 20


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """One socket as the kernel sees it.

    `unread` is its receive queue: bytes (a FIN counts as one), or, of a listening socket,
    connections that wait to be accepted. `fd` is this process's descriptor, None where it has
    none; `seconds` is what is left of its timer.
    """

    local: Address
    peer: Address
    state: str
    unread: int
    fd: int | None
    seconds: float


def known() -> bool:
    """Return whether this system shows its sockets."""
    return TABLE.exists()


def sockets(port: int) -> list[TcpSocket]:
    """Read the sockets, of whatever process, that have this port at either end.

    The list is empty where the system doesn't show them.
    """
    if not known():
        return []
    # While others come and go, a read may lack a row or have it twice: two reads must agree.
    mine, rows = _descriptors(), _rows(port)
    for _ in range(_MOST_READS):
        before, rows = rows, _rows(port)
        if before.keys() == rows.keys():
            break
    return [_parsed(row, mine) for row in rows.values()]


def _rows(port: int) -> dict[tuple[str, str], list[str]]:
    """Return the table's rows with this port, each by its two ends."""
    mark = f":{port:04X} "
    with TABLE.open(encoding="ascii") as table:
        # A busy system has a hundred thousand rows: look before they are taken apart.
        found = [row.split() for row in table if mark in row]
    return {(row[1], row[2]): row for row in found}


def _parsed(row: list[str], mine: dict[str, int]) -> TcpSocket:
    return TcpSocket(
        local=_address(row[1]),
        peer=_address(row[2]),
        state=_STATES[int(row[3], 16) - 1],
        unread=int(row[4].partition(":")[2], 16),
        fd=mine.get(f"socket:[{row[9]}]"),
        seconds=int(row[5].partition(":")[2], 16) / os.sysconf("SC_CLK_TCK"),
    )


def _address(text: str) -> Address:
    """Read an address, whose four bytes the kernel writes as a number of its own byte order.

    >>> _address("0100007F:2328") if sys.byteorder == "little" else ("127.0.0.1", 9000)
    ('127.0.0.1', 9000)
    """
    ip, _, port = text.partition(":")
    return socket.inet_ntoa(struct.pack("=I", int(ip, 16))), int(port, 16)


def _descriptors() -> dict[str, int]:
    """Return the descriptors of this process by the names of their sockets."""
    found = {}
    for link in _DESCRIPTORS.iterdir():
        with suppress(OSError):  # closed meanwhile
            found[os.readlink(link)] = int(link.name)  # noqa: PTH115 - it is no path
    return found


def backlog(listener: socket.socket) -> int | None:
    """Return how many connections may wait to be accepted; None where the system can't tell."""
    if sys.platform != "linux":  # pragma: no cover - the tests run on Linux
        return None
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BACKLOG_OFFSET + 4)
    return int(struct.unpack_from("=I", info, _BACKLOG_OFFSET)[0])
