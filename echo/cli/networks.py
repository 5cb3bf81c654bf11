"""Networks, as people name them on a command line."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

# Bits before the IPv4 address inside an IPv4-mapped IPv6 one.
_MAPPED_BITS = 96


def network(text: str) -> IPv4Network | IPv6Network:
    """Return the network that `text` names, an address or `address/bits`; raise `ValueError`.

    An address stands for the network that it is in. IPv4-mapped IPv6 addresses are IPv4's, as
    everywhere here.

    >>> network("10.0.0.1/8"), network("::ffff:127.0.0.1"), network("2001:db8::1")
    (IPv4Network('10.0.0.0/8'), IPv4Network('127.0.0.1/32'), IPv6Network('2001:db8::1/128'))
    """
    found = ip_network(text, strict=False)
    if isinstance(found, IPv6Network) and found.prefixlen >= _MAPPED_BITS:
        mapped = found.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, found.prefixlen - _MAPPED_BITS))
    return found
