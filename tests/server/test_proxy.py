"""The PROXY protocol: whose header is believed, what it changes, and what is wrong with one."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from proxyprotocol.result import (
    ProxyResult,
    ProxyResultIPv4,
    ProxyResultIPv6,
    ProxyResultLocal,
    ProxyResultUnix,
    ProxyResultUnknown,
)
from proxyprotocol.tlv import ProxyProtocolTLV
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

from echo import Limits
from echo.server.proxy import Proxies
from echo.testing import RunningServer, running_server
from tests.authority import Authority
from tests.conftest import check_events
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.peers import Start

PEER4 = ProxyResultIPv4((IPv4Address("203.0.113.7"), 40000), (IPv4Address("192.0.2.1"), 9000))
PEER6 = ProxyResultIPv6((IPv6Address("2001:db8::7"), 40000), (IPv6Address("2001:db8::1"), 9000))
DATAGRAMS4 = ProxyResultIPv4(PEER4.source, PEER4.dest, protocol=socket.SOCK_DGRAM)
DATAGRAMS6 = ProxyResultIPv6(PEER6.source, PEER6.dest, protocol=socket.SOCK_DGRAM)
LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1")]
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v1(result: ProxyResult) -> bytes:
    """Write a header of version 1."""
    return ProxyProtocolV1().pack(result)


def v2(result: ProxyResult) -> bytes:
    """Write a header of version 2."""
    return ProxyProtocolV2().pack(result)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """Run a server behind a proxy on loopback."""
    with running_server(proxies=Proxies(LOOPBACK, timeout=seconds(30))) as running:
        yield running
    check_events(running)


def exchange(server: RunningServer, *pieces: bytes) -> bytes:
    """Connect, send the pieces one after the other, end; give what comes back."""
    with socket.create_connection(server.address, seconds(10)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))
        except OSError:  # it may be over before all is sent
            return b""


def lines(server: RunningServer, count: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
    """Wait for the last of `count` sessions, and give its two lines."""
    closed = server.log.wait_for("session.closed", count)[-1]
    accepted = [
        line
        for line in server.log.named("session.accepted")
        if line["session_id"] == closed["session_id"]
    ]
    return accepted[0], closed


# -- what it changes ----------------------------------------------------------------------


@pytest.mark.parametrize("pack", [v1, v2])
@pytest.mark.parametrize(
    ("result", "peer"),
    [(PEER4, ("203.0.113.7", 40000)), (PEER6, ("2001:db8::7", 40000))],
    ids=["IPv4", "IPv6"],
)
def test_the_log_names_the_real_peer(
    server: RunningServer, pack: Any, result: ProxyResult, peer: tuple[str, int]
) -> None:
    """Both lines have the peer's address; the accepted one has the proxy's beside it."""
    back = exchange(server, pack(result) + b"hello")
    accepted, closed = lines(server)

    assert back == b"hello"
    assert (accepted["peer_ip"], accepted["peer_port"]) == peer
    assert (closed["peer_ip"], closed["peer_port"]) == peer
    assert accepted["proxy_ip"] == "127.0.0.1"
    assert accepted["proxy_port"] > 0
    assert (closed["reason"], closed["received_bytes"]) == ("eof", 5)


def test_a_mapped_address_is_written_as_ipv4(server: RunningServer) -> None:
    """Wherever an address comes from, it is written in one way."""
    mapped = ProxyResultIPv6((IPv6Address("::ffff:203.0.113.7"), 1), (IPv6Address("::1"), 2))
    exchange(server, v2(mapped))

    assert lines(server)[0]["peer_ip"] == "203.0.113.7"


@pytest.mark.parametrize(
    "header",
    [
        v2(ProxyResultLocal()),
        v2(ProxyResultUnix("/a", "/b")),
        v1(ProxyResultUnknown()),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
        SIGNATURE + b"\x21\x00\x00\x00",
    ],
    ids=["local", "unix", "unknown", "unknown-with-more", "unspecified"],
)
def test_a_proxy_can_speak_for_itself(server: RunningServer, header: bytes) -> None:
    """A header without an internet address is good; the peer is who connected."""
    assert exchange(server, header + b"hello") == b"hello"
    accepted, closed = lines(server)

    assert accepted["peer_ip"] == "127.0.0.1"
    assert "proxy_ip" not in accepted
    assert closed["reason"] == "eof"


@given(
    cuts=st.lists(st.integers(1, 200), max_size=6),
    version=st.sampled_from([v1, v2]),
    payload=st.binary(max_size=300),
)
@example(cuts=[1] * 6, version=v1, payload=b"PROXY \r\n")
@example(cuts=[], version=v2, payload=SIGNATURE)
def test_no_byte_behind_the_header_is_lost(cuts: list[int], version: Any, payload: bytes) -> None:
    """However header and payload are cut into packets, the payload is echoed, no more, no less."""
    stream = version(PEER4) + payload
    pieces, rest = [], stream
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    with running_server(proxies=Proxies(LOOPBACK, timeout=seconds(30))) as server:
        assert exchange(server, *pieces, rest) == payload
        assert lines(server)[1]["received_bytes"] == len(payload)


def test_everything_haproxy_can_add_fits(server: RunningServer) -> None:
    """Two kilobytes of TLVs are no reason to refuse."""
    result = ProxyResultIPv4(
        PEER4.source, PEER4.dest, tlv=ProxyProtocolTLV(init={0xE0: bytes(2000)})
    )

    assert exchange(server, v2(result), b"hello") == b"hello"


def test_the_limit_for_a_peer_counts_real_peers() -> None:
    """Through one proxy, each peer has its own limit; who has too many is refused by name."""
    limits = Limits(max_sessions_per_peer=2)
    proxies = Proxies(LOOPBACK, timeout=seconds(30))
    with running_server(proxies=proxies, limits=limits) as server:
        socks = [socket.create_connection(server.address, seconds(10)) for _ in range(6)]
        for sock, last in zip(socks, (7, 7, 8, 8, 9, 7), strict=True):
            peer = ProxyResultIPv4((IPv4Address(f"203.0.113.{last}"), 1), PEER4.dest)
            sock.sendall(v2(peer) + b"hello")
            if sock is not socks[-1]:
                assert sock.recv(5) == b"hello"
        refused = server.log.wait_for("session.refused")[0]
        with suppress(ConnectionResetError):  # its header's payload was never read
            assert not socks[-1].recv(5)
        for sock in socks:
            sock.close()
        server.log.wait_for("session.closed", 5)
        totals = server.server.totals()
        wait_until(lambda: not server.server.slots.active)
    check_events(server)

    assert (refused["peer_ip"], refused["reason"]) == ("203.0.113.7", "max_sessions_per_peer")
    assert (totals["accepted"], totals["refused"]) == (5, 1)


def test_tls_comes_behind_the_header(tmp_path: Path) -> None:
    """First who it is, then the handshake."""
    authority = Authority(tmp_path)
    tls = authority.certificates()
    with running_server(proxies=Proxies(LOOPBACK, timeout=seconds(30)), tls=tls) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            sock.sendall(v2(PEER4))
            with authority.trusting().wrap_socket(sock, server_hostname="127.0.0.1") as tls:
                tls.sendall(b"hello")
                assert tls.recv(5) == b"hello"
        accepted, closed = lines(server)

    assert accepted["peer_ip"] == "203.0.113.7"
    assert closed["tls_protocol"] == "TLSv1.3"


# -- what is wrong ------------------------------------------------------------------------

BAD = {
    "none": (b"", "no header"),
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", "no valid header"),
    "torn in the signature": (b"PROX", "a torn header"),
    "torn in the line": (b"PROXY TCP4 203.0.113.7 ", "a torn header"),
    "torn in the addresses": (v2(PEER4)[:20], "a torn header"),
    "a line without its end": (b"PROXY TCP4 " + b"1" * 200, "a header that is too long"),
    "a long end": (b"PROXY UNKNOWN" + b" " * 200 + b"\r\n", "a header that is too long"),
    "64 KiB": (SIGNATURE + b"\x21\x11\xff\xff" + bytes(4), "a header that is too long"),
    "no such family": (b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n", "no valid header"),
    "no address": (b"PROXY TCP4 999.1.1.1 2.2.2.2 1 2\r\n", "no valid header"),
    "no port": (b"PROXY TCP4 1.1.1.1 2.2.2.2 70000 2\r\n", "no valid header"),
    "half a line end": (b"PROXY UNKNOWN\n", "no valid header"),
    "no such command": (SIGNATURE + b"\x2f\x11\x00\x00", "no valid header"),
    "no such version": (SIGNATURE + b"\x31\x11\x00\x00", "no valid header"),
    "datagrams": (v2(DATAGRAMS4), "not of a TCP connection"),
    "datagrams of IPv6": (v2(DATAGRAMS6), "not of a TCP connection"),
    "addresses cut off": (SIGNATURE + b"\x21\x11\x00\x04" + bytes(4), "no valid header"),
    "control characters": (b"PROXY TCP4 \x1b[31m\n2.2.2.2 1 2\r\n", "no valid header"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_header_is_one_closing_line(server: RunningServer, name: str) -> None:
    """It has both its lines, with the connection's own address, and nothing is echoed."""
    data, detail = BAD[name]
    back = exchange(server, data)
    accepted, closed = lines(server)

    assert back == b""
    assert accepted["peer_ip"] == closed["peer_ip"] == "127.0.0.1"
    assert "proxy_ip" not in accepted
    assert (closed["reason"], closed["detail"]) == ("proxy_error", detail)
    assert closed["received_bytes"] == closed["sent_bytes"] == 0
    assert not server.log.named("server.error")


def test_a_header_that_is_late_is_ended() -> None:
    """Silence and drips have so much time and no more."""
    with running_server(proxies=Proxies(LOOPBACK, timeout=seconds(0.5))) as server:
        with (
            socket.create_connection(server.address, seconds(10)) as silent,
            socket.create_connection(server.address, seconds(10)) as dripping,
        ):
            dripping.sendall(b"PRO")
            assert not silent.recv(10)
            with suppress(ConnectionError):  # what comes after the end is reset
                assert not dripping.recv(10)
        closed = server.log.wait_for("session.closed", 2)
    check_events(server)

    assert {line["detail"] for line in closed} == {"no whole header in time"}
    assert {line["reason"] for line in closed} == {"proxy_error"}


def test_a_reset_before_the_header_is_a_missing_one(server: RunningServer) -> None:
    """A port scan, say."""
    sock = socket.create_connection(server.address, seconds(10))
    sock.sendall(b"PROXY")
    server_side = struct.pack("ii", 1, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, server_side)
    sock.close()

    assert lines(server)[1]["reason"] == "proxy_error"


def test_a_source_that_is_not_trusted_is_refused_unheard() -> None:
    """A peer that is no proxy can't name another address."""
    with running_server(proxies=Proxies([ip_network("10.0.0.0/8")])) as server:
        back = exchange(server, v2(PEER4) + b"hello")
        accepted, closed = lines(server)

    assert back == b""
    assert accepted["peer_ip"] == "127.0.0.1"
    assert (closed["reason"], closed["detail"]) == (
        "proxy_error",
        "not from a proxy that is trusted",
    )


@pytest.mark.parametrize("written", ["::ffff:127.0.0.1", "::ffff:127.0.0.1/104", "127.0.0.9/8"])
def test_a_proxy_can_be_written_as_people_do(daemon: Start, written: str) -> None:
    """A mapped address is IPv4's, and an address with a prefix stands for its network."""
    process = daemon("--proxy-protocol", "--proxy-from", written)
    with socket.create_connection(("127.0.0.1", process.port), seconds(10)) as sock:
        sock.sendall(v2(PEER4) + b"hello")
        assert sock.recv(5) == b"hello"
    (closed,) = process.wait_for("session.closed")

    assert (closed["peer_ip"], closed["reason"]) == ("203.0.113.7", "eof")


def test_a_drain_does_not_wait_for_a_header() -> None:
    """A connection that has said nothing yet is drained."""
    with running_server(proxies=Proxies(LOOPBACK, timeout=60)) as server:
        with socket.create_connection(server.address, seconds(10)):
            wait_until(lambda: server.sessions)
            assert server.server.drain(seconds(20))

    assert lines(server)[1]["reason"] == "drained"
