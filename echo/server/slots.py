"""Admission: a bounded number of slots, in all and for one peer."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from echo.events import Refusal

if TYPE_CHECKING:
    import socket

# An IPv6 host has a whole /64, and customers are given a /56 or a /48
# (RFC 6177). Each of these networks is a peer, and the wider ones may have this many times
# as much as a single peer.
_PREFIXES = ((64, 1), (56, 2), (48, 4))
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052


@dataclass(slots=True, eq=False)
class Connection:
    """An accepted connection: its socket, its peer, and the slot that it holds.

    This is what the servers here pass through socketserver's hooks as the `request`. `networks`
    are those that its slot counts for; None while it holds no slot.
    """

    sock: socket.socket
    peer_ip: str
    peer_port: int
    networks: tuple[tuple[str, int], ...] | None = field(default=None, repr=False)


class Slots:
    """Hands out at most `limit` slots, and at most `per_peer` of them to one peer.

    A connection holds its slot from `acquire` to `release`; releasing twice is releasing once.
    `lock` is held while a slot changes hands: what must only happen to a connection that still
    has its slot is done under it.

    >>> slots = Slots(limit=2, per_peer=1)
    >>> one, two, three = (Connection(None, f"192.0.2.{n}", 40000) for n in (1, 1, 3))
    >>> slots.acquire(one), slots.acquire(two), slots.acquire(three), slots.active
    (None, <Refusal.MAX_SESSIONS_PER_PEER: 'max_sessions_per_peer'>, None, 2)
    >>> slots.release(one)
    >>> slots.acquire(two)
    """

    def __init__(self, limit: int, per_peer: int) -> None:
        self.limit = limit
        self.per_peer = per_peer
        self.active = 0
        self.lock = threading.Lock()
        self._held: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Slots {self.active}/{self.limit}>"

    def acquire(self, connection: Connection, *, count_peer: bool = True) -> Refusal | None:
        """Take a slot for a connection; return why there is none, or None if there was one.

        With `count_peer=False` the slot counts for no peer: the connection is a proxy's, and
        who the peer is comes later, with `assign`.
        """
        networks = networks_of(connection.peer_ip) if count_peer else ()
        with self.lock:
            if self.active >= self.limit:
                return Refusal.MAX_SESSIONS
            refusal = self._count(connection, networks)
            self.active += refusal is None
            return refusal

    def assign(self, connection: Connection) -> Refusal | None:
        """Count a slot that was acquired without a peer for the peer that is known by now."""
        networks = networks_of(connection.peer_ip)
        with self.lock:
            if connection.networks is None:  # released meanwhile, with its socket
                return None
            return self._count(connection, networks)

    def release(self, connection: Connection) -> None:
        """Release the slot of a connection, if it holds one."""
        with self.lock:
            if connection.networks is None:
                return
            self.active -= 1
            for network, _ in connection.networks:
                left = self._held[network] - 1
                if left:
                    self._held[network] = left
                else:
                    del self._held[network]
            connection.networks = None

    def _count(
        self, connection: Connection, networks: tuple[tuple[str, int], ...]
    ) -> Refusal | None:
        for network, share in networks:
            if self._held.get(network, 0) >= share * self.per_peer:
                return Refusal.MAX_SESSIONS_PER_PEER
        for network, _ in networks:
            self._held[network] = self._held.get(network, 0) + 1
        connection.networks = networks
        return None


@lru_cache(maxsize=4096)
def networks_of(peer_ip: str) -> tuple[tuple[str, int], ...]:
    """Return what an address counts for: pairs of a network and its share of the peer's limit.

    An IPv4 address is one peer. An IPv6 host has a /64 to itself, so that the networks are
    counted. A host behind NAT64, 6to4 or Teredo is the IPv4 address inside; a link-local one
    is its address on its link, which is named behind a `%`.

    >>> networks_of("192.0.2.1")
    (('192.0.2.1', 1),)
    >>> networks_of("2001:db8:0:102::3")
    (('2001:db8:0:102::/64', 1), ('2001:db8:0:100::/56', 2), ('2001:db8::/48', 4))
    >>> networks_of("64:ff9b::192.0.2.1"), networks_of("fe80::1%eth0")
    ((('192.0.2.1', 1),), (('fe80::1%eth0', 1),))
    """
    if ":" not in peer_ip:
        return ((peer_ip, 1),)
    address = IPv6Address(peer_ip)
    if address in _NAT64:
        return ((str(IPv4Address(int(address) & 0xFFFFFFFF)), 1),)
    _, teredo = address.teredo or (None, None)
    if embedded := address.ipv4_mapped or address.sixtofour or teredo:
        return ((str(embedded), 1),)
    if address.is_link_local:
        return ((peer_ip, 1),)
    return tuple(
        (str(IPv6Network((int(address), prefix), strict=False)), share)
        for prefix, share in _PREFIXES
    )
